'use strict';
// The AWS SDK for JavaScript v3, MQTT.js and the IoT Device SDK v2 against `--auth enforce`.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { after, before, test } = require('node:test');
const mqtt = require('mqtt');
const aws = require('@aws-sdk/client-iot-data-plane');
const { startServer } = require('./server.cjs');

const NOT_AUTHORIZED = 0x87;
const BAD_PASSWORD = 0x86;
const OK_MILLISECONDS = 10_000;
const ALL = { Effect: 'Allow', Action: 'iot:*', Resource: '*' };
const ODD_IDS = ['a/b c', "ü~*()'!", '50%25', '#+x', 'a:b@c,d;e=f&g', '..', 'a//b', '.', '日本'];

let server;
let ca;
let numbers = 0;
const devices = [];

const name = (word) => `${word}-js-${(numbers += 1)}`;
const soon = (emitter, event) =>
  once(emitter, event, { signal: AbortSignal.timeout(OK_MILLISECONDS) });

before(async () => {
  server = await startServer({ enforce: true });
  ca = fs.readFileSync(server.pki.ca);
});

after(async () => {
  devices.forEach((device) => device.end(true));
  assert.equal(await server.stop(), 0);
});

/** A client with a key; without its retries, which a refusal must not cause. */
function client({ accessKeyId, secretAccessKey, sessionToken }, options = {}) {
  return new aws.IoTDataPlaneClient({
    endpoint: server.urls.https,
    region: 'us-east-1',
    credentials: { accessKeyId, secretAccessKey, sessionToken },
    requestHandler: { httpsAgent: { ca } },
    ...options,
  });
}

const get = (iot, clientId = 'nobody') => iot.send(new aws.GetConnectionCommand({ clientId }));
const failed = (promise) => promise.then(() => assert.fail('it is answered'), (error) => error);

/** Connects MQTT.js: the code of CONNACK, 0 for success. */
async function knock(url, options) {
  const device = mqtt.connect(url, {
    ca, protocolVersion: 5, reconnectPeriod: 0, clientId: name('lamp'), ...options,
  });
  devices.push(device);
  const refused = soon(device, 'error').then(([error]) => error.code ?? error.message);
  const connected = soon(device, 'connect').then(() => 0);
  refused.catch(() => {});
  connected.catch(() => {});
  return { device, code: await Promise.race([refused, connected]) };
}

test('the right key is let in, each wrong one is its exception', async () => {
  const key = server.createKey(ALL);
  const inactive = server.createKey(ALL);
  server.run('credential', 'update', inactive.accessKeyId, 'inactive');
  const { ResourceNotFoundException, ForbiddenException } = aws;
  await assert.rejects(get(client(key)), ResourceNotFoundException);
  const wrong = await failed(get(client({ ...key, secretAccessKey: 'wrong' })));
  assert.equal(wrong.name, 'InvalidSignatureException');
  for (const bad of [
    { ...key, accessKeyId: 'AKIANOBODYKNOWSTHIS0' }, inactive, { ...key, sessionToken: 'token' },
  ]) {
    const error = await failed(get(client(bad)));
    assert.ok(error instanceof ForbiddenException);
    assert.equal(error.message, 'Forbidden');
    assert.equal(error.$metadata.httpStatusCode, 403);
    assert.equal(error.traceId, error.$metadata.requestId);
    assert.equal(error.$metadata.attempts, 1);
  }
});

test('a key may do what its policies say', async () => {
  const iot = client(server.createKey({
    Effect: 'Allow', Action: 'iot:Publish', Resource: server.arn('topic/a/*'),
  }));
  await iot.send(new aws.PublishCommand({ topic: 'a/b c', qos: 1, payload: Buffer.from('x') }));
  for (const command of [
    new aws.PublishCommand({ topic: 'b', payload: Buffer.from('x') }),
    new aws.PublishCommand({ topic: 'a/b', payload: Buffer.from('x'), retain: true }),
    new aws.GetRetainedMessageCommand({ topic: 'a/b' }),
    new aws.ListRetainedMessagesCommand({}),
    new aws.DeleteConnectionCommand({ clientId: 'nobody' }),
    new aws.GetThingShadowCommand({ thingName: 'lamp' }),
  ]) {
    assert.equal((await failed(iot.send(command))).name, 'ForbiddenException');
  }
});

