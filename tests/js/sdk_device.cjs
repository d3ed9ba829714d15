'use strict';
// A device with AWS's IoT Device SDK for JavaScript v2: `node sdk_device.cjs OPTIONS`, as JSON.
//
// It connects by `way` with `protocol`, sends itself a message, then runs the samples of the shadow
// clients V1 and V2, and tells its parent once what it heard. Its parent ends it: the SDK's native
// threads take seconds to end by themselves.

const { once } = require('node:events');
const { auth, iot, iotshadow, mqtt, mqtt5 } = require('aws-iot-device-sdk-v2');

const HOST = '127.0.0.1';
const REGION = 'us-east-1';
const { way, protocol, port, pki, clientId, topic, things, credentials } =
  JSON.parse(process.argv[2]);
const { accessKeyId, secretAccessKey, sessionToken } = credentials;
const QOS = mqtt.QoS.AtLeastOnce;

/** MQTT 3.1.1: the connection, and what it heard of its own message. */
async function connect311() {
  const Builder = iot.AwsIotMqttConnectionConfigBuilder;
  const builder = way === 'certificate'
    ? Builder.new_mtls_builder_from_path(pki.certificate, pki.key)
    : Builder.new_with_websockets()
      .with_credentials(REGION, accessKeyId, secretAccessKey, sessionToken);
  const config = builder.with_certificate_authority_from_path(undefined, pki.ca)
    .with_endpoint(HOST).with_port(port).with_client_id(clientId).with_clean_session(true)
    .with_keep_alive_seconds(30).build();
  const connection = new mqtt.MqttClient().new_connection(config);
  await connection.connect();
  const arrives = new Promise((resolve) => {
    connection.subscribe(topic, QOS, (_, payload) => resolve(Buffer.from(payload).toString()))
      .then(() => connection.publish(topic, 'hello', QOS));
  });
  return { heard: await arrives, v1: new iotshadow.IotShadowClient(connection),
    v2: (options) => iotshadow.IotShadowClientv2.newFromMqtt311(connection, options) };
}

/** MQTT 5, alike. */
async function connect5() {
  const Builder = iot.AwsIotMqtt5ClientConfigBuilder;
  const builder = way === 'certificate'
    ? Builder.newDirectMqttBuilderWithMtlsFromPath(HOST, pki.certificate, pki.key)
    : Builder.newWebsocketMqttBuilderWithSigv4Auth(HOST, {
      region: REGION,
      credentialsProvider:
        auth.AwsCredentialsProvider.newStatic(accessKeyId, secretAccessKey, sessionToken),
    });
  const client = new mqtt5.Mqtt5Client(builder.withPort(port)
    .withCertificateAuthorityFromPath(undefined, pki.ca)
    .withConnectProperties({ clientId, keepAliveIntervalSeconds: 30 }).build());
  const connected = once(client, 'connectionSuccess');
  client.start();
  await connected;
  const arrives = once(client, 'messageReceived');
  const qos = mqtt5.QoS.AtLeastOnce;
  await client.subscribe({ subscriptions: [{ topicFilter: topic, qos }] });
  await client.publish({ topicName: topic, payload: 'hello', qos });
  const [{ message }] = await arrives;
  return { heard: Buffer.from(message.payload).toString(),
    v1: iotshadow.IotShadowClient.newFromMqtt5Client(client),
    v2: (options) => iotshadow.IotShadowClientv2.newFromMqtt5(client, options) };
}

/** The sample of V1: every answer has its topic, which is subscribed before it is asked for. */
async function runV1(shadow, thingName) {
  const waiting = [];
  const answers = [];
  const take = (kind) => (error, answer) => {
    if (error) throw error;
    const resolve = waiting.shift();
    if (resolve) resolve([kind, answer]); else answers.push([kind, answer]);
  };
  const next = async () => answers.shift() ?? new Promise((resolve) => waiting.push(resolve));
  for (const kind of ['GetShadowAccepted', 'GetShadowRejected', 'UpdateShadowAccepted',
    'UpdateShadowRejected', 'ShadowDeltaUpdatedEvents', 'DeleteShadowAccepted']) {
    await shadow[`subscribeTo${kind}`]({ thingName }, QOS, take(kind));
  }
  const told = [];
  const hear = async (count = 1) => {
    const heard = [];
    for (let left = count; left > 0; left -= 1) heard.push(await next());
    // Nothing says in which order the messages of one update come.
    heard.sort(([one], [other]) => one.localeCompare(other));
    told.push(...heard.map(([kind, { clientToken, version, state, code }]) =>
      [kind, clientToken, version ?? code, state ?? null]));
  };
  await shadow.publishGetShadow({ thingName, clientToken: 'g' }, QOS);
  await hear();
  const state = { desired: { color: 'red' }, reported: { color: 'off' } };
  await shadow.publishUpdateShadow({ thingName, clientToken: 'u', state }, QOS);
  await hear(2);
  await shadow.publishGetShadow({ thingName, clientToken: 'h' }, QOS);
  await hear();
  await shadow.publishUpdateShadow({ thingName, clientToken: 'v', version: 7, state }, QOS);
  await hear();
  await shadow.publishDeleteShadow({ thingName, clientToken: 'd' }, QOS);
  await hear();
  return told;
}

/** What a request is refused with. */
const refusal = (request) => request.then(
  () => { throw new Error('accepted'); }, ({ modeledError: { code, message } }) => [code, message]);

/** The sample of V2: a stream of changes, and requests whose answers it matches by token. */
async function runV2(open, thingName) {
  const shadow = open({ maxRequestResponseSubscriptions: 5, maxStreamingSubscriptions: 2,
    operationTimeoutInSeconds: 10 });
  const shadowName = 'named';
  const watch = async (stream) => {
    const established = once(stream, 'subscriptionStatus');
    const publish = once(stream, 'incomingPublish');
    stream.open();
    await established;
    return async () => (await publish)[0].message;
  };
  const delta = await watch(shadow.createShadowDeltaUpdatedStream({ thingName }));
  const change = await watch(shadow.createNamedShadowUpdatedStream({ thingName, shadowName }));
  const missing = await refusal(shadow.getShadow({ thingName }));
  const update = { thingName, state: { desired: { color: 'red' } } };
  const updated = await shadow.updateShadow(update);
  const got = await shadow.getShadow({ thingName });
  const conflict = await refusal(shadow.updateShadow({ ...update, version: 7 }));
  const named = await shadow.updateNamedShadow({ ...update, shadowName });
  const deleted = await shadow.deleteShadow({ thingName });
  return {
    missing,
    updated: [updated.version, updated.state],
    delta: (await delta()).state,
    got: got.state,
    conflict,
    named: [named.version, (await change()).current.state],
    deleted: deleted.version,
  };
}

async function run() {
  const { heard, v1, v2 } = await (protocol === '5' ? connect5 : connect311)();
  process.send({ heard, v1: await runV1(v1, things[0]), v2: await runV2(v2, things[1]) });
}

run().catch((error) => process.send({ failed: String(error.stack ?? error) }));
