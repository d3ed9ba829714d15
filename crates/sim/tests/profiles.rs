//! `docs/profiles.md` lists every difference between the profiles, with scenarios that exist.

mod device;

use std::fs;
use std::path::{Path, PathBuf};

use bitts_broker::{Limits, Profile};
use bitts_sim::machine::{Machine, Options};
use bitts_sim::packet::{Filter, Kind, Packet, Version};
use bitts_sim::scenario::load;

use device::Device;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The rows of the page's tables: their cells.
fn rows() -> Vec<Vec<String>> {
    let page = fs::read_to_string(root("docs/profiles.md")).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn names() -> Vec<String> {
    rows().iter().map(|row| row[0].trim_matches('`').to_owned()).collect()
}

#[test]
fn every_question_of_the_profile_is_listed_once() {
    let source = fs::read_to_string(root("crates/broker/src/profile.rs")).unwrap();
    let source = source.split("impl Limits").next().unwrap();
    let questions: Vec<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub(crate) "))
        .filter_map(|line| line.trim_start_matches("const ").strip_prefix("fn "))
        .filter_map(|line| line.split_once('(').map(|(name, _)| name))
        .collect();
    assert!(questions.len() >= 20, "{questions:?}");
    for question in questions {
        let times = names().iter().filter(|name| *name == question).count();
        assert_eq!(times, 1, "{question} is listed {times} times");
    }
}

#[test]
fn every_limit_that_differs_is_listed_with_its_numbers() {
    let fields = |limits: &Limits| -> Vec<(String, String)> {
        let text = format!("{limits:#?}");
        let fields = text.lines().filter_map(|line| line.trim().split_once(": "));
        fields.map(|(name, value)| (name.to_owned(), value.trim_matches(',').to_owned())).collect()
    };
    let rows = rows();
    for ((name, open), (_, aws)) in fields(&Limits::default()).iter().zip(fields(&Limits::aws())) {
        let row = rows.iter().find(|row| row[0] == format!("`{name}`"));
        match row {
            Some(row) => {
                assert_eq!(row[1].replace(',', ""), *open, "{name} in open");
                assert_eq!(row[2].replace(',', ""), aws, "{name} in aws");
                assert_ne!(*open, aws, "{name} is the same");
            }
            None => assert_eq!(*open, aws, "{name} is not listed"),
        }
    }
}

#[test]
fn every_scenario_that_is_named_exists_in_both_profiles() {
    let scenarios = load(&root("spec/scenarios")).unwrap();
    for row in rows() {
        for named in row.last().unwrap().split("; ").filter(|named| !named.starts_with('`')) {
            let is_named = |title: &str| title == named || title.ends_with(&format!(" {named}"));
            let found = scenarios.iter().find(|scenario| is_named(&scenario.title));
            let found = found.unwrap_or_else(|| panic!("there is no scenario `{named}`"));
            let profiles: Vec<_> = found.variants().iter().map(|one| one.profile).collect();
            assert!(profiles.contains(&Profile::Open) && profiles.contains(&Profile::Aws));
        }
    }
}

/// Contract `mqtt-broker.md` §3: the server holds back what is beyond its window.
#[test]
fn on_aws_a_hundred_messages_are_in_flight_to_a_client() {
    for (profile, limits, in_flight) in
        [(Profile::Open, Limits::default(), 130), (Profile::Aws, Limits::aws(), 100)]
    {
        let mut machine = Machine::new(Options { profile, limits, ..Options::default() });
        let mut client = Device::new(machine.connect(), Version::V3);
        let mut put = |packet: &Packet| client.write(&mut machine, packet);
        let client_id = "a".to_owned();
        put(&Packet { client_id, clean_start: true, ..Packet::new(Kind::Connect) });
        let filters = vec![Filter { filter: "t".to_owned(), options: 1 }];
        put(&Packet { packet_id: Some(1), filters, ..Packet::new(Kind::Subscribe) });
        for packet_id in 1..=130 {
            let (topic, packet_id) = ("t".to_owned(), Some(packet_id));
            put(&Packet { qos: 1, topic, packet_id, ..Packet::new(Kind::Publish) });
        }
        machine.settle();
        let came = client.packets(&mut machine);
        let came = came.iter().filter(|packet| packet.kind == Kind::Publish).count();
        assert_eq!(came, in_flight, "{profile:?}");
    }
}
