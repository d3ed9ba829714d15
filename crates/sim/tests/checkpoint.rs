//! What waits in an inbox while a checkpoint is written.

use bitts_broker::ShardId;
use bitts_sim::machine::{Durability, Machine, Options, Step};
use bitts_sim::packet::{Kind, Packet, encode};

/// The first of these names that a shard owns.
fn owned(machine: &Machine, shard: u8, kind: &str) -> String {
    let names = (0..).map(|number| format!("{kind}{number}"));
    let mut names = names.filter(|name| machine.placement().owner_of(name) == ShardId(shard));
    names.next().expect("some name is there")
}

/// A message that was accepted before a checkpoint, and taken by another shard behind its part of
/// it, is named by records that stay when what was written before goes.
#[test]
fn what_waits_in_an_inbox_outlives_what_was_written_before_a_checkpoint() {
    let options = Options { shards: 2, durability: Durability::AtOnce, ..Options::default() };
    let mut machine = Machine::new(options);
    let link = machine.connect();
    let client_id = owned(&machine, 0, "client-");
    let topic = owned(&machine, 1, "topic-");
    let connect = Packet { client_id, clean_start: true, ..Packet::new(Kind::Connect) };
    let (payload, packet_id) = (b"on".to_vec(), Some(1));
    let publish = Packet { topic, payload, packet_id, qos: 1, ..Packet::new(Kind::Publish) };
    let mut bytes = Vec::new();
    encode(&connect, connect.version, &mut bytes);
    encode(&Packet { retain: true, ..publish }, connect.version, &mut bytes);
    machine.write(link, &bytes);
    // Everything happens but that the owner of the topic takes its mail.
    let mut steps = Vec::new();
    loop {
        machine.steps(&mut steps);
        let is_mail = |step: &&Step| matches!(step, Step::Mail { to: 1, lane: 0 });
        let Some(step) = steps.iter().find(|step| !is_mail(step)).copied() else { break };
        machine.step(step);
    }
    assert!(!steps.is_empty(), "the message waits in the inbox");
    let from = machine.checkpoint();
    machine.settle();
    let recovered = machine.recover(from).expect("it is read");
    assert_eq!(recovered.unknown, 0);
    let kept: Vec<_> = recovered.retained.iter().map(|message| &*message.payload).collect();
    assert_eq!(kept, [b"on"]);
}
