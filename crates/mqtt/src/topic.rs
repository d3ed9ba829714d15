//! Topic Names and Topic Filters [MQTT5 4.7], and Shared Subscriptions [MQTT5 4.8.2].

use crate::error::Malformed;

/// What is wrong with a Topic Name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TopicError {
    /// No character. [MQTT-4.7.3-1]
    Empty,
    /// `+` or `#`. [MQTT-3.3.2-2]
    Wildcard,
    /// More than 65,535 bytes, or U+0000. [MQTT-4.7.3-2] [MQTT-4.7.3-3]
    NotAString,
}

/// What is wrong with a Topic Filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FilterError {
    /// No character. [MQTT-4.7.3-1]
    Empty,
    /// `+` beside other characters of its level. [MQTT-4.7.1-2]
    SingleLevel,
    /// `#` beside other characters, or not last. [MQTT-4.7.1-1]
    MultiLevel,
    /// `$share` without a ShareName, with a wildcard in it, or without a filter. [MQTT-4.8.2-1]
    /// [MQTT-4.8.2-2]
    Shared,
    /// More than 65,535 bytes, or U+0000. [MQTT-4.7.3-2] [MQTT-4.7.3-3]
    NotAString,
}

/// A Shared Subscription's parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SharedFilter<'a> {
    /// ShareName.
    pub name: &'a str,
    /// The Topic Filter behind it.
    pub filter: &'a str,
}

/// Whether a string is a Topic Name that can be published to.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
        return Err(TopicError::Wildcard);
    }
    if topic.len() > 65_535 || topic.contains('\0') {
        return Err(TopicError::NotAString);
    }
    Ok(())
}

/// Whether a string is a Topic Filter that can be subscribed to, shared or not.
pub fn check_filter(filter: &str) -> Result<(), FilterError> {
    if filter.len() > 65_535 || filter.contains('\0') {
        return Err(FilterError::NotAString);
    }
    let Some(rest) = shared_rest(filter) else { return check_levels(filter) };
    let (name, inner) = rest.split_once('/').ok_or(FilterError::Shared)?;
    if name.is_empty() || name.contains(['+', '#']) || inner.is_empty() {
        return Err(FilterError::Shared);
    }
    check_levels(inner)
}

/// What follows `$share`, which alone is no filter either.
fn shared_rest(filter: &str) -> Option<&str> {
    let rest = filter.strip_prefix("$share")?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

fn check_levels(filter: &str) -> Result<(), FilterError> {
    if filter.is_empty() {
        return Err(FilterError::Empty);
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(FilterError::MultiLevel);
        }
        if level.contains('+') && level != "+" {
            return Err(FilterError::SingleLevel);
        }
    }
    Ok(())
}

/// The parts of a valid Shared Subscription; `None` for every other filter.
#[must_use]
pub fn shared_filter(filter: &str) -> Option<SharedFilter<'_>> {
    let (name, filter) = filter.strip_prefix("$share/")?.split_once('/')?;
    Some(SharedFilter { name, filter })
}

/// Whether a valid Topic Filter (without `$share`) matches a valid Topic Name.
///
/// Hot: once per filter found. No allocation.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1]
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(name) if level == "+" || level == name => {}
            _ => return false,
        }
    }
    // `a/#` was returned above for its children; without a `#` every level must be used up.
    names.next().is_none()
}

/// Refuses characters that no name of ours has: U+0001 to U+001F, U+007F to U+009F, non-characters.
pub(crate) fn check_characters(name: &str) -> Result<(), Malformed> {
    if name.bytes().all(|byte| (0x20..0x7F).contains(&byte)) {
        return Ok(());
    }
    let is_refused = |character: char| {
        let code = u32::from(character);
        character.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    };
    if name.chars().any(is_refused) { Err(Malformed::ControlCharacter) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-4.7.1-1..2] [MQTT-4.7.2-1] [MQTT-4.7.3-4]
    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
            ("a/b", "a/B", false),
            ("+/#", "a", true),
            ("a/+/#", "a", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    /// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    #[test]
    fn filters_are_valid_or_say_why_not() {
        for filter in ["a", "/", "#", "+", "a/#", "+/a", "$share/g/a", "$share/g/#", "$shared/a"] {
            assert_eq!(check_filter(filter), Ok(()), "{filter}");
        }
        for filter in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a"] {
            assert_eq!(check_filter(filter), Err(FilterError::Shared), "{filter}");
        }
        for filter in ["a#", "#/a", "a/#/b", "$share/g/a#"] {
            assert_eq!(check_filter(filter), Err(FilterError::MultiLevel), "{filter}");
        }
        assert_eq!(check_filter("a+/b"), Err(FilterError::SingleLevel));
        assert_eq!(check_filter(""), Err(FilterError::Empty));
        assert_eq!(check_topic("a+"), Err(TopicError::Wildcard));
        assert_eq!(shared_filter("$share/g/a/b").unwrap().filter, "a/b");
    }

    #[test]
    fn control_characters_and_non_characters_are_refused() {
        for name in ["a\u{1}", "\u{7f}", "\u{9f}", "\u{fdd0}", "\u{fffe}", "\u{1ffff}"] {
            assert!(check_characters(name).is_err(), "{name:?}");
        }
        assert!(check_characters("a/ü/😀 ~").is_ok());
    }
}
