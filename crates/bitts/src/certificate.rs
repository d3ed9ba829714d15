//! `bitts certificate`: a device certificate of the development CA, and which certificates the
//! server takes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bitts_client::data_plane::ControlCall;
use bitts_server::pki;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::control::{ControlOptions, Dialect, Status, call, label, read};
use crate::failure::Failure;
use crate::output::{Format, say, say_json};

#[derive(Args, Debug)]
pub(crate) struct CertificateCommand {
    #[command(flatten)]
    options: ControlOptions,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a certificate and key that a device connects with
    ///
    /// Signed by the development CA of the server, which is made if there is none. Writes
    /// NAME.pem, NAME.key (RSA of 2,048 bits, readable by you only) and ca.pem, and overwrites
    /// nothing.
    Create {
        /// Common Name of the certificate, and the names of the files.
        #[arg(default_value = "device")]
        name: String,
        /// Where the files are written.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        /// Days until it ends.
        #[arg(long, value_name = "N", default_value_t = 3_650,
              value_parser = clap::value_parser!(i64).range(1..=36_500))]
        days: i64,
        /// The folder of the development CA, as the server has it.
        #[arg(long, value_name = "DIR", default_value = "./bitts-data/pki")]
        pki_dir: PathBuf,
        /// Register it with the server too, as active.
        #[arg(long)]
        register: bool,
    },
    /// Register a certificate that was made elsewhere.
    Register {
        /// The file with the certificate, PEM; - is stdin.
        file: PathBuf,
        /// Register it as inactive.
        #[arg(long)]
        inactive: bool,
    },
    /// List registered certificates.
    List,
    /// Print a registered certificate.
    Describe {
        /// Its id.
        id: String,
    },
    /// Make a certificate active, inactive or revoked.
    Update {
        /// Its id.
        id: String,
        /// What to make it.
        #[arg(ignore_case = true)]
        status: Status,
    },
    /// Delete a certificate that is not active and speaks for no thing.
    Delete {
        /// Its id.
        id: String,
        /// Detach its policies first.
        #[arg(long)]
        force: bool,
    },
    /// Attach a policy to a certificate, or the certificate to a thing.
    Attach {
        /// Its id.
        id: String,
        /// The policy's name.
        #[arg(long, value_name = "NAME", required_unless_present = "thing")]
        policy: Option<String>,
        /// The thing's name.
        #[arg(long, value_name = "NAME")]
        thing: Option<String>,
    },
}

/// What was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    certificate_id: String,
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

impl CertificateCommand {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let at = |id: &str| format!("/certificates/{}", label(id));
        let asked = match self.action {
            Action::Create { name, out, days, pki_dir, register } => {
                let made = create(&name, &out, days, &pki_dir)?;
                if register {
                    let pem = read(&made.certificate)?;
                    self.options.open()?.call(register_call(&pem, Status::Active)).await?;
                }
                return match self.options.format() {
                    Format::Json => say_json(&made),
                    Format::Table => made.say(),
                };
            }
            Action::Register { file, inactive } => {
                let status = if inactive { Status::Inactive } else { Status::Active };
                register_call(&read(&file)?, status)
            }
            Action::List => {
                let columns = [("CERTIFICATE", "certificateId"), ("STATUS", "status")];
                let list = call("GET", "/certificates".to_owned());
                let control = self.options.open()?;
                return control.list(list, "certificates", Dialect::Marker, columns).await;
            }
            Action::Describe { id } => call("GET", at(&id)),
            Action::Update { id, status } => {
                let mut update = call("PUT", at(&id));
                update.query.push(("newStatus", status.word()));
                update
            }
            Action::Delete { id, force } => {
                let mut delete = call("DELETE", at(&id));
                delete.query.push(("forceDelete", force.to_string()));
                delete
            }
            Action::Attach { id, policy, thing } => {
                return attach(&self.options, &id, policy, thing).await;
            }
        };
        self.options.open()?.show(asked).await
    }
}

fn register_call(pem: &str, status: Status) -> ControlCall {
    let mut register = call("POST", "/certificate/register-no-ca".to_owned());
    register.body = json!({ "certificatePem": pem, "status": status.word() });
    register
}

async fn attach(
    options: &ControlOptions,
    id: &str,
    policy: Option<String>,
    thing: Option<String>,
) -> Result<(), Failure> {
    let control = options.open()?;
    let target = format!("cert/{id}");
    if let Some(policy) = policy {
        let mut attach = call("PUT", format!("/target-policies/{}", label(&policy)));
        attach.body = json!({ "target": target });
        control.call(attach).await?;
    }
    if let Some(thing) = thing {
        let mut attach = call("PUT", format!("/things/{}/principals", label(&thing)));
        attach.headers.push(("x-amzn-principal", target));
        control.call(attach).await?;
    }
    Ok(())
}

/// Makes a certificate and key of the development CA, and their files.
fn create(name: &str, out: &Path, days: i64, pki_dir: &Path) -> Result<Made, Failure> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_name) || name == "ca" {
        let what = "NAME has 1 to 64 letters, digits, and . _ - :, and is not \"ca\"";
        return Err(Failure::Usage(what.to_owned()));
    }
    let made = |extension| out.join(format!("{name}.{extension}"));
    let (certificate, key, ca) = (made("pem"), made("key"), out.join("ca.pem"));
    if let Some(taken) = [&certificate, &key].into_iter().find(|path| path.exists()) {
        return Err(Failure::Refused(format!("{} exists already", taken.display())));
    }
    let device = pki::create_device(pki_dir, name, days)
        .map_err(|error| Failure::Refused(error.to_string()))?;
    write(&key, &device.key, 0o600)?;
    write(&certificate, &device.certificate, 0o644)?;
    if !ca.exists() {
        write(&ca, &device.ca, 0o644)?;
    }
    Ok(Made { certificate_id: device.id, certificate, key, ca })
}

impl Made {
    fn say(&self) -> Result<(), Failure> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        say(&format!("Certificate ID  {}", self.certificate_id))?;
        say(&format!("Certificate     {certificate}"))?;
        say(&format!("Private key     {key}"))?;
        say(&format!("CA              {}", self.ca.display()))?;
        say(&format!(
            "Try: mosquitto_pub -p 8883 --cafile {} --cert {certificate} --key {key} \
             -t greetings -m hello",
            self.ca.display()
        ))
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))
}
