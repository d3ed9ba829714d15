//! Every setting: its name, what it takes, where it goes, whether it can change while serving.
//!
//! A row here makes the flag, the environment variable, the key of the file, and the line in a
//! reload's report.

use std::path::PathBuf;

use bitts_broker::Profile;

use super::Auth;
use super::limit_keys::LIMITS;
use super::settings::Settings;
use super::value::{Kind, Value};
use crate::Durability;

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file and as a flag, and with `_` for `-` behind `BITTS_` in the environment.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    pub(super) kind: Kind,
    pub(super) scope: Scope,
    pub(super) apply: fn(&mut Settings, &Value),
    pub(super) current: fn(&Settings) -> Value,
}

/// Where a setting can stand and when it takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// Everywhere; takes effect at a start.
    Start,
    /// Everywhere; takes effect at a reload too.
    Live,
    /// Not in the file: it names the file.
    OutsideFile,
    /// In the table `limits` of the file and in the environment; takes effect at a start.
    Limit,
}

const LOG: &str = "a level (off, error, warn, info, debug, trace) or levels of targets such as \
                   \"info,bitts_server=debug\"";

fn nothing(_: &Settings) -> Value {
    Value::Text(String::new())
}

fn path(path: Option<&PathBuf>) -> Value {
    path.map_or(Value::Text(String::new()), |path| Value::Path(path.clone()))
}

