//! How long a connection lasts on AWS IoT Core. Contract `mqtt-broker.md` §1.

mod device;

use bitts_broker::Profile;
use bitts_sim::machine::{Link, Machine, Options};
use bitts_sim::packet::{Kind, Packet, Version};

use device::Device;

const HOUR: u64 = 3_600;

fn machine(profile: Profile) -> Machine {
    Machine::new(Options { shards: 2, profile, ..Options::default() })
}

/// Hours after which a client that pings is put off, and the packets it got last.
fn lasts(machine: &mut Machine, link: Link, hours_max: u64) -> Option<(u64, Vec<Packet>)> {
    let mut device = Device::greet(machine, link, ("a", Version::V5, 0), Vec::new());
    for tick in 1..=hours_max * 6 {
        machine.advance(HOUR / 6 * 1_000);
        if machine.ended(device.link).is_some() {
            return Some((tick / 6, device.packets(machine)));
        }
        device.send(machine, &Packet::new(Kind::PingReq));
        device.packets(machine);
    }
    None
}

#[test]
fn a_websocket_of_the_aws_profile_lasts_a_day() {
    let mut machine = machine(Profile::Aws);
    let link = machine.connect_websocket();
    let (hours, last) = lasts(&mut machine, link, 48).expect("an end");
    assert_eq!(hours, 24);
    assert_eq!(
        last.iter().map(|it| (it.kind, it.code)).collect::<Vec<_>>(),
        [(Kind::Disconnect, 0x98)]
    );
    assert_eq!(machine.stats().disconnects.get("WEBSOCKET_TTL_EXPIRATION"), Some(&1));
}

#[test]
fn other_connections_of_the_aws_profile_last_two_weeks() {
    let mut machine = machine(Profile::Aws);
    let link = machine.connect();
    let (hours, last) = lasts(&mut machine, link, 15 * 24).expect("an end");
    assert_eq!(hours, 14 * 24);
    assert_eq!(
        last.iter().map(|it| (it.kind, it.code)).collect::<Vec<_>>(),
        [(Kind::Disconnect, 0x8B)]
    );
}

#[test]
fn connections_of_the_open_profile_last() {
    let mut machine = machine(Profile::Open);
    let link = machine.connect_websocket();
    assert!(lasts(&mut machine, link, 30 * 24).is_none());
}
