//! What is wrong with a data directory, and what to do about it.

use std::io;

/// Why a journal cannot be opened or written; nothing that waited for it was answered.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused an operation.
    #[error("{place}: cannot {operation}: {source}")]
    Io {
        /// The file or directory.
        place: String,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that had been on stable storage are not what was written.
    #[error(
        "{place}: damaged at byte {offset} ({what}) where data was safe: nothing is changed, \
         restore a copy, or save what can be read with `bitts store repair`"
    )]
    Damaged {
        /// The file.
        place: String,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// Another version wrote it.
    #[error(
        "{place}: format {found} is unsupported: this version reads format {known}; nothing is \
         changed, and `bitts store export` of the version that wrote it makes a text to import here"
    )]
    Format {
        /// The file.
        place: String,
        /// Its format.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// Something is written into a directory that must be new.
    #[error("{place}: it is not empty: nothing is written")]
    NotEmpty {
        /// The directory.
        place: String,
    },
    /// What a directory was to hold was not written to its end.
    #[error("{place}: a backup, repair or import did not end here: remove it and begin again")]
    Unfinished {
        /// What was being written.
        place: String,
    },
    /// A part is not there.
    #[error("{place}: damaged: {what}")]
    Missing {
        /// The directory or file.
        place: String,
        /// What is not there.
        what: String,
    },
}

impl StoreError {
    /// Whether the disk is full, which passes.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Io { source, operation, .. } => {
                let is_full = matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                );
                is_full && *operation != SYNC
            }
            Self::Damaged { .. }
            | Self::Format { .. }
            | Self::NotEmpty { .. }
            | Self::Unfinished { .. }
            | Self::Missing { .. } => false,
        }
    }
}

/// The operation whose failure is final, whatever its reason.
pub(crate) const SYNC: &str = "sync";
