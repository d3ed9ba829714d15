//! Why a command ends with a status that is not 0: one line on stderr.

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};

use crate::output::escape;

const LABEL: Style = AnsiColor::Red.on_default().bold();

/// See the module.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command cannot be carried out as it is written. Status 2.
    Usage(String),
    /// The server refused, cannot be reached, or cannot start. Status 1.
    Refused(String),
    /// Who reads stdout has enough. Status 0, nothing is said.
    NotReading,
}

impl Failure {
    /// Says why on stderr.
    pub(crate) fn report(self) -> ExitCode {
        let (message, status) = match self {
            Self::Usage(message) => (message, ExitCode::from(2)),
            Self::Refused(message) => (message, ExitCode::FAILURE),
            Self::NotReading => return ExitCode::SUCCESS,
        };
        let line = format!("{LABEL}error:{LABEL:#} {}", escape(&message));
        match writeln!(anstream::stderr(), "{line}") {
            Ok(()) => status,
            Err(_) => ExitCode::FAILURE,
        }
    }
}

/// Of writing to stdout.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::NotReading,
            _ => Self::Refused(format!("cannot write to stdout: {error}")),
        }
    }
}
