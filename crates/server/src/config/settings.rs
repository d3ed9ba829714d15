//! From file, environment and flags to a checked [`Config`], before anything is opened.
//!
//! A flag wins over the environment, the environment over the file. Every value is checked, also
//! one that another wins over; nothing that is given is ignored.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bitts_broker::{Limits, Profile, Rates};

use super::error::{ConfigError, Origin};
use super::file::{self, Entry};
use super::key::{Key, Scope, keys};
use super::limit_keys::LIMITS;
use super::value::{Given, Value};
use super::{Auth, Config, RequestRates};
use crate::TlsFiles;

/// Bytes that AWS takes of one connection in a second.
const AWS_THROUGHPUT: u32 = 512 << 10;

/// What stands outside the file.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Variables that begin with `BITTS_`; what is not UTF-8 in them is replaced.
    pub environment: Vec<(String, String)>,
    /// Flags by the names of their settings.
    pub flags: Vec<(&'static str, String)>,
}

/// All settings of `bitts serve`, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the server is started with.
    pub config: Config,
    /// Where everything durable is, unless memory only was asked for. Default `./bitts-data`.
    pub data_dir: PathBuf,
    /// Whether memory only was asked for.
    pub ephemeral: bool,
    /// Who is let in; none is `Settings::auth_by_default`.
    pub auth: Option<Auth>,
    /// Whether rates that nothing sets are AWS's.
    pub aws_rates: bool,
    /// Whether anyone may come in from the network.
    pub insecure_open_to_network: bool,
    /// Certificate and key of listeners with TLS; both or none.
    pub tls_certificate: Option<PathBuf>,
    /// See [`Settings::tls_certificate`].
    pub tls_key: Option<PathBuf>,
    /// Lists of clients' certificates that are revoked.
    pub tls_revoked: Option<PathBuf>,
    /// See [`Settings::pki_dir`].
    pub pki_dir: Option<PathBuf>,
    /// Where to write the listeners.
    pub ready_file: Option<PathBuf>,
    /// The filter of the log. Default `info`.
    pub log: String,
    origins: BTreeMap<&'static str, Origin>,
}

