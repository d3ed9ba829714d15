//! The ready file: who waits for the server finds the listeners there, whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bitts_server::Listeners;
use serde::Serialize;

/// A ready file that was written.
pub(super) struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Written beside itself, then renamed.
    pub(super) fn write(path: &Path, listeners: Listeners) -> io::Result<Self> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let written = write_then_rename(Path::new(&temporary), path, &text(listeners)?);
        if written.is_err() && fs::exists(&temporary)? {
            fs::remove_file(&temporary)?;
        }
        written.map(|()| Self(path.to_owned()))
    }

    /// Removes it; another who did so first is no failure.
    pub(super) fn remove(self) -> io::Result<()> {
        match fs::remove_file(self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn write_then_rename(temporary: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

/// A listener that is off is left out.
#[derive(Serialize)]
struct Ready {
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtts: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    https: Option<SocketAddr>,
}

fn text(Listeners { mqtt, mqtts, http, https }: Listeners) -> io::Result<String> {
    Ok(serde_json::to_string(&Ready { mqtt, mqtts, http, https })? + "\n")
}
