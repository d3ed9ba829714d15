//! Device shadows: what a thing should be and what it says it is.
//!
//! A [`Shadow`] is one document and its version. It answers requests as bytes with bytes and knows
//! neither topics nor connections; [`parse_request_topic`] and [`answer_topic`] are the way between
//! it and MQTT, [`crate::api`] the way to HTTP. Time is an argument, in whole seconds since 1970. A
//! refused request changes nothing. Contract `device-shadow.md`.

mod answer;
mod codec;
mod document;
mod error;
mod json;
mod name;
mod request;
mod section;
mod topic;

pub use codec::DecodeError;
pub use document::{Shadow, Updated};
pub use error::{Rejection, ShadowError};
pub use name::{InvalidName, ShadowId, is_shadow_name, is_thing_name};
pub use topic::{ShadowAnswer, ShadowOperation, answer_topic, parse_request_topic};

/// Bytes of a client token.
const CLIENT_TOKEN_BYTES_MAX: usize = 64;

/// How long a deleted shadow keeps its version, in seconds: 48 hours.
const VERSION_MEMORY_SECONDS: u64 = 48 * 3600;

/// The bounds of a shadow; the defaults are AWS's.
#[derive(Clone, Copy, Debug)]
pub struct ShadowLimits {
    /// Bytes of `desired` and `reported` together as compact JSON, without metadata. Default 8,192;
    /// AWS raises it to 30,720 on request. Larger: 413.
    pub document_bytes_max: usize,
    /// Arrays and objects around each other from the section on, in levels; an empty one does not
    /// count. Default 6. Deeper: 400. More than 30 is as 30.
    pub depth_max: usize,
    /// Bytes of an update, of which only a part may become the document. Default 131,072. Larger:
    /// 413, and nothing of it is read.
    pub request_bytes_max: usize,
}

impl Default for ShadowLimits {
    fn default() -> Self {
        Self { document_bytes_max: 8_192, depth_max: 6, request_bytes_max: 131_072 }
    }
}