/// A setting that is another after a reload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which.
    pub name: &'static str,
    /// Its text before.
    pub before: String,
    /// Its text after.
    pub after: String,
    /// Whether it takes effect without a restart.
    pub is_live: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: Config {
                mqtts: Some(SocketAddr::from(([127, 0, 0, 1], 8883))),
                https: Some(SocketAddr::from(([127, 0, 0, 1], 8843))),
                ..Config::default()
            },
            data_dir: PathBuf::from("./bitts-data"),
            ephemeral: false,
            auth: None,
            aws_rates: false,
            insecure_open_to_network: false,
            tls_certificate: None,
            tls_key: None,
            tls_revoked: None,
            pki_dir: None,
            ready_file: None,
            log: "info".to_owned(),
            origins: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads the file that the flags or the environment name, and lays these over it.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let overlay = overlay(sources)?;
        let named = overlay.iter().rfind(|given| given.key.scope == Scope::OutsideFile);
        let Some((path, origin)) =
            named.and_then(|given| Some((given.value.path()?, &given.origin)))
        else {
            return Self::layer(None, overlay);
        };
        let text = file::read(&path, origin)?;
        Self::layer(Some((&path, &text)), overlay)
    }

    /// Settings from the text of a file and nothing else.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn from_text(text: &str) -> Result<Self, ConfigError> {
        Self::layer(Some((Path::new("bitts.toml"), text)), Vec::new())
    }

    /// The file's path and text under what stands outside it.
    fn layer(file: Option<(&Path, &str)>, overlay: Vec<Overlay>) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        if let Some((path, text)) = file {
            file::entries(path, text, |entry| settings.set_entry(entry))?;
        }
        for Overlay { key, value, origin } in overlay {
            settings.set(key, &value, origin);
        }
        settings.take_limits_of_profile();
        settings.config.auth = settings.auth.unwrap_or_else(|| settings.auth_by_default());
        settings.config.data_dir = (!settings.ephemeral).then(|| settings.data_dir.clone());
        settings.config.pki_dir = Some(settings.pki_dir());
        settings.check()?;
        settings.config.tls = settings.tls_files();
        Ok(settings)
    }

    /// Where a development CA and its certificates are, or are made. Default `pki` in the data
    /// directory.
    #[must_use]
    pub fn pki_dir(&self) -> PathBuf {
        self.pki_dir.clone().unwrap_or_else(|| self.data_dir.join("pki"))
    }

    /// Anyone is let in while every listener is on loopback, or where that was asked for.
    pub(super) fn auth_by_default(&self) -> Auth {
        let Config { mqtt, mqtts, http, https, .. } = &self.config;
        let mut listeners = [mqtt, mqtts, http, https].into_iter().flatten();
        let is_local = listeners.all(|address| address.ip().to_canonical().is_loopback());
        if is_local || self.insecure_open_to_network { Auth::Open } else { Auth::Enforce }
    }

    /// Limits of the core that nothing sets are the profile's, rates are AWS's if asked for.
    fn take_limits_of_profile(&mut self) {
        let mut config = Config::default();
        if self.config.profile == Profile::Aws {
            config.limits = Limits::aws();
        }
        if self.aws_rates {
            config.rates = Rates::aws();
            config.request_rates = RequestRates::aws();
            config.server_limits.throughput_max = AWS_THROUGHPUT;
        }
        let defaults = Self { config, ..Self::default() };
        for key in LIMITS {
            if !self.origins.contains_key(key.name) {
                (key.apply)(self, &(key.current)(&defaults));
            }
        }
    }

    /// The certificate that was configured.
    fn tls_files(&self) -> Option<TlsFiles> {
        let certificate = self.tls_certificate.clone()?;
        let (key, revoked) = (self.tls_key.clone()?, self.tls_revoked.clone());
        Some(TlsFiles { certificate, key, revoked })
    }

    /// Whether a listener needs a certificate and none is configured.
    #[must_use]
    pub fn needs_development_certificate(&self) -> bool {
        let Config { mqtts, https, tls, .. } = &self.config;
        tls.is_none() && (mqtts.is_some() || https.is_some())
    }

    fn set_entry(&mut self, entry: Entry<'_>) -> Result<(), ConfigError> {
        let Entry { name, given, origin } = entry;
        if name == file::LIMITS {
            let what = format!("expected a table, found {}", given.describe());
            return Err(ConfigError::at(&origin, &name, what));
        }
        let in_file = || keys().filter(|key| key.scope != Scope::OutsideFile);
        let Some(key) = in_file().find(|key| key.name == name) else {
            let known = nearest(&name, in_file().map(|key| key.name.to_owned()));
            return Err(ConfigError::at(&origin, &name, format_args!("not a setting{known}")));
        };
        let value = parse(key, given, &origin)?;
        self.set(key, &value, origin);
        Ok(())
    }

    fn set(&mut self, key: &'static Key, value: &Value, origin: Origin) {
        (key.apply)(self, value);
        self.origins.insert(key.name, origin);
    }

    /// What no value can say alone.
    fn check(&self) -> Result<(), ConfigError> {
        let Config { mqtt, mqtts, http, https, server_limits, .. } = &self.config;
        if [mqtt, mqtts, http, https].iter().all(|listener| listener.is_none()) {
            let what = "expected an address while all other listeners are off, found \"off\"";
            return Err(self.refuse("http", what));
        }
        if self.config.test_clock && self.config.auth == Auth::Enforce {
            let what = "expected false while auth is \"enforce\": signatures and certificates \
                        have their time";
            return Err(self.refuse("test-clock", what));
        }
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => {
                return Err(self.refuse("tls-certificate", "expected tls-key with it"));
            }
            (None, Some(_)) => {
                return Err(self.refuse("tls-key", "expected tls-certificate with it"));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        if server_limits.greeting_bytes_max < server_limits.connect_bytes_max {
            let what = "expected at least limits.connect-bytes-max, or no CONNECT would fit";
            return Err(self.refuse("limits.greeting-bytes-max", what));
        }
        self.check_open_to_network("mqtt", *mqtt)?;
        self.check_open_to_network("mqtts", *mqtts)?;
        self.check_open_to_network("http", *http)?;
        self.check_open_to_network("https", *https)
    }

    fn check_open_to_network(
        &self,
        name: &'static str,
        address: Option<SocketAddr>,
    ) -> Result<(), ConfigError> {
        match address {
            Some(address)
                if self.config.auth == Auth::Open
                    && !address.ip().to_canonical().is_loopback()
                    && !self.insecure_open_to_network =>
            {
                let what = format!(
                    "{address} is not on loopback, and auth \"open\" lets anyone in: \
                     give --insecure-open-to-network too if that is what you want"
                );
                Err(self.refuse(name, &what))
            }
            _ => Ok(()),
        }
    }

    /// An error at the place that the setting's value came from.
    #[must_use]
    pub fn refuse(&self, name: &'static str, what: &str) -> ConfigError {
        ConfigError::at(self.origins.get(name).unwrap_or(&Origin::Default), name, what)
    }

    /// What is different in `after`.
    #[must_use]
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let change = |key: &'static Key| Change {
            name: key.name,
            before: key.text(self),
            after: key.text(after),
            is_live: key.scope == Scope::Live,
        };
        keys().map(change).filter(|change| change.before != change.after).collect()
    }
}

