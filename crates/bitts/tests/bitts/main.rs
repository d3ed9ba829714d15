//! The binary as users run it: what it prints, and the status it ends with.

mod client;
mod configuration;
mod demo;
mod process;
mod serve;
