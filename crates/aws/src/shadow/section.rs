//! A section of a shadow's state, `desired` or `reported`: its members, when each was set, how a
//! request changes them, and how two sections differ. Contract §3.
//!
//! A value and its time are one node, so that state and metadata cannot disagree.

use super::json::{Json, Members, write_array, write_object};

/// A member's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Node {
    /// Anything but an object: it is replaced as a whole. `timestamp` is in seconds since 1970.
    Leaf { value: Json, timestamp: u64 },
    /// An object: its members are set one by one.
    Object(Section),
}

/// The members of a section, or of an object in it. A section without any does not show.
pub(super) type Section = Members<Node>;

/// What a desired section asks for that the reported one has not, member by member.
pub(super) struct Differences<'a>(Vec<(&'a str, Difference<'a>)>);

enum Difference<'a> {
    /// The desired value.
    Whole(&'a Node),
    /// What differs in two objects.
    Inside(Differences<'a>),
}

impl Node {
    /// What is stored of a value that is new. Nulls are not, nor what consists of nulls only.
    fn new(value: &Json, now: u64) -> Option<Self> {
        match value {
            Json::Null => None,
            Json::Object(members) => {
                let mut section = Section::default();
                merge(&mut section, members, now);
                (members.is_empty() || !section.is_empty()).then_some(Self::Object(section))
            }
            Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
                Some(Self::Leaf { value: value.clone(), timestamp: now })
            }
        }
    }

    fn write_state(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leaf { value, .. } => value.write(out),
            Self::Object(section) => write_state(section, out),
        }
    }

    fn write_metadata(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leaf { value, timestamp } => write_stamps(value, *timestamp, out),
            Self::Object(section) => write_metadata(section, out),
        }
    }
}

/// Changes a section as a request's section says.
///
/// Null deletes, object onto object goes member by member, everything else replaces. Members that
/// the request names get its time, whether or not their value changes. An object that loses its
/// last member stays.
pub(super) fn merge(section: &mut Section, request: &Members<Json>, now: u64) {
    section.change(request.iter(), |known, value| match (known, value) {
        (Some(Node::Object(mut members)), Json::Object(request)) => {
            merge(&mut members, request, now);
            Some(Node::Object(members))
        }
        (Some(_) | None, value) => Node::new(value, now),
    });
}

/// Appends the section's state.
pub(super) fn write_state(section: &Section, out: &mut Vec<u8>) {
    write_object(section.iter(), out, Node::write_state);
}

/// Appends the section's metadata: its state, with a timestamp for each leaf.
pub(super) fn write_metadata(section: &Section, out: &mut Vec<u8>) {
    write_object(section.iter(), out, Node::write_metadata);
}

/// Appends a value's metadata where all of it has one time: arrays and objects keep their shape,
/// everything else, null too, is `{"timestamp":…}`.
pub(super) fn write_stamps(value: &Json, timestamp: u64, out: &mut Vec<u8>) {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {
            out.extend_from_slice(format!("{{\"timestamp\":{timestamp}}}").as_bytes());
        }
        Json::Array(items) => {
            write_array(items, out, |item, out| write_stamps(item, timestamp, out));
        }
        Json::Object(members) => write_object(members.iter(), out, |value, out| {
            write_stamps(value, timestamp, out);
        }),
    }
}

/// What `desired` asks for that `reported` has not; members of `reported` only do not count.
pub(super) fn differences<'a>(desired: &'a Section, reported: &Section) -> Differences<'a> {
    let reported = reported.names();
    let differing = desired.iter().filter_map(|(name, desired)| {
        let difference = match (desired, reported.find(name)) {
            (Node::Object(desired), Some(Node::Object(reported))) => {
                let inside = differences(desired, reported);
                (!inside.is_empty()).then_some(Difference::Inside(inside))
            }
            (Node::Leaf { value, .. }, Some(Node::Leaf { value: reported, .. }))
                if value.is_same(reported) =>
            {
                None
            }
            (Node::Leaf { .. } | Node::Object(_), _) => Some(Difference::Whole(desired)),
        };
        Some((name, difference?))
    });
    Differences(differing.collect())
}

