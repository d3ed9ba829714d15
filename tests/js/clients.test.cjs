'use strict';
// The AWS SDK for JavaScript v3 and MQTT.js, unmodified, over real sockets.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { after, before, test } = require('node:test');
const mqtt = require('mqtt');
const aws = require('@aws-sdk/client-iot-data-plane');
const { startServer } = require('./server.cjs');

const ADMINISTRATIVE_ACTION = 0x98;
const OK_MILLISECONDS = 10_000;
const ODD_IDS = ['a/b c', "ü~*()'!", '50%25', '#+x', 'a:b@c,d;e=f&g', '..', 'a//b'];

let server;
let iot;
const devices = [];
let numbers = 0;

const name = (word) => `${word}-js-${(numbers += 1)}`;
const send = (command, input) => iot.send(new aws[`${command}Command`](input));

/** Connects MQTT.js without its reconnecting, so that an end stays one. */
async function connect(clientId, options = {}) {
  const device = mqtt.connect(options.url ?? server.urls.mqtt, {
    clientId, protocolVersion: 5, clean: true, reconnectPeriod: 0, ...options,
  });
  devices.push(device);
  const signal = AbortSignal.timeout(OK_MILLISECONDS);
  const [connack] = await once(device, 'connect', { signal });
  device.sessionPresent = connack.sessionPresent;
  return device;
}

const next = async (device) => {
  const signal = AbortSignal.timeout(OK_MILLISECONDS);
  const [topic, payload, packet] = await once(device, 'message', { signal });
  return { topic, payload: payload.toString(), packet };
};

before(async () => {
  server = await startServer();
  iot = new aws.IoTDataPlaneClient({
    endpoint: server.urls.http,
    region: 'us-east-1',
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'SECRETEXAMPLE' },
  });
});

after(async () => {
  devices.forEach((device) => device.end(true));
  iot.destroy();
  assert.equal(await server.stop(), 0);
});

for (const protocolVersion of [4, 5]) {
  test(`DC-1: a clean session is put off, its will arrives (${protocolVersion})`, async () => {
    const topic = name('will');
    const watcher = await connect(name('watcher'));
    await watcher.subscribeAsync(topic, { qos: 1 });
    const will = { topic, payload: Buffer.from('gone'), qos: 1, retain: false };
    const lamp = await connect(name('lamp'), { protocolVersion, will });
    const signal = AbortSignal.timeout(OK_MILLISECONDS);
    const closed = once(lamp, 'close', { signal });
    const told = protocolVersion === 5 ? once(lamp, 'disconnect', { signal }) : null;
    const arrives = next(watcher);
    const answer = await send('DeleteConnection', { clientId: lamp.options.clientId });
    assert.equal(answer.$metadata.httpStatusCode, 200);
    if (told) assert.equal((await told)[0].reasonCode, ADMINISTRATIVE_ACTION);
    await closed;
    assert.equal((await arrives).payload, 'gone');
  });

  test(`DC-4, DC-5: a session is kept, then cleared (${protocolVersion})`, async () => {
    const clientId = name('lamp');
    const properties = protocolVersion === 5 ? { sessionExpiryInterval: 3600 } : undefined;
    const options = { protocolVersion, clean: false, properties };
    await connect(clientId, options);
    await send('DeleteConnection', { clientId });
    assert.equal((await connect(clientId, options)).sessionPresent, true);
    await send('DeleteConnection', { clientId, cleanSession: true, preventWillMessage: true });
    assert.equal((await connect(clientId, options)).sessionPresent, false);
  });
}

for (const odd of ODD_IDS) {
  test(`the client id ${odd} is encoded and found`, async () => {
    const clientId = odd === '..' ? odd : `${name('id')}${odd}`;
    await connect(clientId);
    const { connected, clientId: told } = await send('GetConnection', { clientId });
    assert.deepEqual([connected, told], [true, clientId]);
    await send('DeleteConnection', { clientId });
    await assert.rejects(send('DeleteConnection', { clientId }), aws.ResourceNotFoundException);
  });
}

