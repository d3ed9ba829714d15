//! `bitts serve`: settings, the server, and the signals that end or reload it.

mod flags;
mod log;
mod ready_file;

use std::net::SocketAddr;
use std::thread;

use bitts_server::config::{Change, Settings, Sources};
use bitts_server::{Config, Durability, Listeners, Running, Server, TlsFiles, descriptors, pki};
use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use self::flags::Flags;
use self::log::LogFilter;
use self::ready_file::ReadyFile;
use crate::failure::Failure;
use crate::output::say;

/// `bitts serve`; its flags are the settings of the server.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    #[command(flatten)]
    flags: Flags,
}

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let sources = Sources { environment: environment(), flags: self.flags.0 };
        let settings =
            Settings::load(&sources).map_err(|error| Failure::Usage(error.to_string()))?;
        let filter = log::start(&settings.log);
        serve(&sources, settings, &filter)
    }
}

/// The variables that begin with `BITTS_`.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, text)| {
            (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned())
        })
        .filter(|(name, _)| name.starts_with("BITTS_"))
        .collect()
}

/// The signals are listened for first, so that an early one drains too.
fn serve(sources: &Sources, mut settings: Settings, filter: &LogFilter) -> Result<(), Failure> {
    let no_signals = |error| Failure::Refused(format!("cannot listen for signals: {error}"));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(no_signals)?;
    let mut signals = runtime.block_on(async { Signals::new() }).map_err(no_signals)?;
    match descriptors::raise() {
        Ok(most) => tracing::debug!(most, "descriptors"),
        Err(error) => tracing::warn!(%error, "cannot have more descriptors"),
    }
    if settings.needs_development_certificate() {
        let files = pki::ensure(&settings.pki_dir(), &names(&settings.config))
            .map_err(|error| Failure::Refused(error.to_string()))?;
        let revoked = settings.tls_revoked.clone();
        settings.config.tls = Some(TlsFiles { revoked, ..files });
    }
    let running =
        Server::start(&settings.config).map_err(|error| Failure::Refused(error.to_string()))?;
    let listeners = running.listeners();
    print(announcement(listeners, &settings.config));
    let ready_file = settings.ready_file.as_ref().map(|path| {
        ReadyFile::write(path, listeners)
            .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))
    });
    let ready_file = match ready_file.transpose() {
        Ok(ready_file) => ready_file,
        Err(failure) => {
            running.stop();
            return Err(failure);
        }
    };
    print(format!("Try: {}", to_try(listeners)));
    while let Asked::Reload = runtime.block_on(signals.next()) {
        reload(sources, &mut settings, filter, &running);
    }
    tracing::info!("stopping");
    if let Some(Err(error)) = ready_file.map(ReadyFile::remove) {
        tracing::warn!(%error, "the ready file is not removed");
    }
    runtime.block_on(drain(running, &mut signals))?;
    tracing::info!("stopped");
    Ok(())
}

/// What a development certificate is good for beside loopback: this host, and where it listens.
fn names(config: &Config) -> Vec<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let addresses = [config.mqtts, config.https];
    let addresses = addresses.into_iter().flatten().map(|address| address.ip().to_string());
    std::iter::once(host.trim().to_owned()).chain(addresses).collect()
}

/// What a signal asks for.
enum Asked {
    Reload,
    Stop,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    async fn next_stop(&mut self) {
        while let Asked::Reload = self.next().await {}
    }
}

/// Ends what was accepted; a second signal does not wait for it.
async fn drain(running: Running, signals: &mut Signals) -> Result<(), Failure> {
    let (stopped, mut is_stopped) = oneshot::channel();
    let stop = move || {
        running.stop();
        if stopped.send(()).is_err() {
            tracing::debug!("stopped after a second signal");
        }
    };
    thread::Builder::new()
        .name("stop".to_owned())
        .spawn(stop)
        .map_err(|error| Failure::Refused(format!("cannot stop in order: {error}")))?;
    tokio::select! {
        _ = &mut is_stopped => Ok(()),
        () = signals.next_stop() => {
            Err(Failure::Refused("stopped at once, by a second signal".to_owned()))
        }
    }
}

/// Reads the settings again: all are taken or none. `settings` stays what is in force, so a change
/// that needs a restart is named at each reload until then.
fn reload(sources: &Sources, settings: &mut Settings, filter: &LogFilter, running: &Running) {
    let after = match Settings::load(sources) {
        Ok(after) => after,
        Err(error) => {
            tracing::error!(%error, "configuration not reloaded, nothing is changed");
            return;
        }
    };
    match running.reload_certificates() {
        Ok(true) => tracing::info!("certificate and key read again"),
        Ok(false) => {}
        Err(error) => {
            tracing::error!(%error, "configuration not reloaded, nothing is changed");
            return;
        }
    }
    let changes = settings.changes(&after);
    if changes.iter().any(|change| change.is_live) {
        filter.set(&after.log);
        settings.log = after.log;
    }
    for Change { name, before, after, is_live } in &changes {
        if *is_live {
            tracing::info!(setting = name, before, after, "changed");
        } else {
            tracing::warn!(setting = name, before, after, "not changed: needs a restart");
        }
    }
    tracing::info!(changes = changes.len(), "configuration reloaded");
}

/// Prints lines; a server whose output nobody reads serves on.
fn print(lines: String) {
    if let Err(failure) = say(&lines) {
        tracing::warn!(?failure, "cannot print");
    }
}

/// What is kept, and the listeners.
fn announcement(listeners: Listeners, config: &Config) -> String {
    let kept = match (&config.data_dir, config.durability) {
        (None, _) => {
            "Ephemeral: everything is in memory, and nothing outlives this process.\n\n".to_owned()
        }
        (Some(path), Durability::Sync) => format!(
            "Durable in {}: what is acknowledged survives a crash and loss of power.\n\n",
            path.display()
        ),
        (Some(path), Durability::Os) => format!(
            "Durable in {}: what is acknowledged survives a crash of this process; loss of power \
             may lose what the system has not written, as a rule the last 30 seconds.\n\n",
            path.display()
        ),
    };
    let rows = [
        ("mqtt", listeners.mqtt, "MQTT 3.1.1 and 5"),
        ("mqtts", listeners.mqtts, "MQTT 3.1.1 and 5 over TLS"),
        ("http", listeners.http, "data plane, MQTT over WebSocket at /mqtt, /health, /metrics"),
        ("https", listeners.https, "the same over TLS, and MQTT by ALPN"),
    ];
    let row = |(name, address, serves): (_, Option<SocketAddr>, _)| {
        Some(format!("  {name:<5}  {:<21}  {serves}\n", address?))
    };
    rows.into_iter().filter_map(row).fold(kept, |text, row| text + &row)
}

/// A command that works as it stands.
fn to_try(listeners: Listeners) -> String {
    match (listeners.http, listeners.mqtt) {
        (Some(http), _) => {
            let endpoint = match http.to_string().as_str() {
                "127.0.0.1:8830" => String::new(),
                address => format!(" --endpoint-url http://{address}"),
            };
            let publish = format!("bitts publish greetings hello --retain{endpoint}");
            format!("{publish} && bitts retained list{endpoint}")
        }
        (None, Some(mqtt)) => format!("bitts subscribe '#' --mqtt {mqtt}"),
        (None, None) => "bitts demo".to_owned(),
    }
}
