//! The binary as users run it: what it prints, and the status it ends with.

mod configuration;
mod process;
mod serve;
