//! What waits in an inbox while a checkpoint is written.

mod device;

use bitts_sim::machine::{Durability, Machine, Options, Step};
use bitts_sim::packet::{Kind, Packet, Version};

use device::{Device, owned, settle_but_for};

/// A message that was accepted before a checkpoint, and taken by another shard behind its part of
/// it, is named by records that stay when what was written before goes.
#[test]
fn what_waits_in_an_inbox_outlives_what_was_written_before_a_checkpoint() {
    let options = Options { shards: 2, durability: Durability::AtOnce, ..Options::default() };
    let mut machine = Machine::new(options);
    let client_id = owned(&machine, 0, |number| format!("client-{number}"));
    let topic = owned(&machine, 1, |number| format!("topic-{number}"));
    let connect = Packet { client_id, clean_start: true, ..Packet::new(Kind::Connect) };
    let (payload, packet_id) = (b"on".to_vec(), Some(1));
    let publish = Packet { topic, payload, packet_id, qos: 1, ..Packet::new(Kind::Publish) };
    let mut device = Device::new(machine.connect(), Version::V3);
    device.write(&mut machine, &connect);
    device.write(&mut machine, &Packet { retain: true, ..publish });
    // Everything happens but that the owner of the topic takes its mail.
    settle_but_for(&mut machine, |step| matches!(step, Step::Mail { to: 1, lane: 0 }));
    let mut steps = Vec::new();
    machine.steps(&mut steps);
    assert!(!steps.is_empty(), "the message waits in the inbox");
    let from = machine.checkpoint();
    machine.settle();
    let recovered = machine.recover(from).expect("it is read");
    assert_eq!(recovered.unknown, 0);
    let kept: Vec<_> = recovered.retained.iter().map(|message| &*message.payload).collect();
    assert_eq!(kept, [b"on"]);
}