fn is_region(text: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(ok)
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_log_filter(text: &str) -> bool {
    let is_level = |level| matches!(level, "off" | "error" | "warn" | "info" | "debug" | "trace");
    text.split(',').all(|directive| match directive.split_once('=') {
        Some((target, level)) => !target.is_empty() && is_level(level),
        None => is_level(directive),
    })
}

static KEYS: &[Key] = &[
    Key {
        name: "config",
        about: "Read settings from a TOML file",
        kind: Kind::Path,
        scope: Scope::OutsideFile,
        apply: |_, _| {},
        current: nothing,
    },
    Key {
        name: "data-dir",
        about: "Keep everything durable there",
        kind: Kind::Path,
        scope: Scope::Start,
        apply: |settings, value| settings.data_dir = value.path().unwrap_or_default(),
        current: |settings| Value::Path(settings.data_dir.clone()),
    },
    Key {
        name: "ephemeral",
        about: "Keep everything in memory, nothing past the process",
        kind: Kind::Switch,
        scope: Scope::Start,
        apply: |settings, value| settings.ephemeral = value.is_on(),
        current: |settings| Value::Switch(settings.ephemeral),
    },
    Key {
        name: "mqtt",
        about: "MQTT over TCP: an address, or off; port 0 picks a free one",
        kind: Kind::Address,
        scope: Scope::Start,
        apply: |settings, value| settings.config.mqtt = value.address(),
        current: |settings| Value::Address(settings.config.mqtt),
    },
    Key {
        name: "mqtts",
        about: "MQTT over TLS: an address, or off; port 0 picks a free one",
        kind: Kind::Address,
        scope: Scope::Start,
        apply: |settings, value| settings.config.mqtts = value.address(),
        current: |settings| Value::Address(settings.config.mqtts),
    },
    Key {
        name: "http",
        about: "Data plane, WebSocket, health, metrics: an address, or off; port 0 picks one",
        kind: Kind::Address,
        scope: Scope::Start,
        apply: |settings, value| settings.config.http = value.address(),
        current: |settings| Value::Address(settings.config.http),
    },
    Key {
        name: "https",
        about: "The same over TLS, and MQTT by ALPN: an address, or off; port 0 picks a free one",
        kind: Kind::Address,
        scope: Scope::Start,
        apply: |settings, value| settings.config.https = value.address(),
        current: |settings| Value::Address(settings.config.https),
    },
    Key {
        name: "tls-certificate",
        about: "Certificate of the listeners with TLS and what is between it and its root, PEM",
        kind: Kind::Path,
        scope: Scope::Start,
        apply: |settings, value| settings.tls_certificate = value.path(),
        current: |settings| path(settings.tls_certificate.as_ref()),
    },
    Key {
        name: "tls-key",
        about: "Private key of that certificate, PEM",
        kind: Kind::Path,
        scope: Scope::Start,
        apply: |settings, value| settings.tls_key = value.path(),
        current: |settings| path(settings.tls_key.as_ref()),
    },
    Key {
        name: "tls-revoked",
        about: "Lists of clients' certificates that their authorities revoked (CRL), PEM",
        kind: Kind::Path,
        scope: Scope::Start,
        apply: |settings, value| settings.tls_revoked = value.path(),
        current: |settings| path(settings.tls_revoked.as_ref()),
    },
    Key {
        name: "pki-dir",
        about: "Development CA and certificates, made there where tls-certificate is not set",
        kind: Kind::Path,
        scope: Scope::Start,
        apply: |settings, value| settings.pki_dir = value.path(),
        current: |settings| Value::Path(settings.pki_dir()),
    },
    Key {
        name: "proxy-protocol",
        about: "Connections begin with a header of the PROXY protocol, version 1 or 2",
        kind: Kind::Switch,
        scope: Scope::Start,
        apply: |settings, value| settings.config.proxy_protocol = value.is_on(),
        current: |settings| Value::Switch(settings.config.proxy_protocol),
    },
    Key {
        name: "profile",
        about: "Whose limits and refusals: open (all of MQTT) or aws (AWS IoT Core)",
        kind: Kind::Choice(&["open", "aws"]),
        scope: Scope::Start,
        apply: |settings, value| {
            let is_aws = value.text() == "aws";
            settings.config.profile = if is_aws { Profile::Aws } else { Profile::Open };
        },
        current: |settings| {
            let is_aws = settings.config.profile == Profile::Aws;
            Value::Text(if is_aws { "aws" } else { "open" }.to_owned())
        },
    },
    Key {
        name: "rate-limits",
        about: "How often things may happen: off (as often as they do) or aws (AWS's defaults)",
        kind: Kind::Choice(&["off", "aws"]),
        scope: Scope::Start,
        apply: |settings, value| settings.aws_rates = value.text() == "aws",
        current: |settings| Value::Text(if settings.aws_rates { "aws" } else { "off" }.to_owned()),
    },
    Key {
        name: "keys-without-policies",
        about: "What an access key without any policy may do: everything or nothing",
        kind: Kind::Choice(&["everything", "nothing"]),
        scope: Scope::Start,
        apply: |settings, value| {
            settings.config.binds_keys_without_policies = value.text() == "nothing";
        },
        current: |settings| {
            let is_bound = settings.config.binds_keys_without_policies;
            Value::Text(if is_bound { "nothing" } else { "everything" }.to_owned())
        },
    },
    Key {
        name: "auth",
        about: "Who is let in: open (anyone) or enforce (who may by the registry's policies)",
        kind: Kind::Choice(&["open", "enforce"]),
        scope: Scope::Start,
        apply: |settings, value| {
            let is_open = value.text() == "open";
            settings.auth = Some(if is_open { Auth::Open } else { Auth::Enforce });
        },
        current: |settings| {
            let auth = settings.auth.unwrap_or_else(|| settings.auth_by_default());
            Value::Text(if auth == Auth::Open { "open" } else { "enforce" }.to_owned())
        },
    },
    Key {
        name: "insecure-open-to-network",
        about: "Let anyone in from the network, not only from this machine",
        kind: Kind::Switch,
        scope: Scope::Start,
        apply: |settings, value| settings.insecure_open_to_network = value.is_on(),
        current: |settings| Value::Switch(settings.insecure_open_to_network),
    },
    Key {
        name: "durability",
        about: "What an acknowledgement survives: sync (loss of power) or os (the process's death)",
        kind: Kind::Choice(&["sync", "os"]),
        scope: Scope::Start,
        apply: |settings, value| {
            let is_os = value.text() == "os";
            settings.config.durability = if is_os { Durability::Os } else { Durability::Sync };
        },
        current: |settings| Value::Text(settings.config.durability.name().to_owned()),
    },
    Key {
        name: "memory-limit",
        about: "Bytes of the whole process, which limits are cut to a part of",
        kind: Kind::Bytes(64 << 20, 1 << 50),
        scope: Scope::Start,
        apply: |settings, value| settings.config.memory_limit = Some(value.number()),
        current: |settings| {
            settings.config.memory_limit.map_or_else(|| nothing(settings), Value::Number)
        },
    },
    Key {
        name: "test-clock",
        about: "Let time be moved by HTTP, for tests; never with --auth enforce",
        kind: Kind::Switch,
        scope: Scope::Start,
        apply: |settings, value| settings.config.test_clock = value.is_on(),
        current: |settings| Value::Switch(settings.config.test_clock),
    },
    Key {
        name: "region",
        about: "AWS region, for ARNs",
        kind: Kind::Text("a region such as \"us-east-1\"", is_region),
        scope: Scope::Start,
        apply: |settings, value| settings.config.region = value.text(),
        current: |settings| Value::Text(settings.config.region.clone()),
    },
    Key {
        name: "account",
        about: "AWS account, for ARNs",
        kind: Kind::Text("a string of 12 digits", is_account),
        scope: Scope::Start,
        apply: |settings, value| settings.config.account = value.text(),
        current: |settings| Value::Text(settings.config.account.clone()),
    },
    Key {
        name: "threads",
        about: "Shards, each with a thread of its own; 0 is one for each core, at most 63",
        kind: Kind::Count(0, 63),
        scope: Scope::Start,
        apply: |settings, value| {
            settings.config.threads = u8::try_from(value.number()).unwrap_or_default();
        },
        current: |settings| Value::Number(settings.config.threads.into()),
    },
    Key {
        name: "ready-file",
        about: "Write the listeners there as JSON once they accept connections",
        kind: Kind::Path,
        scope: Scope::Start,
        apply: |settings, value| settings.ready_file = value.path(),
        current: |settings| Value::Path(settings.ready_file.clone().unwrap_or_default()),
    },
    Key {
        name: "log",
        about: "What to log: error, warn, info, debug, trace, or a filter of targets",
        kind: Kind::Text(LOG, is_log_filter),
        scope: Scope::Live,
        apply: |settings, value| settings.log = value.text(),
        current: |settings| Value::Text(settings.log.clone()),
    },
];

/// All settings, in the order to show them.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(LIMITS)
}

impl Key {
    /// Whether it is a flag of `bitts serve`.
    pub fn is_flag(&self) -> bool {
        self.scope != Scope::Limit
    }

    /// Whether the flag needs no value.
    pub fn is_switch(&self) -> bool {
        matches!(self.kind, Kind::Switch)
    }

    /// The flag's value in `--help`.
    pub fn value_name(&self) -> &'static str {
        match self.kind {
            Kind::Address => "ADDR",
            Kind::Path => "FILE",
            Kind::Choice(_) => "NAME",
            Kind::Count(..) => "N",
            Kind::Bytes(..) => "BYTES",
            Kind::Switch => "BOOL",
            Kind::Text(..) | Kind::Millis(..) | Kind::Seconds(..) => "VALUE",
        }
    }

    /// Its variable in the environment.
    pub fn variable(&self) -> String {
        format!("BITTS_{}", self.name.replace(['-', '.'], "_").to_ascii_uppercase())
    }

    /// Its default as one would write it; empty where there is none.
    pub fn default_text(&self) -> String {
        self.text(&Settings::default())
    }

    pub(super) fn text(&self, settings: &Settings) -> String {
        self.kind.show(&(self.current)(settings))
    }
}
