'use strict';
// The server under test, for Node's test runner: the binary itself, on free ports.

const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');

const BINARY = process.env.BITTS ?? path.join(__dirname, '../../target/release/bitts');
const READY_MILLISECONDS = 10_000;

/**
 * Starts `bitts serve`; `urls` are where each listener is, by its name in the ready file, `pki` the
 * files of a device certificate, `stop` ends it with its status.
 */
async function startServer() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bitts-'));
  const ready = path.join(folder, 'ready.json');
  const flags = ['--ephemeral', '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0',
    '--mqtts', '127.0.0.1:0', '--https', '127.0.0.1:0'];
  const child = spawn(BINARY, ['serve', ...flags, '--ready-file', ready],
    { cwd: folder, stdio: 'ignore' });
  const exit = new Promise((resolve) => child.once('exit', resolve));
  const deadline = Date.now() + READY_MILLISECONDS;
  while (!fs.existsSync(ready)) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error('the server is not ready');
    await pause(10);
  }
  const listeners = JSON.parse(fs.readFileSync(ready, 'utf8'));
  const urls = Object.fromEntries(
    Object.entries(listeners).map(([name, address]) => [name, `${name}://${address}`]));
  return {
    urls,
    pki: createDevice(folder),
    async stop() {
      child.kill('SIGTERM');
      const status = await exit;
      fs.rmSync(folder, { recursive: true });
      return status;
    },
  };
}

/** A device certificate of the server's development CA: paths. */
function createDevice(folder) {
  const flags = ['--pki-dir', path.join(folder, 'bitts-data/pki'), '--out', folder];
  execFileSync(BINARY, ['certificate', 'create', 'device', ...flags, '--output', 'json']);
  const file = (name) => path.join(folder, name);
  return { ca: file('ca.pem'), certificate: file('device.pem'), key: file('device.key') };
}

module.exports = { startServer };
