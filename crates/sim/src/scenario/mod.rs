//! Scripts: what clients send and what they must see, in the words of the standard.
//!
//! A script is readable without Rust (`spec/scenarios/README.md` has the language) and runs
//! unchanged over every [`Wire`]: whole shards in this process ([`core`]) and sockets of a real
//! server ([`tcp`]).

pub mod core;
mod expect;
mod line;
mod run;
mod script;
pub mod tcp;
mod token;

pub use run::{Failure, Outcome, Read, Special, Unsupported, Wire, run};
pub use script::{Scenario, ScriptError, Variant, load, parse};
