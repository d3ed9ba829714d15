'use strict';
// A device with the shadow client V2 of AWS's IoT Device SDK for JavaScript v2:
// `node shadow_device.cjs OPTIONS`, as JSON. It tells its parent once what it heard, and is ended by
// it.

const { once } = require('node:events');
const { auth, iot, iotshadow, mqtt5 } = require('aws-iot-device-sdk-v2');

const HOST = '127.0.0.1';
const Builder = iot.AwsIotMqtt5ClientConfigBuilder;
const { way, port, pki, clientId, thing } = JSON.parse(process.argv[2]);

const BUILDERS = {
  certificate: () => Builder.newDirectMqttBuilderWithMtlsFromPath(HOST, pki.certificate, pki.key),
  websocket: () => Builder.newWebsocketMqttBuilderWithSigv4Auth(HOST, {
    region: 'us-east-1',
    credentialsProvider: auth.AwsCredentialsProvider.newStatic('AKIDEXAMPLE', 'SECRET', 'TOKEN'),
  }),
};

/** What a request is refused with. */
const refusal = (request) =>
  request.then(() => { throw new Error('accepted'); }, (error) => error.modeledError);

async function run() {
  const config = BUILDERS[way]()
    .withPort(port)
    .withCertificateAuthorityFromPath(undefined, pki.ca)
    .withConnectProperties({ clientId, keepAliveIntervalSeconds: 30 });
  const client = new mqtt5.Mqtt5Client(config.build());
  const connected = once(client, 'connectionSuccess');
  client.start();
  await connected;
  const shadow = iotshadow.IotShadowClientv2.newFromMqtt5(client, {
    maxRequestResponseSubscriptions: 5,
    maxStreamingSubscriptions: 2,
    operationTimeoutInSeconds: 10,
  });
  const deltas = shadow.createShadowDeltaUpdatedStream({ thingName: thing });
  const established = once(deltas, 'subscriptionStatus');
  const delta = once(deltas, 'incomingPublish');
  deltas.open();
  await established;
  const missing = await refusal(shadow.getShadow({ thingName: thing }));
  const update = { thingName: thing, state: { desired: { color: 'red' } } };
  const updated = await shadow.updateShadow(update);
  const [{ message }] = await delta;
  const got = await shadow.getShadow({ thingName: thing });
  const conflict = await refusal(shadow.updateShadow({ ...update, version: 7 }));
  const deleted = await shadow.deleteShadow({ thingName: thing });
  process.send({
    missing: { code: missing.code, message: missing.message },
    updated: { version: updated.version, state: updated.state },
    delta: message.state,
    got: got.state,
    conflict: conflict.code,
    deleted: deleted.version,
  });
}

run();
