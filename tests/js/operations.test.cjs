'use strict';
// Every operation of the data plane, every exception that can occur, odd names and pages, with the
// AWS SDK for JavaScript v3. The table is `tests/operations.json`.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { after, before, test } = require('node:test');
const mqtt = require('mqtt');
const aws = require('@aws-sdk/client-iot-data-plane');
const table = require('../operations.json');
const { startServer } = require('./server.cjs');

const OK_MILLISECONDS = 15_000;

let open;
let enforced;
let iot;
const devices = [];

/** A client without retries, which would spend what a test arranged. */
const client = (server, credentials) => new aws.IoTDataPlaneClient({
  endpoint: server.urls.http, region: 'us-east-1', maxAttempts: 1, credentials,
});

/** The members of an input; its payload as bytes, whatever the table says it as. */
function inputOf({ payloadBytes, payloadHex, ...members }) {
  if (payloadBytes) return { ...members, payload: Buffer.alloc(payloadBytes, 'x') };
  return payloadHex ? { ...members, payload: Buffer.from(payloadHex, 'hex') } : members;
}

const send = (by, operation, input) => by.send(new aws[`${operation}Command`](inputOf(input)));

async function refuses(by, operation, input, { exception, status, modelled = true }) {
  await assert.rejects(send(by, operation, input), (error) => {
    assert.equal(error.name, exception);
    assert.ok(error instanceof (modelled ? aws[exception] : aws.IoTDataPlaneServiceException));
    assert.equal(error.$metadata.httpStatusCode, status);
    return true;
  });
}

async function connect(clientId, options = {}) {
  const device = mqtt.connect(open.urls.mqtt,
    { clientId, protocolVersion: 5, clean: true, reconnectPeriod: 0, ...options });
  devices.push(device);
  await once(device, 'connect', { signal: AbortSignal.timeout(OK_MILLISECONDS) });
  return device;
}

before(async () => {
  [open, enforced] = await Promise.all([startServer(), startServer({ enforce: true })]);
  iot = client(open, { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'SECRETEXAMPLE' });
});

after(async () => {
  devices.forEach((device) => device.end(true));
  iot.destroy();
  assert.deepEqual(await Promise.all([open.stop(), enforced.stop()]), [0, 0]);
});

for (const { operation, input, ...refusal } of table.refusals) {
  test(`${operation}: ${refusal.exception}`, async () => {
    if (refusal.status === 409) await send(iot, operation, table.operations[operation]);
    await refuses(iot, operation, input, refusal);
  });
}

for (const [operation, input] of Object.entries(table.operations)) {
  test(`§10: ${operation} can throttle`, async () => {
    const url = `${open.urls.http}/bitts/v1/throttle?calls=1&operation=${operation}`;
    assert.equal((await fetch(url, { method: 'POST' })).status, 200);
    await refuses(iot, operation, input, { exception: 'ThrottlingException', status: 429 });
    await send(iot, operation, input).catch((error) => {
      assert.ok(error instanceof aws.ResourceNotFoundException);
    });
  });
}

test('§3: each operation can be forbidden', async () => {
  const key = enforced.createKey({ Effect: 'Allow', Action: 'iot:Connect', Resource: '*' });
  const powerless = client(enforced, key);
  for (const [operation, input] of Object.entries(table.operations)) {
    const modelled = table.forbiddenModelled.includes(operation);
    await refuses(powerless, operation, input,
      { exception: 'ForbiddenException', status: 403, modelled });
  }
});

for (const [vector, exception, status, options] of [
  ['DM-3', 'GatewayTimeoutException', 504, { customHandleAcks: () => {} }],
  ['DM-14', 'InternalFailureException', 500,
    { customHandleAcks: (topic, payload, packet, done) => done(0x83) }],
]) {
  test(`${vector}: ${exception}`, async () => {
    await connect(vector, options);
    const input = { clientId: vector, topic: 't', payload: 'x', confirmation: true, timeout: 1 };
    await refuses(iot, 'SendDirectMessage', input, { exception, status });
  });
}

for (const clientId of table.clientIds) {
  test(`§5: the client id ${JSON.stringify(clientId)} is found`, async () => {
    await connect(clientId);
    assert.equal((await send(iot, 'GetConnection', { clientId })).clientId, clientId);
    await send(iot, 'SendDirectMessage', { clientId, topic: 't', payload: 'x', timeout: 1 });
    await send(iot, 'DeleteConnection', { clientId });
    await assert.rejects(send(iot, 'ListSubscriptions', { clientId }),
      aws.ResourceNotFoundException);
  });
}

for (const topic of table.topics) {
  test(`§5: the topic ${JSON.stringify(topic)} is found`, async () => {
    await send(iot, 'Publish', { topic, qos: 1, retain: true, payload: 'x' });
    assert.equal((await send(iot, 'GetRetainedMessage', { topic })).topic, topic);
    await send(iot, 'Publish', { topic, retain: true });
    await assert.rejects(send(iot, 'GetRetainedMessage', { topic }),
      aws.ResourceNotFoundException);
  });
}

test('S-27: pages of named shadows, by their tokens', async () => {
  const thingName = 'thing-of-pages';
  const names = Array.from({ length: 5 }, (_, n) => `s${n}`);
  for (const shadowName of names) {
    await send(iot, 'UpdateThingShadow', { thingName, shadowName, payload: '{"state":{}}' });
  }
  const seen = [];
  let nextToken;
  do {
    const input = { thingName, pageSize: 2, nextToken };
    const page = await send(iot, 'ListNamedShadowsForThing', input);
    seen.push(...page.results);
    nextToken = page.nextToken;
  } while (nextToken);
  assert.deepEqual(seen, names);
});
