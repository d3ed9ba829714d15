//! `bitts retained`: look at retained messages, and remove them.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use bitts_client::api::{GetRetainedMessage, Publish, RetainedMessage};
use bytes::Bytes;
use clap::{Args, Subcommand};

use crate::endpoint::{Endpoint, refused};
use crate::failure::Failure;
use crate::output::{Format, say_facts, say_json, say_table, time};
use crate::publish::to_topic;

#[derive(Args, Debug)]
pub(crate) struct RetainedCommand {
    /// How to print [default: table on a terminal, else json].
    #[arg(long, value_name = "FORMAT", global = true)]
    output: Option<Format>,
    #[command(flatten)]
    endpoint: Endpoint,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the topics that have a retained message.
    List {
        /// At most so many.
        #[arg(long, value_name = "N")]
        max_items: Option<usize>,
    },
    /// Print a topic's retained message.
    Get {
        /// Its topic.
        topic: String,
        /// Print the payload's bytes and nothing else.
        #[arg(long)]
        raw: bool,
    },
    /// Remove a topic's retained message, by publishing an empty one as AWS does it.
    Delete {
        /// Its topic.
        topic: String,
    },
}

impl RetainedCommand {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let data_plane = self.endpoint.data_plane()?;
        let format = Format::or_by_terminal(self.output);
        match self.action {
            Action::List { max_items } => {
                let max_items = max_items.unwrap_or(usize::MAX);
                let mut pager = data_plane.list_retained_messages();
                let mut topics = Vec::new();
                while topics.len() < max_items
                    && let Some(page) = pager.next_page().await
                {
                    topics.extend(page.map_err(refused)?);
                }
                topics.truncate(max_items);
                match format {
                    Format::Json => say_json(&BTreeMap::from([("retainedTopics", topics)])),
                    Format::Table => say_table(
                        ["TOPIC", "BYTES", "QOS", "SINCE"],
                        topics.into_iter().map(|one| {
                            let (bytes, qos) = (one.payload_size.to_string(), one.qos.to_string());
                            [one.topic, bytes, qos, time(one.last_modified_time)]
                        }),
                    ),
                }
            }
            Action::Get { topic, raw } => {
                let request = GetRetainedMessage { topic };
                let message = data_plane.get_retained_message(&request).await.map_err(refused)?;
                if raw {
                    return Ok(io::stdout().lock().write_all(&message.payload)?);
                }
                match format {
                    Format::Json => say_json(&message),
                    Format::Table => say_facts(facts(message)),
                }
            }
            Action::Delete { topic } => {
                let request = Publish { retain: true, ..to_topic(topic) };
                data_plane.publish(&request, Bytes::new()).await.map_err(refused)
            }
        }
    }
}

fn facts(message: RetainedMessage) -> impl Iterator<Item = [String; 2]> {
    let payload = String::from_utf8_lossy(&message.payload).into_owned();
    let own = [
        ("topic".to_owned(), message.topic),
        ("payload".to_owned(), payload),
        ("QoS".to_owned(), message.qos.to_string()),
        ("since".to_owned(), time(message.last_modified_time)),
    ];
    let user = message.user_properties.unwrap_or_default();
    own.into_iter().chain(user).map(|(name, fact)| [name, fact])
}
