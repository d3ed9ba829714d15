//! A shadow's document for people: its members side by side, and one line for each change.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::output::{Format, escape, time};

/// Its leaves by path: what is desired, what is reported, whether they differ.
pub(crate) fn members(document: &Value) -> Vec<[String; 4]> {
    let mut rows: BTreeMap<String, [String; 3]> = BTreeMap::new();
    for (column, section) in ["desired", "reported", "delta"].into_iter().enumerate() {
        let mut leaves = Vec::new();
        collect("", &document["state"][section], &mut leaves);
        for (path, value) in leaves {
            let text = if column == 2 { "yes".to_owned() } else { value };
            if let Some(place) = rows.entry(path).or_default().get_mut(column) {
                *place = text;
            }
        }
    }
    rows.into_iter()
        .map(|(path, [desired, reported, delta])| [path, desired, reported, delta])
        .collect()
}

/// The paths of what is not an object with members, and its JSON. The server bounds the depth.
fn collect(path: &str, value: &Value, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, leaves);
            }
        }
        // No such section.
        _ if path.is_empty() => {}
        leaf => leaves.push((path.to_owned(), leaf.to_string())),
    }
}

/// A message of the service as a line, of JSON: {"event":"update/delta","message":{…}}.
pub(crate) fn watched(topic: &str, payload: &[u8], format: Format) -> String {
    let text = String::from_utf8_lossy(payload);
    let Ok(body) = serde_json::from_str::<Value>(&text) else {
        return format!("{} {}", escape(topic), escape(&text));
    };
    let mut levels = topic.rsplitn(3, '/');
    let (last, before) = (levels.next().unwrap_or_default(), levels.next().unwrap_or_default());
    if format == Format::Json {
        return format!("{{\"event\":\"{before}/{last}\",\"message\":{text}}}");
    }
    let what = match last {
        "documents" => {
            let current = &body["current"];
            format!("version {} {}", current["version"], current["state"])
        }
        "delta" => format!("delta of version {} {}", body["version"], body["state"]),
        _ => format!("deleted version {}", body["version"]),
    };
    format!("{} {}", time_of(&body), escape(&what))
}

/// When a document was made.
pub(crate) fn time_of(document: &Value) -> String {
    time(document["timestamp"].as_u64().unwrap_or_default().saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_stand_side_by_side() {
        let document = json!({ "state": {
            "desired": { "a": { "b": 1, "c": {} }, "d": [1] },
            "reported": { "a": { "b": 2 } },
            "delta": { "a": { "b": 1, "c": {} }, "d": [1] },
        }});
        let row = |cells: [&str; 4]| cells.map(ToOwned::to_owned);
        let expected = [
            row(["a.b", "1", "2", "yes"]),
            row(["a.c", "{}", "", "yes"]),
            row(["d", "[1]", "", "yes"]),
        ];
        assert_eq!(members(&document), expected);
        assert!(members(&json!({ "state": {} })).is_empty());
        assert!(members(&json!({ "version": 4 })).is_empty());
    }

    #[test]
    fn a_change_is_a_line() {
        let documents = br#"{"previous":null,"current":{"version":3,"state":{}},"timestamp":60}"#;
        let line = watched("$aws/things/T/shadow/update/documents", documents, Format::Table);
        assert_eq!(line, "1970-01-01T00:01:00Z version 3 {}");
        let delta = br#"{"version":3,"timestamp":0,"state":{"a":"\u001b"}}"#;
        let line = watched("x/update/delta", delta, Format::Table);
        assert_eq!(line, "1970-01-01T00:00:00Z delta of version 3 {\"a\":\"\\u001b\"}");
        let deleted = br#"{"version":3,"timestamp":0}"#;
        let line = watched("x/delete/accepted", deleted, Format::Table);
        assert_eq!(line, "1970-01-01T00:00:00Z deleted version 3");
        let line = watched("x/delete/accepted", deleted, Format::Json);
        let message = r#"{"version":3,"timestamp":0}"#;
        assert_eq!(line, format!(r#"{{"event":"delete/accepted","message":{message}}}"#));
    }
}
