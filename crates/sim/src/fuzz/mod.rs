//! Fuzz targets as plain functions: any bytes go in, and whoever breaks a promise panics.
//!
//! `fuzz/` runs them with coverage, `tests/corpus.rs` replays the corpora of `fuzz/corpus`. Those
//! of the server (`websocket`, `config`) are in its own `fuzzing`.

mod aws;
mod codec;
mod journal;
mod shadow;
mod shard;
mod topic;

pub use aws::{http_route, policy, sigv4_request};
pub use codec::{decode_v4, decode_v5, properties, split};
pub use journal::journal;
pub use shadow::shadow;
pub use shard::shard;
pub use topic::topic_filter;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// All of them, by the name of their corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("decode_v4", decode_v4),
    ("decode_v5", decode_v5),
    ("split", split),
    ("properties", properties),
    ("topic_filter", topic_filter),
    ("http_route", http_route),
    ("sigv4_request", sigv4_request),
    ("policy", policy),
    ("journal", journal),
    ("shadow", shadow),
    ("shard", shard),
];
