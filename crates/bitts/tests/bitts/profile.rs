//! `--profile`: the CONNACK of one and of the other.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::process::Served;

/// CONNECT of MQTT 5: Clean Start, Keep Alive 60, no properties, Client Identifier `a`.
const CONNECT: &[u8] = b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x01a";

/// The properties of the CONNACK.
fn connack(flags: &[&str]) -> Vec<u8> {
    let served = Served::start(flags);
    let mut client = TcpStream::connect(served.address("mqtt")).expect("accepted");
    client.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    client.write_all(CONNECT).expect("written");
    let mut head = [0; 5];
    client.read_exact(&mut head).expect("CONNACK");
    let [first, len, flags, reason, properties_len] = head;
    assert_eq!((first, flags, reason), (0x20, 0, 0));
    assert_eq!(len, properties_len + 3);
    let mut properties = vec![0; properties_len.into()];
    client.read_exact(&mut properties).expect("its properties");
    properties
}

fn says(properties: &[u8], property: &[u8]) -> bool {
    properties.windows(property.len()).any(|window| window == property)
}

/// B-3
#[test]
fn the_aws_profile_announces_what_aws_offers() {
    let properties = connack(&["--profile=aws"]);
    let offered: [(&str, &[u8]); 8] = [
        ("Receive Maximum 100", b"\x21\x00\x64"),
        ("Maximum QoS 1", b"\x24\x01"),
        ("Retain Available 1", b"\x25\x01"),
        ("Maximum Packet Size 149,504", b"\x27\x00\x02\x48\x00"),
        ("Topic Alias Maximum 8", b"\x22\x00\x08"),
        ("Wildcard Subscription Available 1", b"\x28\x01"),
        ("Subscription Identifiers Available 0", b"\x29\x00"),
        ("Server Keep Alive 60", b"\x13\x00\x3C"),
    ];
    for (what, property) in offered {
        assert!(says(&properties, property), "{what}: {properties:02x?}");
    }
}

#[test]
fn the_open_profile_announces_its_own_limits() {
    let properties = connack(&[]);
    let offered: [(&str, &[u8]); 3] = [
        ("Receive Maximum 1,024", b"\x21\x04\x00"),
        ("Maximum Packet Size 16 MiB", b"\x27\x01\x00\x00\x00"),
        ("Topic Alias Maximum 32", b"\x22\x00\x20"),
    ];
    for (what, property) in offered {
        assert!(says(&properties, property), "{what}: {properties:02x?}");
    }
    assert!(!says(&properties, b"\x24\x01"), "all of QoS: {properties:02x?}");
}
