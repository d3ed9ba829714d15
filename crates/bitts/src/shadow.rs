//! `bitts shadow`: look at device shadows, change them, and follow what happens to them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitts_client::api::{DeleteThingShadow, GetThingShadow, ShadowId, UpdateThingShadow};
use bitts_client::data_plane::DataPlane;
use bitts_client::mqtt::QoS;
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::endpoint::{Endpoint, refused};
use crate::failure::Failure;
use crate::output::{Format, say, say_json, say_table};
use crate::payload::read_file;
use crate::shadow_document::{members, time_of, watched};
use crate::subscribe::Follow;

#[derive(Args, Debug)]
pub(crate) struct ShadowCommand {
    /// How to print [default: table on a terminal, else json].
    #[arg(long, value_name = "FORMAT", global = true)]
    output: Option<Format>,
    #[command(flatten)]
    endpoint: Endpoint,
    #[command(subcommand)]
    action: Action,
}

/// Which shadow.
#[derive(Args, Debug)]
struct Which {
    /// Whose shadow.
    thing: String,
    /// The shadow's name [default: the classic shadow].
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a shadow's document.
    Get(Which),
    /// Change a shadow, or make it.
    ///
    /// What is named in --desired and --reported is changed, null removes it, the rest stays.
    Update(Update),
    /// Delete a shadow. Its version is remembered for 48 hours.
    Delete(Which),
    /// List the names of a thing's shadows, without the classic one.
    List {
        /// Whose shadows.
        thing: String,
        /// At most so many.
        #[arg(long, value_name = "N")]
        max_items: Option<usize>,
    },
    /// Print what happens to a shadow, over MQTT.
    ///
    /// Updates from anywhere, and deletions over MQTT. A deletion over HTTP, such as that of `bitts
    /// shadow delete`, is published nowhere, as on AWS: it shows in the next update, whose
    /// documents say that there was no shadow before.
    Watch {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        follow: Follow,
    },
}

#[derive(Args, Debug)]
struct Update {
    #[command(flatten)]
    which: Which,
    /// What the thing should be, as JSON: '{"led":"on"}'.
    #[arg(long, value_name = "JSON", value_parser = json, required_unless_present_any =
        ["reported", "file"])]
    desired: Option<String>,
    /// What the thing says it is, as JSON.
    #[arg(long, value_name = "JSON", value_parser = json)]
    reported: Option<String>,
    /// Only if the shadow has this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    /// Take the whole update from a file, such as {"state":{"desired":{…}}}; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["desired", "reported", "if_version"])]
    file: Option<PathBuf>,
}

/// Text that is JSON. It goes to the server as it is.
fn json(text: &str) -> Result<String, String> {
    let read = serde_json::from_str::<IgnoredAny>(text);
    read.map(|_| text.to_owned()).map_err(|error| format!("not JSON: {error}"))
}

impl Which {
    fn shadow(&self) -> Result<ShadowId, Failure> {
        let id = ShadowId::new(&self.thing, self.name.as_deref());
        id.map_err(|invalid| Failure::Usage(invalid.to_string()))
    }
}

impl Update {
    fn document(&self) -> Result<Bytes, Failure> {
        if let Some(path) = &self.file {
            return read_file(path);
        }
        let sections = [("desired", &self.desired), ("reported", &self.reported)];
        let sections: Vec<String> = sections
            .iter()
            .filter_map(|(name, text)| Some(format!("\"{name}\":{}", text.as_ref()?)))
            .collect();
        let version = self.if_version.map(|version| format!(",\"version\":{version}"));
        let (state, version) = (sections.join(","), version.unwrap_or_default());
        Ok(format!("{{\"state\":{{{state}}}{version}}}").into())
    }
}

impl ShadowCommand {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let format = Format::or_by_terminal(self.output);
        let data_plane = || self.endpoint.data_plane();
        match self.action {
            Action::Get(which) => {
                let request = GetThingShadow { shadow: which.shadow()? };
                let document = data_plane()?.get_thing_shadow(&request).await.map_err(refused)?;
                say_document(&document, format)
            }
            Action::Update(update) => {
                let request = UpdateThingShadow { shadow: update.which.shadow()? };
                let document = update.document()?;
                let accepted = data_plane()?.update_thing_shadow(&request, &document).await;
                say_change(&accepted.map_err(refused)?, format)
            }
            Action::Delete(which) => {
                let request = DeleteThingShadow { shadow: which.shadow()? };
                let deleted = data_plane()?.delete_thing_shadow(&request).await.map_err(refused)?;
                say_change(&deleted, format)
            }
            Action::List { thing, max_items } => {
                list(&data_plane()?, &thing, max_items.unwrap_or(usize::MAX), format).await
            }
            Action::Watch { which, follow } => watch(&which, follow, format).await,
        }
    }
}

async fn watch(which: &Which, follow: Follow, format: Format) -> Result<(), Failure> {
    let shadow = which.shadow()?;
    let name = shadow.name().map(|name| format!("/name/{name}")).unwrap_or_default();
    let prefix = format!("$aws/things/{}/shadow{name}", shadow.thing());
    let filters = ["update/documents", "update/delta", "delete/accepted"]
        .map(|last| format!("{prefix}/{last}"));
    follow
        .run(&filters, QoS::One, |message| Ok(watched(&message.topic, &message.payload, format)))
        .await
}

async fn list(
    data_plane: &DataPlane,
    thing: &str,
    max_items: usize,
    format: Format,
) -> Result<(), Failure> {
    let mut pager = data_plane.list_named_shadows_for_thing(thing);
    let mut names = Vec::new();
    while names.len() < max_items
        && let Some(page) = pager.next_page().await
    {
        names.extend(page.map_err(refused)?);
    }
    names.truncate(max_items);
    match format {
        Format::Json => say_json(&BTreeMap::from([("results", names)])),
        Format::Table => say_table(["NAME"], names.into_iter().map(|name| [name])),
    }
}

/// What was accepted as it came, or its version.
fn say_change(accepted: &Bytes, format: Format) -> Result<(), Failure> {
    match read(accepted).filter(|_| format == Format::Table) {
        Some(accepted) => say(&version_of(&accepted)),
        None => say(&String::from_utf8_lossy(accepted)),
    }
}

/// A document as it came, or its members side by side.
fn say_document(document: &Bytes, format: Format) -> Result<(), Failure> {
    let Some(document) = read(document).filter(|_| format == Format::Table) else {
        return say(&String::from_utf8_lossy(document));
    };
    say(&version_of(&document))?;
    let rows = members(&document);
    if rows.is_empty() {
        return Ok(());
    }
    say_table(["MEMBER", "DESIRED", "REPORTED", "DIFFERS"], rows)
}

fn read(document: &Bytes) -> Option<Value> {
    serde_json::from_slice(document).ok()
}

fn version_of(document: &Value) -> String {
    format!("version {} at {}", document["version"], time_of(document))
}
