//! What a server needs to know before it starts: [`Config`], and how it comes from a file, the
//! environment and flags.
//!
//! A setting is one row in `key` or `limit_keys`; what its values may be is in `value`; `settings`
//! lays the sources over each other. `docs/configuration.md` is their description for people.

mod error;
mod file;
mod key;
mod limit_keys;
mod limits;
mod settings;
mod value;

use std::net::SocketAddr;

pub use crate::http::RequestRates;
pub use error::ConfigError;
pub use key::{Key, keys};
pub use limits::ServerLimits;
pub use settings::{Change, Settings, Sources};

/// Who is let in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Auth {
    /// Anyone; signatures are read and not checked.
    #[default]
    Open,
    /// Who may, by the registry's certificates, keys, users and policies.
    Enforce,
}

/// Everything a server is started with; [`Config::default`] is what `bitts serve` does by itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// MQTT over TCP; port 0 picks a free one. Default `127.0.0.1:1883`.
    pub mqtt: Option<SocketAddr>,
    /// MQTT over TLS; only where [`Config::tls`] is set. Default none.
    pub mqtts: Option<SocketAddr>,
    /// The data plane, MQTT over WebSocket, health and metrics. Default `127.0.0.1:8830`.
    pub http: Option<SocketAddr>,
    /// The same over TLS, and MQTT by ALPN; only where [`Config::tls`] is set. Default none.
    pub https: Option<SocketAddr>,
    /// Who is let in. Default anyone.
    pub auth: Auth,
    /// Whether an access key to which no policy was ever attached may do nothing. Default no: it
    /// may do everything.
    pub binds_keys_without_policies: bool,
    /// Where everything durable is. Default none: everything is in memory only.
    pub data_dir: Option<std::path::PathBuf>,
    /// Where the development CA is that signs certificates for devices. Default none: none are
    /// signed.
    pub pki_dir: Option<std::path::PathBuf>,
    /// What an acknowledgement survives, where there is a data directory. Default loss of power.
    pub durability: crate::Durability,
    /// Certificate and key of the listeners with TLS. Default none.
    pub tls: Option<crate::TlsFiles>,
    /// Connections of all listeners begin with a header of the PROXY protocol, version 1 or 2,
    /// which tells the client's address; one without is closed. Default no.
    pub proxy_protocol: bool,
    /// Time can be moved by HTTP. Default no.
    pub test_clock: bool,
    /// Shards, each with a thread of its own. Default 0: one for each core, at most 63.
    pub threads: u8,
    /// Whose rules apply where the standard and AWS differ. Default the standard's; its limits are
    /// [`bitts_broker::Limits::aws`].
    pub profile: bitts_broker::Profile,
    /// Bytes of the whole process. Default none: 70 % of the container or the machine. Queues,
    /// retained messages and buffers of connections are each cut to a part of it.
    pub memory_limit: Option<u64>,
    /// AWS region, for ARNs. Default `us-east-1`.
    pub region: String,
    /// AWS account, for ARNs. Default `000000000000`.
    pub account: String,
    /// How many requests of an operation are answered in a second. Default all.
    pub request_rates: RequestRates,
    /// What clients may do in a second. Default everything.
    pub rates: bitts_broker::Rates,
    /// Bounds on bytes and sockets.
    pub server_limits: ServerLimits,
    /// Bounds of the core, for all shards together.
    pub limits: bitts_broker::Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mqtt: Some(SocketAddr::from(([127, 0, 0, 1], 1883))),
            mqtts: None,
            http: Some(SocketAddr::from(([127, 0, 0, 1], 8830))),
            https: None,
            auth: Auth::Open,
            binds_keys_without_policies: false,
            data_dir: None,
            pki_dir: None,
            durability: crate::Durability::Sync,
            tls: None,
            proxy_protocol: false,
            test_clock: false,
            threads: 0,
            profile: bitts_broker::Profile::Open,
            memory_limit: None,
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            request_rates: RequestRates::default(),
            rates: bitts_broker::Rates::default(),
            server_limits: ServerLimits::default(),
            limits: bitts_broker::Limits::default(),
        }
    }
}
