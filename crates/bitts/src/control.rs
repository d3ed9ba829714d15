//! What commands on the control plane share: calls, pages, names, and how answers are printed.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use bitts_client::data_plane::{ControlCall, DataPlane};
use clap::{Args, ValueEnum};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value};

use crate::endpoint::{Endpoint, refused};
use crate::failure::Failure;
use crate::output::{Format, say_facts, say_json, say_table};

/// Bytes of a file or of stdin that is sent.
const SENT_BYTES_MAX: u64 = 1 << 20;

/// Options of every command that asks the control plane.
#[derive(Args, Debug)]
pub(crate) struct ControlOptions {
    /// How to print [default: table on a terminal, else json].
    #[arg(long, value_name = "FORMAT", global = true)]
    output: Option<Format>,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// What something may be made.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Status {
    /// Good for everything it may do.
    Active,
    /// Good for nothing until it is active again.
    Inactive,
    /// Good for nothing; of certificates only.
    Revoked,
}

impl Status {
    pub(crate) fn word(self) -> String {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
        }
        .to_owned()
    }
}

/// The control plane of one server.
pub(crate) struct Control {
    server: DataPlane,
    format: Format,
}

/// How a list says where its next page begins.
#[derive(Clone, Copy)]
pub(crate) enum Dialect {
    /// `nextToken`.
    Token,
    /// `marker` and `nextMarker`.
    Marker,
}

impl ControlOptions {
    pub(crate) fn open(&self) -> Result<Control, Failure> {
        let format = Format::or_by_terminal(self.output);
        Ok(Control { server: self.endpoint.data_plane()?, format })
    }

    pub(crate) fn format(&self) -> Format {
        Format::or_by_terminal(self.output)
    }
}

impl Control {
    pub(crate) async fn call(&self, call: ControlCall) -> Result<Value, Failure> {
        self.server.control(call).await.map_err(refused)
    }

    /// Performs a call and prints its answer, if it has one.
    pub(crate) async fn show(&self, call: ControlCall) -> Result<(), Failure> {
        let answer = self.call(call).await?;
        show(&answer, self.format)
    }

    /// Prints every item of a list: `columns` are members of the items.
    pub(crate) async fn list<const N: usize>(
        &self,
        call: ControlCall,
        list: &str,
        dialect: Dialect,
        columns: [(&str, &str); N],
    ) -> Result<(), Failure> {
        let (asks, answers) = match dialect {
            Dialect::Token => ("nextToken", "nextToken"),
            Dialect::Marker => ("marker", "nextMarker"),
        };
        let mut items = Vec::new();
        let mut next = None;
        loop {
            let mut page = call.clone();
            page.query.extend(next.map(|token| (asks, token)));
            let mut answer = self.call(page).await?;
            if let Some(found) = answer[list].as_array_mut() {
                items.append(found);
            }
            next = answer[answers].as_str().map(ToOwned::to_owned);
            if next.is_none() {
                break;
            }
        }
        match self.format {
            Format::Json => say_json(&Map::from_iter([(list.to_owned(), Value::Array(items))])),
            Format::Table => say_table(
                columns.map(|(header, _)| header),
                items.iter().map(|item| columns.map(|(_, member)| text(&item[member]))),
            ),
        }
    }
}

/// Prints an answer: its members one below the other, or its JSON.
pub(crate) fn show(answer: &Value, format: Format) -> Result<(), Failure> {
    match (answer, format) {
        (Value::Null, _) => Ok(()),
        (Value::Object(members), Format::Table) => {
            let members = match members.iter().next() {
                Some((_, Value::Object(inner))) if members.len() == 1 => inner,
                _ => members,
            };
            say_facts(members.iter().map(|(name, value)| [name.clone(), text(value)]))
        }
        _ => say_json(answer),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.trim_end().to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        value => value.to_string(),
    }
}

/// A call without a body.
pub(crate) fn call(method: &'static str, path: String) -> ControlCall {
    ControlCall { method, path, ..ControlCall::default() }
}

/// `text` as a label of a path.
pub(crate) fn label(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
        }
    }
    encoded
}

/// A target or principal as the server takes it: the id of a certificate may stand alone.
pub(crate) fn target(text: &str) -> String {
    let is_id = text.len() == 64 && HEXLOWER.decode(text.as_bytes()).is_ok();
    if is_id { format!("cert/{text}") } else { text.to_owned() }
}

/// The text of a file, or of stdin for `-`.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::Refused(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(SENT_BYTES_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(SENT_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_and_ids_are_targets() {
        assert_eq!(label("a/b ü~"), "a%2Fb%20%C3%BC~");
        let id = "ab".repeat(32);
        assert_eq!(target(&id), format!("cert/{id}"));
        assert_eq!(target("user/ann"), "user/ann");
    }
}
