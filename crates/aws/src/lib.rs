//! The AWS IoT contract as pure code: API shapes and errors, Signature Version 4,
//! events.

pub mod api;
pub mod control;
pub mod error;
pub mod events;
pub mod policy;
pub mod registry;
pub mod shadow;
pub mod sigv4;
