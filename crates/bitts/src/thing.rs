//! `bitts thing`: things, and who speaks for them.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::control::{ControlOptions, Dialect, call, label, target};
use crate::failure::Failure;

#[derive(Args, Debug)]
pub(crate) struct ThingCommand {
    #[command(flatten)]
    options: ControlOptions,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a thing.
    Create {
        /// Its name: 1 to 128 letters, digits, and : _ -
        name: String,
        /// Its type, which is there already.
        #[arg(long = "type", value_name = "NAME")]
        thing_type: Option<String>,
        /// An attribute; may be repeated.
        #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
        attributes: Vec<(String, String)>,
    },
    /// List things.
    List,
    /// Print a thing.
    Describe {
        /// Its name.
        name: String,
    },
    /// Delete a thing that nothing speaks for.
    Delete {
        /// Its name.
        name: String,
    },
    /// Let a principal speak for a thing.
    Attach {
        /// The thing's name.
        name: String,
        /// The id or ARN of a certificate, or user/NAME.
        principal: String,
        /// For this thing alone, under any client id.
        #[arg(long)]
        exclusive: bool,
    },
    /// Let a principal speak for a thing no more.
    Detach {
        /// The thing's name.
        name: String,
        /// As it was attached.
        principal: String,
    },
    /// List the principals that speak for a thing.
    Principals {
        /// The thing's name.
        name: String,
    },
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=');
    let parts = parts.map(|(name, value)| (name.to_owned(), value.to_owned()));
    parts.ok_or_else(|| "NAME=VALUE is needed".to_owned())
}

impl ThingCommand {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let control = self.options.open()?;
        let at = |name: &str| format!("/things/{}", label(name));
        let asked = match self.action {
            Action::List => {
                let columns = [
                    ("THING", "thingName"),
                    ("TYPE", "thingTypeName"),
                    ("VERSION", "version"),
                    ("ATTRIBUTES", "attributes"),
                ];
                let list = call("GET", "/things".to_owned());
                return control.list(list, "things", Dialect::Token, columns).await;
            }
            Action::Principals { name } => {
                let list = call("GET", format!("{}/principals-v2", at(&name)));
                let columns = [("PRINCIPAL", "principal"), ("TYPE", "thingPrincipalType")];
                return control.list(list, "thingPrincipalObjects", Dialect::Token, columns).await;
            }
            Action::Create { name, thing_type, attributes } => {
                let attributes = attributes.into_iter().map(|(name, value)| (name, value.into()));
                let attributes: Map<String, Value> = attributes.collect();
                let mut create = call("POST", at(&name));
                create.body = json!({
                    "thingTypeName": thing_type,
                    "attributePayload": { "attributes": attributes },
                });
                create
            }
            Action::Describe { name } => call("GET", at(&name)),
            Action::Delete { name } => call("DELETE", at(&name)),
            Action::Attach { name, principal, exclusive } => {
                let mut attach = call("PUT", format!("{}/principals", at(&name)));
                attach.headers.push(("x-amzn-principal", target(&principal)));
                if exclusive {
                    attach.query.push(("thingPrincipalType", "EXCLUSIVE_THING".to_owned()));
                }
                attach
            }
            Action::Detach { name, principal } => {
                let mut detach = call("DELETE", format!("{}/principals", at(&name)));
                detach.headers.push(("x-amzn-principal", target(&principal)));
                detach
            }
        };
        control.show(asked).await
    }
}
