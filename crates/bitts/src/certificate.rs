//! `bitts certificate`: a device certificate of the development CA.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bitts_server::pki;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Format, say, say_json};

#[derive(Args, Debug)]
pub(crate) struct CertificateCommand {
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
        /// How to print [default: text on a terminal, else json].
        #[arg(long, value_name = "FORMAT")]
        output: Option<Format>,
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
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Action::Create { name, out, days, pki_dir, output } = self.action;
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
        let device = pki::create_device(&pki_dir, &name, days)
            .map_err(|error| Failure::Refused(error.to_string()))?;
        write(&key, &device.key, 0o600)?;
        write(&certificate, &device.certificate, 0o644)?;
        if !ca.exists() {
            write(&ca, &device.ca, 0o644)?;
        }
        let made = Made { certificate_id: device.id, certificate, key, ca };
        if Format::or_by_terminal(output) == Format::Json { say_json(&made) } else { made.say() }
    }
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
