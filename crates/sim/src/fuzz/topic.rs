//! Topic Filters: the grammar and the matcher against ones that are obviously right.

use bitts_mqtt::{check_filter, check_topic, matches, shared_filter};

/// A filter, a zero byte and a topic.
pub fn topic_filter(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (filter, topic) = data.split_at(at);
    let topic = topic.get(1..).unwrap_or_default();
    let (Ok(filter), Ok(topic)) = (str::from_utf8(filter), str::from_utf8(topic)) else { return };
    assert_eq!(check_filter(filter).is_ok(), is_filter(filter), "{filter:?}");
    let is_topic = !topic.is_empty() && !topic.contains(['+', '#', '\0']) && topic.len() < 65_536;
    assert_eq!(check_topic(topic).is_ok(), is_topic, "{topic:?}");
    if check_filter(filter).is_err() || !is_topic {
        return;
    }
    let inner = shared_filter(filter).map_or(filter, |shared| shared.filter);
    let expected = crate::world::matches(inner, topic);
    assert_eq!(matches(inner, topic), expected, "{inner:?} {topic:?}");
}

/// [MQTT5 4.7.1] [MQTT5 4.8.2], sentence by sentence.
fn is_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.len() > 65_535 || filter.contains('\0') {
        return false;
    }
    let mut levels: Vec<&str> = filter.split('/').collect();
    if levels.first() == Some(&"$share") {
        let is_named = levels
            .get(1)
            .is_some_and(|name| !name.is_empty() && !name.contains('+') && !name.contains('#'));
        let is_empty_inside = levels.len() == 3 && levels.get(2) == Some(&"");
        if !is_named || levels.len() < 3 || is_empty_inside {
            return false;
        }
        levels.drain(..2);
    }
    let last = levels.len() - 1;
    levels.iter().enumerate().all(|(at, level)| match *level {
        "#" => at == last,
        "+" => true,
        name => !name.contains('+') && !name.contains('#'),
    })
}
