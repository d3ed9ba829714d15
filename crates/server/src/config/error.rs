//! A setting that cannot be taken: where it stands and what is wrong with it, in one line.

use std::fmt;
use std::path::PathBuf;

use super::value::Refusal;

/// Where a setting's value came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// Nobody gave one.
    Default,
    /// A line of the configuration file.
    File { path: PathBuf, line: usize },
    /// A variable of the environment.
    Variable(String),
    /// A flag, by the setting's name.
    Flag(&'static str),
}

/// One line that names the file and line, variable or flag, and what was expected there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(super) fn new(message: String) -> Self {
        Self(message)
    }

    /// `what` is wrong with the setting `name` that stands at `origin`.
    pub(super) fn at(origin: &Origin, name: &str, what: impl fmt::Display) -> Self {
        Self(match origin {
            Origin::Default => format!("{name}: {what}"),
            Origin::File { path, line } => format!("{}:{line}: {name}: {what}", path.display()),
            Origin::Variable(variable) => format!("{variable}: {what}"),
            Origin::Flag(name) => format!("--{name}: {what}"),
        })
    }

    pub(super) fn refused(origin: &Origin, name: &str, refusal: Refusal, found: &str) -> Self {
        let Refusal(expected) = refusal;
        Self::at(origin, name, format_args!("expected {expected}, found {found}"))
    }
}
