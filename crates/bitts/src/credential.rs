//! `bitts credential`: access keys, and users of MQTT with a password.

use std::path::{Path, PathBuf};

use bitts_server::create_admin_key;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::control::{ControlOptions, Dialect, Status, call, label, read, show};
use crate::failure::Failure;

#[derive(Args, Debug)]
pub(crate) struct CredentialCommand {
    #[command(flatten)]
    options: ControlOptions,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an access key, or a user of MQTT with a password
    ///
    /// A key's secret is printed here and never again. A key without policies may do everything
    /// until the first one is attached. Whoever may make credentials may do everything.
    Create {
        /// The key's user; with --password-stdin the name of the user of MQTT.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// The key may do everything, whatever is attached to it.
        #[arg(long)]
        admin: bool,
        /// A policy of it; may be repeated.
        #[arg(long = "policy", value_name = "NAME")]
        policies: Vec<String>,
        /// Read a password from stdin, and make a user of MQTT that has it.
        #[arg(long, requires = "user", conflicts_with = "admin")]
        password_stdin: bool,
        /// Write the key into the data directory of a server that does not run, to have a first
        /// one.
        #[arg(long, value_name = "DIR", requires = "admin", conflicts_with = "policies")]
        data_dir: Option<PathBuf>,
    },
    /// List credentials, without their secrets.
    List,
    /// Make a credential active or inactive.
    Update {
        /// The key's id, or user/NAME.
        id: String,
        /// What to make it.
        #[arg(ignore_case = true)]
        status: Status,
    },
    /// Delete a credential.
    Delete {
        /// The key's id, or user/NAME.
        id: String,
    },
}

impl CredentialCommand {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let at = |id: &str| format!("/bitts/v1/credentials/{}", label(id));
        let asked = match self.action {
            Action::Create { user, data_dir: Some(dir), .. } => {
                let made = create_admin_key(&dir, user.as_deref())
                    .map_err(|error| Failure::Refused(error.to_string()))?;
                let answer = json!({
                    "accessKeyId": made.id,
                    "secretAccessKey": made.secret.expose(),
                });
                return show(&answer, self.options.format());
            }
            Action::Create { user, admin, policies, password_stdin, data_dir: None } => {
                let password = if password_stdin { Some(read(Path::new("-"))?) } else { None };
                let password = password.as_deref().map(|line| line.trim_end_matches(['\r', '\n']));
                if password == Some("") {
                    return Err(Failure::Usage("the password on stdin is empty".to_owned()));
                }
                let mut create = call("POST", "/bitts/v1/credentials".to_owned());
                create.body = json!({
                    "userName": user,
                    "isAdmin": admin,
                    "policyNames": policies,
                    "password": password,
                });
                create
            }
            Action::List => {
                let columns = [
                    ("CREDENTIAL", "credentialId"),
                    ("USER", "userName"),
                    ("ADMIN", "isAdmin"),
                    ("STATUS", "status"),
                    ("POLICIES", "policyNames"),
                ];
                let list = call("GET", "/bitts/v1/credentials".to_owned());
                let control = self.options.open()?;
                return control.list(list, "credentials", Dialect::Token, columns).await;
            }
            Action::Update { id, status } => {
                let mut update = call("PUT", at(&id));
                update.query.push(("newStatus", status.word()));
                update
            }
            Action::Delete { id } => call("DELETE", at(&id)),
        };
        self.options.open()?.show(asked).await
    }
}
