'use strict';
// MQTT.js on every listener, the AWS SDK over HTTPS, AWS's IoT Device SDK v2 as a device.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { after, before, test } = require('node:test');
const mqtt = require('mqtt');
const aws = require('@aws-sdk/client-iot-data-plane');
const { startServer } = require('./server.cjs');

const ADMINISTRATIVE_ACTION = 0x98;
const OK_MILLISECONDS = 10_000;

let server;
let iot;
let ca;
let numbers = 0;

const name = (word) => `${word}-js-${(numbers += 1)}`;
const soon = (emitter, event) =>
  once(emitter, event, { signal: AbortSignal.timeout(OK_MILLISECONDS) });

before(async () => {
  server = await startServer();
  ca = fs.readFileSync(server.pki.ca);
  iot = new aws.IoTDataPlaneClient({
    endpoint: server.urls.https,
    region: 'us-east-1',
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'SECRETEXAMPLE' },
    requestHandler: { httpsAgent: { ca } },
  });
});

after(async () => {
  iot.destroy();
  assert.equal(await server.stop(), 0);
});

/** How MQTT.js reaches each listener; `certified` sends the device certificate. */
const WAYS = {
  mqtt: () => [server.urls.mqtt],
  mqtts: () => [server.urls.mqtts, { ca }],
  'mqtts, certified': () => [server.urls.mqtts, certified()],
  'https by ALPN': () => [
    server.urls.https.replace('https', 'mqtts'),
    { ...certified(), ALPNProtocols: ['x-amzn-mqtt-ca'] },
  ],
  ws: () => [`${server.urls.http.replace('http', 'ws')}/mqtt`],
  wss: () => [`${server.urls.https.replace('https', 'wss')}/mqtt`, { ca }],
};

const certified = () => ({
  ca, cert: fs.readFileSync(server.pki.certificate), key: fs.readFileSync(server.pki.key),
});

for (const [way, how] of Object.entries(WAYS)) {
  for (const protocolVersion of [4, 5]) {
    test(`MQTT.js over ${way}: messages, then put off (${protocolVersion})`, async () => {
      const [url, options] = how();
      const [topic, clientId] = [name('t'), name('lamp')];
      const lamp = mqtt.connect(url, { clientId, protocolVersion, reconnectPeriod: 0, ...options });
      await soon(lamp, 'connect');
      await lamp.subscribeAsync(topic, { qos: 2 });
      for (const payload of [Buffer.from('hello'), Buffer.alloc(100_000, 'x')]) {
        const arrives = soon(lamp, 'message');
        await lamp.publishAsync(topic, payload, { qos: 2 });
        assert.deepEqual((await arrives)[1], payload);
      }
      const closed = soon(lamp, 'close');
      const told = protocolVersion === 5 ? soon(lamp, 'disconnect') : null;
      await iot.send(new aws.DeleteConnectionCommand({ clientId }));
      if (told) assert.equal((await told)[0].reasonCode, ADMINISTRATIVE_ACTION);
      await closed;
      lamp.end(true);
    });
  }
}

for (const [way, listener] of [['certificate', 'mqtts'], ['websocket', 'https']]) {
  test(`the device SDK by ${way}: messages, then put off`, async () => {
    const [clientId, topic] = [name('sdk'), name('sdk/test')];
    const port = Number(new URL(server.urls[listener]).port);
    const options = JSON.stringify({ way, port, pki: server.pki, clientId, topic });
    const device = fork(path.join(__dirname, 'device.cjs'), [options]);
    try {
      assert.deepEqual(await soon(device, 'message'), [{ message: 'hello' }, undefined]);
      const told = soon(device, 'message');
      await iot.send(new aws.DeleteConnectionCommand({ clientId }));
      assert.deepEqual((await told)[0], { disconnect: ADMINISTRATIVE_ACTION });
    } finally {
      const ended = once(device, 'exit');
      device.kill('SIGKILL');
      await ended;
    }
  });
}
