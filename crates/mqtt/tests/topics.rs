//! Topic Filters against a grammar and a matcher written from the standard, one sentence each.

use bitts_mqtt::{check_filter, check_topic, matches, shared_filter};
use proptest::prelude::*;

/// Levels that meet each other often.
const LEVELS: &[&str] = &["", "a", "b", "$a", "ü", "+", "#", "a+", "#b", "$share"];

fn name(levels: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(LEVELS), 1..levels).prop_map(|it| it.join("/"))
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&LEVELS[..5]), 1..6).prop_map(|names| {
        let topic = names.join("/");
        if topic.is_empty() { "a".to_owned() } else { topic }
    })
}

fn filter() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(prop::sample::select(&LEVELS[..6]), 0..5);
    (levels, any::<bool>()).prop_map(|(mut levels, is_open)| {
        levels.extend(is_open.then_some("#"));
        let filter = levels.join("/");
        if filter.is_empty() { "+".to_owned() } else { filter }
    })
}

/// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]
fn is_plain_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let is_level = |(at, level): (usize, &&str)| match *level {
        "#" => at + 1 == levels.len(),
        "+" => true,
        name => !name.contains(['+', '#']),
    };
    !filter.is_empty() && levels.iter().enumerate().all(is_level)
}

/// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
fn is_filter(filter: &str) -> bool {
    let mut parts = filter.splitn(3, '/');
    if parts.next() != Some("$share") {
        return is_plain_filter(filter);
    }
    let (name, inner) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    !name.is_empty() && !name.contains(['+', '#']) && is_plain_filter(inner)
}

/// [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-4.7.3-4]
fn naive(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((&"#", _)), _) => true,
        (Some((&"+", filter)), Some((_, topic))) => naive(filter, topic),
        (Some((level, filter)), Some((name, topic))) => level == name && naive(filter, topic),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_grammar_is_the_standards(filter in name(7)) {
        prop_assert_eq!(check_filter(&filter).is_ok(), is_filter(&filter), "{}", filter);
        let is_topic = !filter.is_empty() && !filter.contains(['+', '#']);
        prop_assert_eq!(check_topic(&filter).is_ok(), is_topic, "{}", filter);
    }

    #[test]
    fn the_matcher_is_the_standards(filter in filter(), topic in topic()) {
        let is_hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
        let levels: Vec<&str> = filter.split('/').collect();
        let names: Vec<&str> = topic.split('/').collect();
        let expected = !is_hidden && naive(&levels, &names);
        prop_assert_eq!(matches(&filter, &topic), expected, "{} {}", filter, topic);
    }

    #[test]
    fn a_shared_filter_has_its_parts(name in "[a-z$]{1,4}", inner in filter()) {
        let filter = format!("$share/{name}/{inner}");
        prop_assert_eq!(check_filter(&filter), Ok(()));
        let shared = shared_filter(&filter).unwrap();
        prop_assert_eq!((shared.name, shared.filter), (name.as_str(), inner.as_str()));
    }
}
