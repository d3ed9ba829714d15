//! `bitts policy`: policies, their versions, what they are on, and what they decide.

use std::path::PathBuf;

use bitts_client::data_plane::ControlCall;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::control::{ControlOptions, Dialect, call, label, read, target};
use crate::failure::Failure;

#[derive(Args, Debug)]
pub(crate) struct PolicyCommand {
    #[command(flatten)]
    options: ControlOptions,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a policy.
    Create {
        /// Its name.
        name: String,
        /// The file with its document; - is stdin.
        file: PathBuf,
    },
    /// Make another version of a policy, in force at once.
    Update {
        /// The policy's name.
        name: String,
        /// The file with the document; - is stdin.
        file: PathBuf,
    },
    /// List policies.
    List,
    /// Print a policy's document in force, or that of a version.
    Show {
        /// Its name.
        name: String,
        /// The version's number.
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
    /// List the versions of a policy.
    Versions {
        /// Its name.
        name: String,
    },
    /// Delete a policy that is on nothing and has one version; or one version.
    Delete {
        /// Its name.
        name: String,
        /// The version's number.
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
    /// Attach a policy to a target.
    Attach {
        /// The policy's name.
        name: String,
        /// The id or ARN of a certificate, thinggroup/NAME, accesskey/ID, user/NAME, or anonymous.
        target: String,
    },
    /// Detach a policy from a target.
    Detach {
        /// The policy's name.
        name: String,
        /// As it was attached.
        target: String,
    },
    /// List what a policy is on.
    Targets {
        /// Its name.
        name: String,
    },
    /// Say whether something would be allowed, and by which statement
    ///
    /// Asks the server's own decision. With --candidate the document counts as a policy of the
    /// principal, in place of the one of that name; without a principal it counts alone. With
    /// --candidate and --policy and no action, everything that clients needed in the last hour is
    /// decided as the document has it, and what would change is listed.
    Check(Check),
}

#[derive(Args, Debug)]
struct Check {
    /// What is asked for, such as iot:Publish.
    #[arg(required_unless_present = "policy", requires = "resource")]
    action: Option<String>,
    /// The ARN of the resource; * for none.
    resource: Option<String>,
    /// Who asks: as a target of attach.
    #[arg(long, value_name = "TARGET")]
    principal: Option<String>,
    /// Under which client id.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The file with a document to try; - is stdin.
    #[arg(long, value_name = "FILE")]
    candidate: Option<PathBuf>,
    /// Which policy the document would replace.
    #[arg(long, value_name = "NAME", requires = "candidate")]
    policy: Option<String>,
    /// From which address.
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<String>,
}

impl PolicyCommand {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let control = self.options.open()?;
        let at = |name: &str| format!("/policies/{}", label(name));
        let on = |name: &str| format!("/target-policies/{}", label(name));
        let version_at =
            |name: &str, number: u32| format!("/policies/{}/version/{number}", label(name));
        let asked = match self.action {
            Action::List => {
                let columns = [("POLICY", "policyName"), ("ARN", "policyArn")];
                let list = call("GET", "/policies".to_owned());
                return control.list(list, "policies", Dialect::Marker, columns).await;
            }
            Action::Versions { name } => {
                let columns = [("VERSION", "versionId"), ("DEFAULT", "isDefaultVersion")];
                let list = call("GET", format!("{}/version", at(&name)));
                return control.list(list, "policyVersions", Dialect::Marker, columns).await;
            }
            Action::Create { name, file } => {
                let mut create = call("POST", at(&name));
                create.body = json!({ "policyDocument": read(&file)? });
                create
            }
            Action::Update { name, file } => {
                let mut update = call("POST", format!("{}/version", at(&name)));
                update.query.push(("setAsDefault", "true".to_owned()));
                update.body = json!({ "policyDocument": read(&file)? });
                update
            }
            Action::Show { name, version: None } => call("GET", at(&name)),
            Action::Show { name, version: Some(number) } => call("GET", version_at(&name, number)),
            Action::Delete { name, version: None } => call("DELETE", at(&name)),
            Action::Delete { name, version: Some(number) } => {
                call("DELETE", version_at(&name, number))
            }
            Action::Targets { name } => call("POST", format!("/policy-targets/{}", label(&name))),
            Action::Attach { name, target: to } => {
                let mut attach = call("PUT", on(&name));
                attach.body = json!({ "target": target(&to) });
                attach
            }
            Action::Detach { name, target: from } => {
                let mut detach = call("POST", on(&name));
                detach.body = json!({ "target": target(&from) });
                detach
            }
            Action::Check(check) => check.call()?,
        };
        control.show(asked).await
    }
}

impl Check {
    /// Asks for one decision, or compares a candidate with many.
    fn call(self) -> Result<ControlCall, Failure> {
        let document = self.candidate.as_deref().map(read).transpose()?;
        if self.action.is_none() {
            let mut compare = call("POST", "/bitts/v1/policy/compare".to_owned());
            compare.body = json!({ "policyName": self.policy, "policyDocument": document });
            return Ok(compare);
        }
        let mut check = call("POST", "/bitts/v1/policy/check".to_owned());
        check.body = json!({
            "action": self.action,
            "resource": self.resource,
            "principal": self.principal.as_deref().map(target),
            "clientId": self.client_id,
            "policyName": self.policy,
            "policyDocument": document,
            "context": { "sourceIp": self.source_ip },
        });
        Ok(check)
    }
}
