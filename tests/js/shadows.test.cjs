'use strict';
// Shadows and direct messages with the AWS SDK for JavaScript v3 and MQTT.js, unmodified.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { after, before, test } = require('node:test');
const mqtt = require('mqtt');
const aws = require('@aws-sdk/client-iot-data-plane');
const { startServer } = require('./server.cjs');

const OK_MILLISECONDS = 15_000;

let server;
let iot;
const devices = [];
let numbers = 0;

const name = (word) => `${word}-js-${(numbers += 1)}`;
const send = (command, input) => iot.send(new aws[`${command}Command`](input));
const document = (answer) => JSON.parse(Buffer.from(answer.payload).toString());
const soon = (emitter, event) =>
  once(emitter, event, { signal: AbortSignal.timeout(OK_MILLISECONDS) });

async function connect(clientId, options = {}) {
  const device = mqtt.connect(server.urls.mqtt, {
    clientId, protocolVersion: 5, clean: true, reconnectPeriod: 0, ...options,
  });
  devices.push(device);
  await soon(device, 'connect');
  return device;
}

before(async () => {
  server = await startServer();
  iot = new aws.IoTDataPlaneClient({
    endpoint: server.urls.http,
    region: 'us-east-1',
    maxAttempts: 1,
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'SECRETEXAMPLE' },
  });
});

after(async () => {
  devices.forEach((device) => device.end(true));
  iot.destroy();
  assert.equal(await server.stop(), 0);
});

test('the four operations of shadows, and their exceptions', async () => {
  const thingName = name('T:1');
  const payload = JSON.stringify({ state: { desired: { led: 'on' } }, clientToken: 't' });
  const updated = document(await send('UpdateThingShadow', { thingName, payload }));
  assert.deepEqual([updated.version, updated.clientToken], [1, 't']);
  const got = document(await send('GetThingShadow', { thingName }));
  assert.deepEqual(got.state, { desired: { led: 'on' }, delta: { led: 'on' } });
  await send('UpdateThingShadow', { thingName, shadowName: '$s', payload: '{"state":{}}' });
  const listed = await send('ListNamedShadowsForThing', { thingName });
  assert.deepEqual(listed.results, ['$s']);
  assert.deepEqual(document(await send('DeleteThingShadow', { thingName })).version, 1);
  await assert.rejects(send('GetThingShadow', { thingName }), aws.ResourceNotFoundException);
  const refused = (body, exception) =>
    assert.rejects(send('UpdateThingShadow', { thingName, shadowName: '$s', payload: body }),
      (error) => error instanceof exception && error.traceId === error.$metadata.requestId);
  await refused('{', aws.InvalidRequestException);
  await refused('{"state":{},"version":7}', aws.ConflictException);
  await refused(JSON.stringify({ state: { desired: 'x'.repeat(131_072) } }),
    aws.RequestEntityTooLargeException);
  await refused(Buffer.from([0x7b, 0xff]), aws.UnsupportedDocumentEncodingException);
});

test('S-30: a device hears what an application wants', async () => {
  const thingName = name('lamp');
  const device = await connect(name('device'));
  await device.subscribeAsync(`$aws/things/${thingName}/shadow/update/delta`, { qos: 1 });
  const message = soon(device, 'message');
  await send('UpdateThingShadow', { thingName, payload: '{"state":{"desired":{"led":"on"}}}' });
  const [, delta, packet] = await message;
  assert.deepEqual(JSON.parse(delta).state, { led: 'on' });
  assert.equal(packet.qos, 1);
});

test('DM-1, DM-3, DM-4: a message to one client', async () => {
  const clientId = name('lamp one');
  const device = await connect(clientId);
  const message = soon(device, 'message');
  const answer = await send('SendDirectMessage', {
    clientId, topic: 'commands/a b', payload: 'now', confirmation: true, timeout: 3,
    contentType: 'text/plain', userProperties: JSON.stringify([{ a: '1' }, { b: '2' }]),
  });
  assert.equal(answer.traceId, answer.$metadata.requestId);
  const [topic, payload, packet] = await message;
  assert.deepEqual([topic, payload.toString(), packet.qos], ['commands/a b', 'now', 1]);
  assert.deepEqual({ ...packet.properties.userProperties }, { a: '1', b: '2' });
  const away = name('away');
  const gone = await connect(away, { clean: false, properties: { sessionExpiryInterval: 60 } });
  await gone.endAsync();
  await assert.rejects(send('SendDirectMessage', { clientId: away, topic: 't', payload: 'x' }),
    (error) => error instanceof aws.ResourceNotFoundException
      && error.message.includes('but it has an active persistent session'));
  const mute = await connect(name('mute'), { customHandleAcks: () => {} });
  await assert.rejects(
    send('SendDirectMessage', {
      clientId: mute.options.clientId, topic: 't', payload: 'x', confirmation: true, timeout: 1,
    }),
    aws.GatewayTimeoutException);
});
