//! A server inside a test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bitts::TestServer;

/// CONNECT of MQTT 5 with Keep Alive 60 and no properties.
fn connect(server: &TestServer, client_id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.mqtt()).expect("a connection");
    let mut packet = vec![0x10, 13 + client_id.len() as u8, 0, 4];
    packet.extend_from_slice(b"MQTT\x05\x02\x00\x3c\x00");
    packet.extend([0, client_id.len() as u8]);
    packet.extend_from_slice(client_id.as_bytes());
    stream.write_all(&packet).expect("CONNECT");
    stream
}

fn read_packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a packet");
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).expect("all of it");
    [&head[..], &body].concat()
}

#[test]
fn many_servers_run_beside_each_other_and_end_when_dropped() {
    let servers: Vec<TestServer> = (0..5).map(|_| TestServer::start()).collect();
    for server in &servers {
        let packet = read_packet(&mut connect(server, "lamp"));
        assert_eq!((packet[0], packet[3]), (0x20, 0));
    }
    let addresses: Vec<_> = servers.iter().map(TestServer::mqtt).collect();
    drop(servers);
    for address in addresses {
        assert!(TcpStream::connect(address).is_err(), "{address} is free again");
    }
}

/// The fastest of some, because the machine does other things too.
#[test]
fn a_server_is_there_in_fifty_milliseconds() {
    let start = || {
        let begun = Instant::now();
        let server = TestServer::start();
        read_packet(&mut connect(&server, "lamp"));
        begun.elapsed()
    };
    let fastest = (0..10).map(|_| start()).min().expect("ten");
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}

#[test]
fn an_hour_passes_when_the_test_says_so() {
    let server = TestServer::start();
    let mut lamp = connect(&server, "lamp");
    read_packet(&mut lamp);
    server.advance(Duration::from_secs(89));
    lamp.write_all(&[0xC0, 0]).expect("PINGREQ");
    assert_eq!(read_packet(&mut lamp), [0xD0, 0]);
    server.advance(Duration::from_hours(1));
    let goodbye = read_packet(&mut lamp);
    assert_eq!((goodbye[0], goodbye[2]), (0xE0, 0x8D), "Keep Alive timeout");
}
