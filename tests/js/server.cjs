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
 * files of a device certificate, `stop` ends it with its status. With `enforce` it asks who
 * everybody is, and makes identities: see `Identities`.
 */
async function startServer({ enforce = false } = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bitts-'));
  const ready = path.join(folder, 'ready.json');
  const identities = enforce ? new Identities(folder) : null;
  const keeps = enforce ? ['--data-dir', 'bitts-data', '--auth', 'enforce'] : ['--ephemeral'];
  const flags = [...keeps, '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0',
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
  const running = {
    urls,
    pki: createDevice(folder),
    async stop() {
      child.kill('SIGTERM');
      const status = await exit;
      fs.rmSync(folder, { recursive: true });
      return status;
    },
  };
  return identities ? Object.assign(identities, running) : running;
}

/** Makes identities by the commands of `bitts`, with the first administrator's key. */
class Identities {
  constructor(folder) {
    this.folder = folder;
    this.numbers = 0;
    this.urls = {};
    this.admin = this.run('credential', 'create', '--admin', '--data-dir', this.file('bitts-data'));
  }

  file(name) {
    return path.join(this.folder, name);
  }

  /** Runs `bitts WORDS…`: what it printed. */
  run(...words) {
    return this.runWith('', words);
  }

  runWith(input, words) {
    const env = {
      ...process.env, AWS_ENDPOINT_URL: this.urls.http, AWS_DEFAULT_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: this.admin?.accessKeyId,
      AWS_SECRET_ACCESS_KEY: this.admin?.secretAccessKey,
    };
    const printed = execFileSync(BINARY, [...words, '--output', 'json'], { env, input });
    return printed.length > 0 ? JSON.parse(printed) : null;
  }

  arn(resource) {
    return `arn:aws:iot:us-east-1:000000000000:${resource}`;
  }

  /** A policy of these statements: its name. */
  createPolicy(...statements) {
    const name = `policy-${(this.numbers += 1)}`;
    const document = this.file(`${name}.json`);
    fs.writeFileSync(document, JSON.stringify({ Version: '2012-10-17', Statement: statements }));
    this.run('policy', 'create', name, document);
    return name;
  }

  createKey(...statements) {
    return this.run('credential', 'create', '--policy', this.createPolicy(...statements));
  }

  createUser(user, password, ...statements) {
    const policy = this.createPolicy(...statements);
    this.runWith(`${password}\n`,
      ['credential', 'create', '--user', user, '--password-stdin', '--policy', policy]);
  }

  /** An active certificate with these statements: its id and files. */
  createCertificate(...statements) {
    const name = `held-${(this.numbers += 1)}`;
    const made = this.run('certificate', 'create', name, '--register', '--out', this.folder,
      '--pki-dir', this.file('bitts-data/pki'));
    const id = made.certificateId;
    this.run('certificate', 'attach', id, '--policy', this.createPolicy(...statements));
    return { id, certificate: this.file(`${name}.pem`), key: this.file(`${name}.key`) };
  }
}

/** A device certificate of the server's development CA: paths. */
function createDevice(folder) {
  const flags = ['--pki-dir', path.join(folder, 'bitts-data/pki'), '--out', folder];
  execFileSync(BINARY, ['certificate', 'create', 'device', ...flags, '--output', 'json']);
  const file = (name) => path.join(folder, name);
  return { ca: file('ca.pem'), certificate: file('device.pem'), key: file('device.key') };
}

module.exports = { startServer };
