//! `$share` groups whose server dies: what a member has is not given again.

mod device;

use bitts_sim::machine::{Machine, Options, Step};
use bitts_sim::packet::{Filter, Kind, Packet, Property, Value, Version};

use device::{Device, owned, settle_but_for};

/// Everything happens but that shard 0 hears of shard 1.
fn settle_but_for_mail(machine: &mut Machine) {
    settle_but_for(machine, |step| matches!(step, Step::Mail { to: 0, lane: 1 }));
}

/// [MQTT-4.3.3-10] A member of another shard has the message, and the group had not
/// heard so when the process died: before the member's PUBREC, behind it, behind its PUBCOMP.
#[test]
fn what_a_member_has_is_not_given_again_after_a_crash() {
    for answers in [&[][..], &[Kind::PubRec], &[Kind::PubRec, Kind::PubComp]] {
        let mut machine = Machine::on_disk(Options { hash_key: (1, 2), ..Options::default() });
        machine.restart(2).expect("a start");
        let group = owned(&machine, 0, |number| format!("$share/g{number}/lamps/+"));
        let member_id = owned(&machine, 1, |number| format!("member-{number}"));
        let mut member = Device::connect(&mut machine, &member_id, Version::V5, 3_600);
        let filters = vec![Filter { filter: group, options: 2 }];
        member.send(
            &mut machine,
            &Packet { packet_id: Some(60_000), filters, ..Packet::new(Kind::Subscribe) },
        );
        member.packets(&mut machine);
        let publisher_id = owned(&machine, 0, |number| format!("publisher-{number}"));
        let mut publisher = Device::connect(&mut machine, &publisher_id, Version::V5, 3_600);
        let publish = publisher.publish("lamps/1", b"{}", 2);
        publisher.write(&mut machine, &publish);
        settle_but_for_mail(&mut machine);
        let got = member.packets(&mut machine);
        assert_eq!(got.iter().map(|it| it.kind).collect::<Vec<_>>(), [Kind::Publish]);
        let packet_id = got[0].packet_id.expect("an identifier");
        for answer in answers {
            member.write(&mut machine, &Packet::ack(*answer, packet_id, 0));
            settle_but_for_mail(&mut machine);
        }

        machine.die();
        machine.disk().expect("a disk").revive();
        machine.restart(1).expect("a start");
        machine.settle();
        member.link = machine.connect();
        let properties = vec![Property { id: 0x11, value: Value::Four(3_600) }];
        let (version, client_id) = (Version::V5, member_id);
        let connect = Packet { version, client_id, properties, ..Packet::new(Kind::Connect) };
        member.send(&mut machine, &connect);
        let got = member.packets(&mut machine).into_iter().map(|it| (it.kind, it.packet_id));
        let again = match answers {
            [] => vec![(Kind::Publish, Some(packet_id))],
            [_] => vec![(Kind::PubRel, Some(packet_id))],
            _ => vec![],
        };
        let expected: Vec<_> = std::iter::once((Kind::ConnAck, None)).chain(again).collect();
        assert_eq!(got.collect::<Vec<_>>(), expected, "{answers:?}");
    }
}