test('GetConnection and ListSubscriptions, with the paginator', async () => {
  const clientId = name('lamp');
  const lamp = await connect(clientId, { clean: false, properties: { sessionExpiryInterval: 60 } });
  const filters = Array.from({ length: 45 }, (_, n) => `f/${String(n).padStart(2, '0')}`);
  await lamp.subscribeAsync(filters, { qos: 1 });
  const state = await send('GetConnection', { clientId, includeSocketInformation: true });
  assert.equal(state.sessionExpiry, 60);
  assert.equal(state.sourceIp, '127.0.0.1');
  assert.equal(typeof state.connectedSince, 'number');
  const seen = [];
  for await (const page of aws.paginateListSubscriptions({ client: iot }, { clientId })) {
    seen.push(...page.subscriptions.map((one) => one.topicFilter));
  }
  assert.deepEqual(seen, filters);
});

test('Publish carries its MQTT 5 properties', async () => {
  const topic = `${name('t')}/b c`;
  const listener = await connect(name('listener'));
  await listener.subscribeAsync(topic, { qos: 1 });
  const arrives = next(listener);
  await send('Publish', {
    topic,
    qos: 1,
    payload: Buffer.from('hello'),
    contentType: 'text/plain',
    responseTopic: 'reply/here',
    payloadFormatIndicator: 'UTF8_DATA',
    userProperties: JSON.stringify([{ deviceName: 'alpha' }, { deviceCnt: '45' }]),
  });
  const { payload, packet } = await arrives;
  assert.equal(payload, 'hello');
  assert.equal(packet.properties.contentType, 'text/plain');
  assert.equal(packet.properties.responseTopic, 'reply/here');
  assert.deepEqual({ ...packet.properties.userProperties }, { deviceName: 'alpha', deviceCnt: '45' });
});

test('GetRetainedMessage and ListRetainedMessages', async () => {
  const topic = name('r');
  const lamp = await connect(name('lamp'));
  await lamp.publishAsync(topic, 'kept', { qos: 1, retain: true });
  const got = await send('GetRetainedMessage', { topic });
  assert.equal(Buffer.from(got.payload).toString(), 'kept');
  const topics = [];
  for await (const page of aws.paginateListRetainedMessages({ client: iot, pageSize: 1 }, {})) {
    topics.push(...page.retainedTopics.map((one) => one.topic));
  }
  assert.ok(topics.includes(topic));
});

test('each error is its class, with the identifier of its request', async () => {
  const { ResourceNotFoundException, InvalidRequestException } = aws;
  const absent = await send('GetConnection', { clientId: name('nobody') }).catch((error) => error);
  assert.ok(absent instanceof ResourceNotFoundException);
  assert.equal(absent.$metadata.httpStatusCode, 404);
  assert.equal(absent.traceId, absent.$metadata.requestId);
  assert.equal(absent.$metadata.attempts, 1);
  await assert.rejects(send('DeleteConnection', { clientId: '$x' }), InvalidRequestException);
  await assert.rejects(send('Publish', { topic: 'a/+' }), InvalidRequestException);
  await assert.rejects(send('Publish', { topic: 'a', qos: 2 }), InvalidRequestException);
  const large = await send('Publish', { topic: 'a', payload: Buffer.alloc(131_073) })
    .catch((error) => error);
  assert.equal(large.name, 'RequestEntityTooLargeException');
});

for (const protocolVersion of [4, 5]) {
  for (const qos of [0, 1, 2]) {
    test(`MQTT.js publishes and subscribes at QoS ${qos} (${protocolVersion})`, async () => {
      const topic = name('t');
      const lamp = await connect(name('lamp'), { protocolVersion });
      const [granted] = await lamp.subscribeAsync(topic, { qos });
      assert.equal(granted.qos, qos);
      const arrives = next(lamp);
      await lamp.publishAsync(topic, 'hello', { qos });
      const { payload, packet } = await arrives;
      assert.deepEqual([payload, packet.qos], ['hello', qos]);
      await lamp.unsubscribeAsync(topic);
      await lamp.endAsync();
    });
  }
}