for (const clientId of ODD_IDS) {
  test(`§5: ${JSON.stringify(clientId)} is signed and decoded alike`, async () => {
    const literal = clientId.replaceAll(/[*?$]/g, (one) => `\${${one}}`);
    const iot = client(server.createKey({
      Effect: 'Allow', Action: 'iot:GetConnection', Resource: server.arn(`client/${literal}`),
    }));
    assert.equal((await failed(get(iot, clientId))).name, 'ResourceNotFoundException');
    assert.equal((await failed(get(iot, `${clientId}x`))).name, 'ForbiddenException');
  });
}

for (const minutes of [-10, 10]) {
  test(`§3: a clock that is ${minutes} minutes off is corrected by the Date`, async (t) => {
    const [corrected, strict] = [client(server.createKey(ALL)),
      client(server.createKey(ALL), { maxAttempts: 1 })];
    const now = Date.now.bind(Date);
    t.mock.method(Date, 'now', () => now() + minutes * 60_000);
    assert.equal((await failed(get(strict))).name, 'InvalidSignatureException');
    assert.equal((await failed(get(strict))).name, 'ResourceNotFoundException');
    const answer = await corrected.send(new aws.PublishCommand({ topic: 'a' }));
    assert.equal(answer.$metadata.attempts, 2);
  });
}

for (const protocolVersion of [4, 5]) {
  test(`MQTT.js by certificate: its policy decides (${protocolVersion})`, async () => {
    const mine = name('mine');
    const held = server.createCertificate(
      { Effect: 'Allow', Action: 'iot:Connect', Resource: server.arn(`client/${mine}`) },
      { Effect: 'Allow', Action: 'iot:Publish', Resource: server.arn('topic/a') });
    const options = {
      cert: fs.readFileSync(held.certificate), key: fs.readFileSync(held.key), protocolVersion,
    };
    const { device, code } = await knock(server.urls.mqtts, { ...options, clientId: mine });
    assert.equal(code, 0);
    await device.publishAsync('a', 'x', { qos: 1 });
    const other = await knock(server.urls.mqtts, options);
    assert.equal(other.code, protocolVersion === 5 ? NOT_AUTHORIZED : 5);
    const ended = soon(device, 'close');
    server.run('certificate', 'update', held.id, 'inactive');
    await ended;
    const again = await knock(server.urls.mqtts, { ...options, clientId: mine });
    assert.equal(again.code, protocolVersion === 5 ? NOT_AUTHORIZED : 5);
  });
}

test('MQTT.js by password', async () => {
  const password = 'password-of-js';
  server.createUser('js', password, ALL);
  for (const url of [server.urls.mqtt, `${server.urls.https.replace('https', 'wss')}/mqtt`]) {
    assert.equal((await knock(url, { username: 'js', password })).code, 0);
    assert.equal((await knock(url, { username: 'js', password: 'wrong' })).code, BAD_PASSWORD);
    assert.equal((await knock(url, {})).code, NOT_AUTHORIZED);
  }
});

/** Runs AWS's device SDK in a process of its own: what it tells first. */
async function runDevice(options) {
  const all = { clientId: name('sdk'), topic: name('sdk/test'), pki: server.pki, ...options };
  const device = fork(path.join(__dirname, 'device.cjs'), [JSON.stringify(all)]);
  try {
    return (await soon(device, 'message'))[0];
  } finally {
    const ended = once(device, 'exit');
    device.kill('SIGKILL');
    await ended;
  }
}

test('the device SDK by certificate', async () => {
  const port = Number(new URL(server.urls.mqtts).port);
  const held = server.createCertificate(ALL);
  const pki = { ...server.pki, ...held };
  assert.deepEqual(await runDevice({ way: 'certificate', port, pki }), { message: 'hello' });
  server.run('certificate', 'update', held.id, 'inactive');
  assert.deepEqual(await runDevice({ way: 'certificate', port, pki }), { connack: NOT_AUTHORIZED });
});

test('the device SDK by signature', async () => {
  const port = Number(new URL(server.urls.https).port);
  const key = server.createKey(ALL);
  const run = (credentials) => runDevice({ way: 'websocket', port, credentials });
  assert.deepEqual(await run(key), { message: 'hello' });
  for (const bad of [
    { ...key, secretAccessKey: 'wrong' }, { ...key, accessKeyId: 'AKIANOBODYKNOWSTHIS0' },
    { ...key, sessionToken: 'token' },
  ]) {
    assert.match((await run(bad)).failure, /UPGRADE_FAILURE|upgrade/i);
  }
  const denied = server.createKey({ ...ALL, Action: 'iot:Publish' });
  assert.deepEqual(await run(denied), { connack: NOT_AUTHORIZED });
});
