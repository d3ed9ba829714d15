//! The binary as users run it: what it prints, and the status it ends with.

mod certificate;
mod client;
mod configuration;
mod demo;
mod durable;
mod process;
mod profile;
mod serve;
mod shadow;
mod tls;
