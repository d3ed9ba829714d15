'use strict';
// A device that runs AWS's IoT Device SDK for JavaScript v2: `node device.cjs OPTIONS`, as JSON.
//
// It connects, subscribes, publishes to itself and tells its parent what happens. A process of its
// own, which its parent ends: the SDK's native threads take seconds to end by themselves.

const { once } = require('node:events');
const { auth, iot, mqtt5 } = require('aws-iot-device-sdk-v2');

const HOST = '127.0.0.1';
const Builder = iot.AwsIotMqtt5ClientConfigBuilder;
const { way, port, pki, clientId, topic, credentials } = JSON.parse(process.argv[2]);
const { accessKeyId, secretAccessKey, sessionToken } = credentials ?? {
  accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'SECRET', sessionToken: 'TOKEN',
};

const BUILDERS = {
  certificate: () => Builder.newDirectMqttBuilderWithMtlsFromPath(HOST, pki.certificate, pki.key),
  websocket: () => Builder.newWebsocketMqttBuilderWithSigv4Auth(HOST, {
    region: 'us-east-1',
    credentialsProvider:
      auth.AwsCredentialsProvider.newStatic(accessKeyId, secretAccessKey, sessionToken),
  }),
};

async function run() {
  const config = BUILDERS[way]()
    .withPort(port)
    .withCertificateAuthorityFromPath(undefined, pki.ca)
    .withConnectProperties({ clientId, keepAliveIntervalSeconds: 30 });
  const client = new mqtt5.Mqtt5Client(config.build());
  client.on('messageReceived', ({ message }) => {
    process.send({ message: Buffer.from(message.payload).toString() });
  });
  client.on('disconnection', ({ disconnect }) => {
    process.send({ disconnect: disconnect.reasonCode });
  });
  client.on('connectionFailure', ({ connack, error }) => {
    process.send(connack ? { connack: connack.reasonCode } : { failure: String(error) });
  });
  const connected = once(client, 'connectionSuccess');
  client.start();
  await connected;
  const qos = mqtt5.QoS.AtLeastOnce;
  await client.subscribe({ subscriptions: [{ topicFilter: topic, qos }] });
  await client.publish({ topicName: topic, payload: 'hello', qos });
}

run();
