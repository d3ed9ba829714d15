//! What a message carries, from the command line or from a file, and its MQTT 5 properties.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bitts_client::api::MessageProperties;
use bytes::Bytes;
use clap::{Args, ValueEnum};

use crate::failure::Failure;

/// Bytes of the largest payload that fits into an MQTT packet.
const PAYLOAD_BYTES_MAX: u64 = 268_435_455;

/// Options of every command that sends a message.
#[derive(Args, Debug)]
pub(crate) struct Content {
    /// The payload, as text.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    payload: Option<String>,
    /// Take the payload from a file; - is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Content Type.
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// Response Topic.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) response_topic: Option<String>,
    /// Correlation Data, as text.
    #[arg(long, value_name = "TEXT")]
    pub(crate) correlation_data: Option<String>,
    /// Payload Format Indicator.
    #[arg(long, value_name = "FORMAT")]
    payload_format: Option<PayloadFormat>,
    /// A User Property; may be repeated.
    #[arg(long = "user-property", value_name = "NAME=VALUE", value_parser = user_property)]
    pub(crate) user_properties: Vec<(String, String)>,
}

/// Payload Format Indicator.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PayloadFormat {
    /// Not said.
    Bytes,
    /// UTF-8.
    Utf8,
}

fn user_property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Content {
    pub(crate) fn take_payload(&mut self) -> Result<Bytes, Failure> {
        match &self.file {
            Some(path) => read_file(path),
            None => Ok(self.payload.take().unwrap_or_default().into()),
        }
    }

    /// What MQTT 5 tells of the message, for the data plane.
    pub(crate) fn message_properties(self) -> MessageProperties {
        MessageProperties {
            payload_format_indicator: self.payload_format_indicator(),
            content_type: self.content_type,
            response_topic: self.response_topic,
            user_properties: self.user_properties,
            correlation_data: self.correlation_data.map(String::into_bytes),
        }
    }

    /// Whether the payload is UTF-8, if that is said.
    pub(crate) fn payload_format_indicator(&self) -> Option<bool> {
        self.payload_format.map(|format| matches!(format, PayloadFormat::Utf8))
    }
}

/// What a file named by `--file` holds; - is standard input.
pub(crate) fn read_file(path: &Path) -> Result<Bytes, Failure> {
    let payload = if path == Path::new("-") {
        read_payload(io::stdin().lock())
    } else {
        File::open(path).and_then(read_payload)
    };
    payload.map_err(|error| Failure::Usage(format!("--file: {}: {error}", path.display())))
}

fn read_payload(source: impl Read) -> io::Result<Bytes> {
    let mut payload = Vec::new();
    source.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut payload)?;
    if payload.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(io::Error::other("larger than an MQTT packet"));
    }
    Ok(payload.into())
}
