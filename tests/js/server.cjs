'use strict';
// The server under test, for Node's test runner: the binary itself, on free ports.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');

const BINARY = process.env.BITTS ?? path.join(__dirname, '../../target/release/bitts');
const READY_MILLISECONDS = 10_000;

/** Starts `bitts serve`; `mqtt` and `http` are its addresses, `stop` ends it with its status. */
async function startServer() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bitts-'));
  const ready = path.join(folder, 'ready.json');
  const flags = ['--ephemeral', '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0',
    '--mqtts', 'off', '--https', 'off'];
  const child = spawn(BINARY, ['serve', ...flags, '--ready-file', ready],
    { cwd: folder, stdio: 'ignore' });
  const exit = new Promise((resolve) => child.once('exit', resolve));
  const deadline = Date.now() + READY_MILLISECONDS;
  while (!fs.existsSync(ready)) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error('the server is not ready');
    await pause(10);
  }
  const listeners = JSON.parse(fs.readFileSync(ready, 'utf8'));
  return {
    mqtt: `mqtt://${listeners.mqtt}`,
    http: `http://${listeners.http}`,
    async stop() {
      child.kill('SIGTERM');
      const status = await exit;
      fs.rmSync(folder, { recursive: true });
      return status;
    },
  };
}

module.exports = { startServer };
