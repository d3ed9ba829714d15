'use strict';
// AWS's IoT Device SDK for JavaScript v2, unmodified, as its samples use it: MQTT 3.1.1 and 5, by
// certificate and by WebSocket with Signature Version 4, messages and the shadow clients V1 and V2,
// with `--auth open` and with identities made over the control plane by the AWS SDK.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { after, before, test } = require('node:test');
const control = require('@aws-sdk/client-iot');
const { startServer } = require('./server.cjs');

const OK_MILLISECONDS = 30_000;
const LISTENERS = { certificate: 'mqtts', websocket: 'https' };
const ANYBODY = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'SECRET', sessionToken: 'TOKEN' };

let open;
let enforced;
let numbers = 0;

const name = (word) => `${word}-sdk-${(numbers += 1)}`;

before(async () => {
  [open, enforced] = await Promise.all([startServer(), startServer({ enforce: true })]);
});

after(async () => {
  assert.deepEqual(await Promise.all([open.stop(), enforced.stop()]), [0, 0]);
});

/** What the device tells at its end. */
async function runDevice(server, options) {
  const things = [name('thing'), name('thing')];
  const port = Number(new URL(server.urls[LISTENERS[options.way]]).port);
  const all = { clientId: name('device'), topic: name('sdk/test'), pki: server.pki,
    credentials: ANYBODY, port, things, ...options };
  const device = fork(path.join(__dirname, 'sdk_device.cjs'), [JSON.stringify(all)]);
  try {
    const signal = AbortSignal.timeout(OK_MILLISECONDS);
    const [told] = await once(device, 'message', { signal });
    return { told, things: all.things };
  } finally {
    const ended = once(device, 'exit');
    device.kill('SIGKILL');
    await ended;
  }
}

/** What a device hears that may do all this. */
function heard([, second]) {
  const state = { desired: { color: 'red' }, reported: { color: 'off' } };
  const delta = { color: 'red' };
  return {
    heard: 'hello',
    v1: [
      ['GetShadowRejected', 'g', 404, null],
      ['ShadowDeltaUpdatedEvents', 'u', 1, delta],
      ['UpdateShadowAccepted', 'u', 1, state],
      ['GetShadowAccepted', 'h', 1, { ...state, delta }],
      ['UpdateShadowRejected', 'v', 409, null],
      ['DeleteShadowAccepted', 'd', 1, null],
    ],
    v2: {
      missing: [404, `No shadow exists with name: '${second}'`],
      updated: [1, { desired: { color: 'red' } }],
      delta,
      got: { desired: { color: 'red' }, delta },
      conflict: [409, 'Version conflict'],
      named: [1, { desired: { color: 'red' } }],
      deleted: 1,
    },
  };
}

/** A thing with a certificate that may be the thing alone, made as AWS's guide makes it. */
async function createThing(thingName) {
  const iot = new control.IoTClient({
    endpoint: enforced.urls.http, region: 'us-east-1', credentials: enforced.admin,
  });
  const send = (command, input) => iot.send(new control[`${command}Command`](input));
  const made = await send('CreateKeysAndCertificate', { setAsActive: true });
  await send('CreateThing', { thingName });
  const variable = '${iot:Connection.Thing.ThingName}';
  const [topics, filters] = ['topic', 'topicfilter'].map((kind) => [
    enforced.arn(`${kind}/sdk/test/${variable}`),
    enforced.arn(`${kind}/$aws/things/${variable}/shadow/*`),
  ]);
  const policyName = name('policy');
  await send('CreatePolicy', { policyName, policyDocument: JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: 'iot:Connect', Resource: enforced.arn(`client/${variable}`) },
      { Effect: 'Allow', Action: ['iot:Publish', 'iot:Receive'], Resource: topics },
      { Effect: 'Allow', Action: 'iot:Subscribe', Resource: filters },
    ],
  }) });
  await send('AttachPolicy', { policyName, target: made.certificateArn });
  await send('AttachThingPrincipal', { thingName, principal: made.certificateArn });
  iot.destroy();
  const [certificate, key] = ['pem', 'key'].map((kind) => enforced.file(`${thingName}.${kind}`));
  fs.writeFileSync(certificate, made.certificatePem);
  fs.writeFileSync(key, made.keyPair.PrivateKey);
  return { ...enforced.pki, certificate, key };
}

for (const protocol of ['3.1.1', '5']) {
  for (const way of Object.keys(LISTENERS)) {
    test(`messages and shadows by ${way} (${protocol})`, async () => {
      const { told, things } = await runDevice(open, { way, protocol });
      assert.deepEqual(told, heard(things));
    });
  }

  test(`a thing with a certificate of the control plane is itself (${protocol})`, async () => {
    const thing = name('lamp');
    const pki = await createThing(thing);
    // One thing for both: V1 created and deleted its shadow, which took versions 1 and 2.
    const { told, things } = await runDevice(enforced, { way: 'certificate', protocol, pki,
      clientId: thing, topic: `sdk/test/${thing}`, things: [thing, thing] });
    const expected = heard(things);
    expected.v2.updated[0] = 3;
    expected.v2.deleted = 3;
    assert.deepEqual(told, expected);
  });

  test(`a key that may do everything signs for a device (${protocol})`, async () => {
    const credentials = enforced.createKey({ Effect: 'Allow', Action: 'iot:*', Resource: '*' });
    const { told, things } = await runDevice(enforced, { way: 'websocket', protocol, credentials });
    assert.deepEqual(told, heard(things));
  });
}
