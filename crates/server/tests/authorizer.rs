//! What a custom authorizer says has its time: it is asked again, and connections end.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use bitts_server::config::Auth;
use bitts_server::{Config, Running, Server};
use serde_json::{Value, json};

const SECONDS: Duration = Duration::from_secs(10);

/// A webhook: tells what it is asked, and answers what the test says.
struct Webhook {
    asked: mpsc::Receiver<Value>,
    answers: mpsc::Sender<Value>,
    address: SocketAddr,
}

impl Webhook {
    fn start() -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let (asking, asked) = mpsc::channel();
        let (answers, answering) = mpsc::channel::<Value>();
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let mut stream = stream.unwrap();
                if asking.send(read_request(&mut stream)).is_err() {
                    return;
                }
                let Ok(answer) = answering.recv() else { return };
                let body = answer.to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).unwrap();
            }
        });
        Self { asked, answers, address }
    }

    /// The next question, which is answered so.
    fn answers(&self, answer: Value) -> Value {
        self.answers.send(answer).unwrap();
        self.asked.recv_timeout(SECONDS).unwrap()
    }
}

/// The body of a request.
fn read_request(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0);
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return body;
        }
    }
}

fn line(rows: &Value) -> String {
    let text = rows.to_string();
    format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes()))
}

struct Bed {
    running: Running,
    webhook: Webhook,
    _dir: tempfile::TempDir,
}

/// A server whose clients a webhook knows, and whose clock the test moves.
fn start() -> Bed {
    let webhook = Webhook::start();
    let dir = tempfile::tempdir().unwrap();
    let function = format!("http://{}/", webhook.address);
    let authorizer = json!({ "function": function, "isActive": true, "signingDisabled": true });
    let rows = json!([["authorizer", "it", authorizer]]);
    let log = format!("bitts registry 1\n{}", line(&rows));
    std::fs::write(dir.path().join("registry.log"), log).unwrap();
    let config = Config {
        mqtt: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        http: None,
        auth: Auth::Enforce,
        data_dir: Some(dir.path().to_owned()),
        test_clock: true,
        ..Config::default()
    };
    Bed { running: Server::start(&config).unwrap(), webhook, _dir: dir }
}

fn says(principal: &str, topic: &str, refresh: u64, end: u64) -> Value {
    let allow = |action: &str, resource: &str| json!({ "Effect": "Allow", "Action": action, "Resource": resource });
    let topic = format!("arn:aws:iot:us-east-1:000000000000:topic/{topic}");
    let statements = [allow("iot:Connect", "*"), allow("iot:Publish", &topic)];
    json!({
        "isAuthenticated": true, "principalId": principal,
        "policyDocuments": [{ "Version": "2012-10-17", "Statement": statements }],
        "refreshAfterInSeconds": refresh, "disconnectAfterInSeconds": end,
    })
}

const NO: &str = r#"{"isAuthenticated": false, "principalId": "lamp"}"#;

fn text(text: &str) -> Vec<u8> {
    let mut out = (text.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first, body.len() as u8];
    out.extend_from_slice(body);
    out
}

struct Client(TcpStream);

impl Client {
    /// CONNECT of MQTT 5 with Client Identifier `c`, Keep Alive 0.
    fn connect(bed: &Bed) -> Self {
        let mut stream = TcpStream::connect(bed.running.listeners().mqtt.unwrap()).unwrap();
        stream.set_read_timeout(Some(SECONDS)).unwrap();
        let user = "ann?x-amz-customauthorizer-name=it";
        let head = b"\0\x04MQTT\x05\xC2\0\0\0";
        let body = [&head[..], &text("c"), &text(user), &text("secret")].concat();
        stream.write_all(&packet(0x10, &body)).unwrap();
        Self(stream)
    }

    fn next(&mut self) -> Vec<u8> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let mut packet = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut packet).unwrap();
        packet.insert(0, head[0]);
        packet
    }

    /// Whether a message is taken.
    fn may_publish(&mut self, topic: &str) -> bool {
        let body = [&text(topic)[..], &[0, 7, 0], b"x"].concat();
        self.0.write_all(&packet(0x32, &body)).unwrap();
        let ack = self.next();
        assert_eq!(ack[0], 0x40);
        ack.get(3) != Some(&0x87)
    }

    /// The Reason Code of the DISCONNECT that comes now.
    fn disconnected(&mut self) -> u8 {
        let packet = self.next();
        assert_eq!(packet[0], 0xE0);
        packet.get(1).copied().unwrap_or(0)
    }
}

/// A client that the webhook let in, until it is asked again after 300 s.
fn connected(bed: &Bed) -> Client {
    let mut client = Client::connect(bed);
    let asked = bed.webhook.answers(says("lamp", "one", 300, 700));
    assert_eq!(asked["protocolData"]["mqtt"]["password"], "c2VjcmV0");
    assert_eq!(client.next()[..3], [0x20, 0, 0]);
    assert!(client.may_publish("one") && !client.may_publish("two"));
    client
}

/// Contract `mqtt-broker.md` §1.2: `refreshAfterInSeconds`, `disconnectAfterInSeconds`.
#[test]
fn documents_are_asked_for_again_and_the_connection_ends_when_it_was_said() {
    let bed = start();
    let mut client = connected(&bed);
    bed.running.advance(Duration::from_secs(299));
    assert!(bed.webhook.asked.try_recv().is_err());
    bed.running.advance(Duration::from_secs(2));
    let asked = bed.webhook.answers(says("lamp", "two", 300, 700));
    assert_eq!(asked["protocolData"]["mqtt"]["username"], "ann?x-amz-customauthorizer-name=it");
    while !client.may_publish("two") {}
    assert!(!client.may_publish("one"));
    // Again, and the time of the connection is that of its first answer.
    bed.running.advance(Duration::from_secs(301));
    bed.webhook.answers(says("lamp", "three", 300, 700));
    while !client.may_publish("three") {}
    bed.running.advance(Duration::from_secs(100));
    assert_eq!(client.disconnected(), 0x87);
}

#[test]
fn whom_the_authorizer_does_not_know_any_more_is_put_off() {
    let other = says("somebody", "one", 300, 700);
    for answer in [serde_json::from_str(NO).unwrap(), other, json!("no answer of an authorizer")] {
        let bed = start();
        let mut client = connected(&bed);
        bed.running.advance(Duration::from_secs(301));
        bed.webhook.answers(answer);
        assert_eq!(client.disconnected(), 0x87);
    }
}
