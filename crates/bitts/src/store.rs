//! `bitts store`: look at a data directory, copy it, and save what can be saved.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bitts_server::upkeep::{self, Holds, Secrets};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::failure::Failure;
use crate::output::say_json;

/// `bitts store`.
#[derive(Args, Debug)]
pub(crate) struct StoreCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read all of it, as a start would, and change nothing
    Check {
        /// The data directory; no server uses it
        #[arg(long, default_value = "./bitts-data")]
        data_dir: PathBuf,
    },
    /// Copy its journal, also while a server uses it
    Backup {
        /// The data directory
        #[arg(long, default_value = "./bitts-data")]
        data_dir: PathBuf,
        /// A data directory that is new
        #[arg(long)]
        to: PathBuf,
    },
    /// Write what can be read of a damaged journal into a new data directory
    ///
    /// What stood in the damaged places is lost, and so may be what later records say about it.
    Repair {
        /// The data directory; no server uses it
        #[arg(long, default_value = "./bitts-data")]
        data_dir: PathBuf,
        /// A data directory that is new
        #[arg(long)]
        to: PathBuf,
    },
    /// Write everything in it as text: sessions, messages, shadows, identities
    ///
    /// A line for each fact, as JSON. The data directory's pki folder is no part of it.
    Export {
        /// The data directory; no server uses it
        #[arg(long, default_value = "./bitts-data")]
        data_dir: PathBuf,
        /// A file that is new; - is standard output
        #[arg(long)]
        to: PathBuf,
        /// Leave out access keys, users of MQTT and what names are placed by
        #[arg(long)]
        without_secrets: bool,
    },
    /// Make a data directory of the text of an export
    Import {
        /// A data directory that is new
        #[arg(long, default_value = "./bitts-data")]
        data_dir: PathBuf,
        /// The export; - is standard input
        #[arg(long)]
        from: PathBuf,
    },
}

impl StoreCommand {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let refused = |error: bitts_server::StoreError| Failure::Refused(error.to_string());
        match self.what {
            What::Check { data_dir } => say(&upkeep::check(&data_dir).map_err(refused)?),
            What::Backup { data_dir, to } => {
                let bytes = upkeep::backup(&data_dir, &to).map_err(refused)?;
                say_json(&json!({ "copiedBytes": bytes }))
            }
            What::Repair { data_dir, to } => say(&upkeep::repair(&data_dir, &to).map_err(refused)?),
            What::Export { data_dir, to, without_secrets } => {
                let secrets = if without_secrets { Secrets::LeftOut } else { Secrets::Kept };
                export(&data_dir, secrets, &to)
            }
            What::Import { data_dir, from } => import(&data_dir, &from),
        }
    }
}

const STANDARD: &str = "-";

fn export(data_dir: &Path, secrets: Secrets, to: &Path) -> Result<(), Failure> {
    let refused = |error: upkeep::ExportError| match error {
        upkeep::ExportError::Write(error) => Failure::from(error),
        other => Failure::Refused(other.to_string()),
    };
    if to.as_os_str() == STANDARD {
        let lines = BufWriter::new(io::stdout().lock());
        return upkeep::export(data_dir, secrets, lines).map(drop).map_err(refused);
    }
    let place = |error: io::Error| Failure::Refused(format!("{}: {error}", to.display()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = file.map_err(place)?;
    let outcome = upkeep::export(data_dir, secrets, BufWriter::new(&file)).map_err(|error| {
        Failure::Refused(match error {
            upkeep::ExportError::Write(error) => format!("{}: {error}", to.display()),
            other => other.to_string(),
        })
    });
    let outcome = outcome.and_then(|holds| file.sync_all().map(|()| holds).map_err(place));
    if outcome.is_err() {
        // Half an export is none.
        drop(std::fs::remove_file(to));
    }
    say(&outcome?)
}

fn import(data_dir: &Path, from: &Path) -> Result<(), Failure> {
    let refused = |error: upkeep::ImportError| Failure::Refused(error.to_string());
    let holds = if from.as_os_str() == STANDARD {
        upkeep::import(data_dir, io::stdin().lock())
    } else {
        let place = |error| Failure::Refused(format!("{}: {error}", from.display()));
        let file = File::open(from).map_err(place)?;
        upkeep::import(data_dir, BufReader::with_capacity(1 << 20, file))
    };
    say(&holds.map_err(refused)?)
}

fn say(holds: &Holds) -> Result<(), Failure> {
    let damages = holds.damages.iter().map(
        |damage| json!({ "file": damage.place, "offset": damage.offset, "bytes": damage.bytes }),
    );
    let damages: Vec<_> = damages.collect();
    say_json(&json!({
        "registryRows": holds.registry_rows,
        "sessions": holds.sessions,
        "owedMessages": holds.owed,
        "retainedMessages": holds.retained,
        "shadows": holds.shadows,
        "tornBytes": holds.torn_bytes,
        "damages": damages,
    }))
}
