//! Whole servers without a machine: shards driven from a seed or by a script, and checkers.
//!
//! `world` runs many shards and clients with random schedules and checks what must always hold;
//! `crash` lets them die with a journal on a disk in memory;
//! `scenario` runs the scripts of `spec/scenarios` in the same core, or over TCP against any
//! server.

pub mod crash;
pub mod fuzz;
pub mod machine;
pub mod packet;
pub mod scenario;
mod seeds;
pub mod world;

pub use seeds::Unsound;