impl Differences<'_> {
    /// Whether nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the desired values that differ.
    pub(super) fn write_state(&self, out: &mut Vec<u8>) {
        write_object(self.iter(), out, |difference, out| match difference {
            Difference::Whole(node) => node.write_state(out),
            Difference::Inside(inside) => inside.write_state(out),
        });
    }

    /// Appends the desired section's metadata of what differs.
    pub(super) fn write_metadata(&self, out: &mut Vec<u8>) {
        write_object(self.iter(), out, |difference, out| match difference {
            Difference::Whole(node) => node.write_metadata(out),
            Difference::Inside(inside) => inside.write_metadata(out),
        });
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &Difference<'_>)> {
        self.0.iter().map(|(name, difference)| (*name, difference))
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::read;
    use super::*;

    fn members(text: &str) -> Members<Json> {
        match read(text).unwrap() {
            Json::Object(members) => members,
            other => panic!("{other:?}"),
        }
    }

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// The section that requests leave, and its metadata; the times are 1, 2, ….
    fn merged(requests: &[&str]) -> (String, String) {
        let mut section = Section::default();
        for (now, request) in (1..).zip(requests) {
            merge(&mut section, &members(request), now);
        }
        (text(|out| write_state(&section, out)), text(|out| write_metadata(&section, out)))
    }

    fn state(requests: &[&str]) -> String {
        merged(requests).0
    }

    /// Contract §3: merge, and the choices where it is open.
    #[test]
    fn a_request_is_merged() {
        for (requests, expected) in [
            // S-17: type changes replace.
            (&[r#"{"x":{"y":1}}"#, r#"{"x":"flat"}"#][..], r#"{"x":"flat"}"#),
            (&[r#"{"x":"flat"}"#, r#"{"x":{"z":[1]}}"#], r#"{"x":{"z":[1]}}"#),
            (&[r#"{"x":[1,2]}"#, r#"{"x":[3]}"#], r#"{"x":[3]}"#),
            // Null deletes; for a missing member it does nothing.
            (&[r#"{"a":1,"b":2}"#, r#"{"a":null,"c":null}"#], r#"{"b":2}"#),
            // S-24: a new member of nulls only.
            (&[r#"{"a":{"b":null,"c":{"d":null}},"k":1}"#], r#"{"k":1}"#),
            (&[r#"{"a":{"b":null,"c":{}}}"#], r#"{"a":{"c":{}}}"#),
            // The same in place of another value.
            (&[r#"{"a":1,"k":1}"#, r#"{"a":{"b":null}}"#], r#"{"k":1}"#),
            // S-11: an empty object is a value.
            (&[r#"{"b":{"c":3}}"#, r#"{"b":{"c":{}},"d":{}}"#], r#"{"b":{"c":{}},"d":{}}"#),
            // Choice: onto an object that has members it does nothing.
            (&[r#"{"b":{"c":3}}"#, r#"{"b":{}}"#], r#"{"b":{"c":3}}"#),
            // Choice: an object that loses its last member stays.
            (&[r#"{"b":{"c":3}}"#, r#"{"b":{"c":null}}"#], r#"{"b":{}}"#),
            (&[r#"{"b":{},"a":1}"#, r#"{"c":2,"a":3}"#], r#"{"b":{},"a":3,"c":2}"#),
        ] {
            assert_eq!(state(requests), expected, "{requests:?}");
        }
    }

    /// S-16, S-2.
    #[test]
    fn members_of_the_request_get_its_time() {
        let requests =
            [r#"{"a":1,"b":{"c":1,"d":2},"e":[1,{"f":[]}]}"#, r#"{"b":{"c":1}}"#, r#"{"e":[{}]}"#];
        let first = r#"{"a":{"timestamp":1},"b":{"c":{"timestamp":1},"d":{"timestamp":1}},"e":[{"timestamp":1},{"f":[]}]}"#;
        assert_eq!(merged(&requests[..1]).1, first);
        let last =
            r#"{"a":{"timestamp":1},"b":{"c":{"timestamp":2},"d":{"timestamp":1}},"e":[{}]}"#;
        assert_eq!(merged(&requests).1, last);
    }

    /// S-3, S-13 to S-15.
    #[test]
    fn differences_are_what_is_desired_and_not_reported() {
        let section = |text: &str, now| {
            let mut section = Section::default();
            merge(&mut section, &members(text), now);
            section
        };
        let desired = r#"{"a":{"b":1,"c":{"d":1,"e":2}},"f":[1],"g":1,"h":{},"i":{},"j":{"k":1}}"#;
        let reported =
            r#"{"z":1,"a":{"b":1.0,"c":{"d":1,"e":3,"y":4}},"f":[1,2],"g":"1","i":{"x":1},"j":1}"#;
        let (desired, reported) = (section(desired, 5), section(reported, 6));
        let differences = differences(&desired, &reported);
        let state = r#"{"a":{"c":{"e":2}},"f":[1],"g":1,"h":{},"j":{"k":1}}"#;
        assert_eq!(text(|out| differences.write_state(out)), state);
        let metadata = r#"{"a":{"c":{"e":{"timestamp":5}}},"f":[{"timestamp":5}],"g":{"timestamp":5},"h":{},"j":{"k":{"timestamp":5}}}"#;
        assert_eq!(text(|out| differences.write_metadata(out)), metadata);
    }
}