/// A checked value from outside the file.
struct Overlay {
    key: &'static Key,
    value: Value,
    origin: Origin,
}

/// Of two for one key, the later wins; what wins is checked first.
fn overlay(sources: &Sources) -> Result<Vec<Overlay>, ConfigError> {
    let flags = from_flags(&sources.flags)?;
    let mut overlay = from_environment(&sources.environment)?;
    overlay.extend(flags);
    Ok(overlay)
}

fn from_flags(flags: &[(&'static str, String)]) -> Result<Vec<Overlay>, ConfigError> {
    let checked = flags.iter().map(|(name, text)| {
        let origin = Origin::Flag(name);
        let key = keys()
            .find(|key| key.name == *name && key.is_flag())
            .ok_or_else(|| ConfigError::at(&origin, name, "not a flag of bitts serve"))?;
        Ok(Overlay { key, value: parse(key, Given::Bare(text), &origin)?, origin })
    });
    checked.collect()
}

fn from_environment(variables: &[(String, String)]) -> Result<Vec<Overlay>, ConfigError> {
    let mut variables: Vec<_> =
        variables.iter().filter(|(name, _)| !is_made_by_kubernetes(name)).collect();
    variables.sort();
    let checked = variables.into_iter().map(|(variable, text)| {
        let key = keys().find(|key| key.variable() == *variable).ok_or_else(|| {
            let known = nearest(variable, keys().map(Key::variable));
            ConfigError::new(format!("{variable}: not a variable of bitts{known}"))
        })?;
        let origin = Origin::Variable(variable.clone());
        Ok(Overlay { key, value: parse(key, Given::Bare(text), &origin)?, origin })
    });
    checked.collect()
}

fn parse(key: &Key, given: Given<'_>, origin: &Origin) -> Result<Value, ConfigError> {
    let refused = |refusal| ConfigError::refused(origin, key.name, refusal, &given.describe());
    key.kind.parse(given).map_err(refused)
}

/// Kubernetes gives each container `NAME_SERVICE_HOST`, `NAME_PORT_1883_TCP` and the like for each
/// Service; where one is called `bitts` these are not ours.
fn is_made_by_kubernetes(variable: &str) -> bool {
    variable.ends_with("_PORT")
        || ["_PORT_", "_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|part| variable.contains(part))
}

/// `; did you mean NAME?` for the known name with the fewest letters to change, if there are few.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    let distances = known.map(|known| (distance(name, &known), known));
    match distances.min() {
        Some((distance, known)) if distance <= 3.max(name.len() / 4) => {
            format!("; did you mean {known}?")
        }
        _ => String::new(),
    }
}

/// Letters to insert, delete or replace (Levenshtein), of names of at most 64 bytes.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().max(b.len()) > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
