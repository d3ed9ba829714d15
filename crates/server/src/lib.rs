//! The machine around the core: threads, sockets, HTTP. The only crate with a clock.
//!
//! [`Server::start`] runs one shard on each of some threads (`worker`) and the HTTP listener on a
//! small runtime of its own (`http`); they talk through `mesh`.

mod clock;
pub mod config;
mod conn;
pub mod descriptors;
mod flush;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod greet;
mod http;
mod identify;
mod layers;
mod listen;
mod memory;
mod mesh;
mod metrics;
pub mod pki;
mod proxy;
mod read;
mod registry;
mod storage;
mod sys;
mod tls;
pub mod upkeep;
mod websocket;
mod worker;
mod write_buffer;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use bitts_aws::policy::ArnScope;
use bitts_aws::registry::Registry;
use bitts_broker::{Interest, Placement, SHARDS_MAX, Shard, ShardId};
use mio::{Poll, Waker};

use crate::clock::Clock;
use crate::config::Auth;
pub use crate::config::Config;
use crate::identify::{Inquired, Inquiries, inquiries};
use crate::mesh::{Inbox, Mesh};
use crate::metrics::Counters;
pub use crate::registry::{AdminKey, AdminKeyError, RegistryError, create_admin_key};
use crate::registry::{Directory, Stored};
pub use crate::storage::Durability;
use crate::storage::{ShardStore, Storage, Writer};
use crate::tls::{Revoked, Tls};
pub use crate::tls::{TlsError, TlsFiles};
use crate::worker::{Listener, Parts, WAKER, Worker};
pub use bitts_store::StoreError;

/// Where a server can be reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Listeners {
    /// MQTT over TCP.
    pub mqtt: Option<SocketAddr>,
    /// MQTT over TLS.
    pub mqtts: Option<SocketAddr>,
    /// The data plane, MQTT over WebSocket, health and metrics.
    pub http: Option<SocketAddr>,
    /// The same over TLS, and MQTT by ALPN.
    pub https: Option<SocketAddr>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on, for instance because its port is in use.
    #[error("cannot listen for {listener} on {address}: {source}")]
    Listen {
        /// `mqtt`, `mqtts`, `http` or `https`.
        listener: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A listener with TLS has no certificate to show.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Who may do what cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What is kept cannot be read or written.
    #[error(transparent)]
    Storage(#[from] bitts_store::StoreError),
    /// The system gives no thread or no poll.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A server to be started.
#[derive(Debug)]
pub struct Server;

/// A server that runs; [`Running::stop`] ends it.
#[derive(Debug)]
pub struct Running {
    listeners: Listeners,
    mesh: Mesh,
    shards: Vec<JoinHandle<io::Result<()>>>,
    writer: Option<Writer>,
    http: http::Running,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Starts every thread and returns once connections are accepted.
    pub fn start(config: &Config) -> Result<Running, StartError> {
        let threads = threads(config.threads);
        let count = usize::from(threads);
        let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let clock = if config.test_clock { Clock::movable() } else { Clock::new() };
        // Nothing listens before everything is known.
        let Foundation { mesh, polls, shards, writer, directory, identify } =
            Foundation::lay(config, threads, clock, tls.as_deref())?;
        let (identify, inquired) = identify;
        let mqtt = listen_shared("mqtt", config.mqtt, count)?;
        let mqtts = listen_shared("mqtts", config.mqtts.filter(|_| tls.is_some()), count)?;
        let http = listen("http", config.http)?;
        let https = listen("https", config.https.filter(|_| tls.is_some()))?;
        let listeners = Listeners {
            mqtt: mqtt.first().map(local_addr).transpose()?,
            mqtts: mqtts.first().map(local_addr).transpose()?,
            http: http.as_ref().map(local_addr).transpose()?,
            https: https.as_ref().map(local_addr).transpose()?,
        };
        let counters = Arc::new(Counters::new(config, writer.as_ref()));
        let is_proxied = config.proxy_protocol;
        let mut sockets = spread(count, mqtt, None, is_proxied);
        for (shard, more) in sockets.iter_mut().zip(spread(count, mqtts, tls.as_ref(), is_proxied))
        {
            shard.extend(more);
        }
        let parts = (clock, identify);
        let shards = start_shards(config, &mesh, polls, (shards, sockets), &counters, parts)?;
        let fronts = http.map(|socket| (socket, None));
        let fronts = fronts.into_iter().chain(https.map(|socket| (socket, tls.clone())));
        let http = http::start(
            fronts.collect(),
            config,
            mesh.clone(),
            counters,
            (directory, inquired),
            clock,
        )?;
        if let Some(tls) = &tls {
            http.watch_files(Arc::clone(tls));
        }
        if config.profile == bitts_broker::Profile::Open {
            http.publish_sys();
        }
        Ok(Running { listeners, mesh, shards, writer, http, tls })
    }
}

/// What must be known before anything listens.
struct Foundation {
    mesh: Mesh,
    polls: Vec<Poll>,
    shards: Vec<(Shard, ShardStore)>,
    writer: Option<Writer>,
    directory: Arc<Directory>,
    identify: (Option<Inquiries>, Inquired),
}

impl Foundation {
    fn lay(
        config: &Config,
        threads: u8,
        clock: Clock,
        tls: Option<&Tls>,
    ) -> Result<Self, StartError> {
        let storage = Storage::open(config.data_dir.as_deref(), config.durability, clock.now())?;
        let revoked = tls.map(|tls| Arc::clone(tls.revoked())).unwrap_or_default();
        let (mesh, polls) = mesh(storage.placement(threads), usize::from(threads), revoked)?;
        let is_enforced = config.auth == Auth::Enforce;
        let stored = stored(config)?;
        let registry = is_enforced.then(|| Arc::clone(&stored.registry));
        let directory = Arc::new(Directory::new(stored, mesh.clone(), is_enforced));
        let (inquiries, inquired) = inquiries();
        let identify = (is_enforced.then_some(inquiries), inquired);
        let mut shards = make_shards(config, &mesh, registry.as_ref());
        let (stores, writer) = storage.begin(&mut shards, clock.now(), &mesh)?;
        let shards = shards.into_iter().zip(stores).collect();
        Ok(Self { mesh, polls, shards, writer, directory, identify })
    }
}

/// Who there is and what they may do.
fn stored(config: &Config) -> Result<Stored, StartError> {
    let scope = ArnScope::new("aws", &config.region, &config.account)
        .map_err(|error| StartError::Thread(io::Error::other(error)))?;
    Ok(Stored::open(config.data_dir.as_deref(), scope, config)?)
}

/// One socket for each shard, or none.
fn listen_shared(
    listener: &'static str,
    address: Option<SocketAddr>,
    count: usize,
) -> Result<Vec<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(Vec::new()) };
    listen::listen_shared(address, count).map_err(|source| StartError::Listen {
        listener,
        address,
        source,
    })
}

fn listen(
    listener: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    listen::listen(address).map(Some).map_err(|source| StartError::Listen {
        listener,
        address,
        source,
    })
}

/// Each shard's part of the sockets of one listener.
fn spread(
    count: usize,
    sockets: Vec<TcpListener>,
    tls: Option<&Arc<Tls>>,
    is_proxied: bool,
) -> Vec<Vec<Listener>> {
    let mut sockets = sockets.into_iter();
    let next = |_| sockets.next().map(|socket| Listener::new(socket, tls.cloned(), is_proxied));
    (0..count).map(next).map(Vec::from_iter).collect()
}

impl Running {
    /// The addresses with their real ports.
    #[must_use]
    pub const fn listeners(&self) -> Listeners {
        self.listeners
    }

    /// Reads certificate and key again, for new connections, and what is revoked, for all; where
    /// one of the files is bad, everything stays as it is. Says whether there is TLS at all.
    pub fn reload_certificates(&self) -> Result<bool, TlsError> {
        let Some(tls) = &self.tls else { return Ok(false) };
        tls.reload()?;
        self.mesh.look_for_revoked();
        Ok(true)
    }

    /// Moves the clock forward, where [`Config::test_clock`] lets it; when this returns, what
    /// became due has happened.
    pub fn advance(&self, by: std::time::Duration) {
        self.http.advance(by);
    }

    /// Stops accepting, finishes what was accepted, tells MQTT 5 clients 0x8B, and returns when
    /// everything is closed.
    pub fn stop(self) {
        self.http.stop_accepting();
        self.mesh.shut_down();
        for shard in self.shards {
            match shard.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a shard ended"),
                Err(_) => tracing::error!("a shard panicked"),
            }
        }
        self.http.stop();
        if let Some(writer) = self.writer {
            writer.stop();
        }
    }
}

fn local_addr(listener: &TcpListener) -> io::Result<SocketAddr> {
    listener.local_addr()
}

fn threads(configured: u8) -> u8 {
    if configured > 0 {
        return configured.min(SHARDS_MAX);
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u8::try_from(cores).unwrap_or(SHARDS_MAX).min(SHARDS_MAX)
}

fn mesh(
    placement: Placement,
    count: usize,
    revoked: Arc<Revoked>,
) -> io::Result<(Mesh, Vec<Poll>)> {
    let polls = (0..count).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let inboxes = polls
        .iter()
        .map(|poll| Ok(Inbox::new(Waker::new(poll.registry(), WAKER)?)))
        .collect::<io::Result<Vec<_>>>()?;
    let interest = Arc::new(Interest::new(&placement));
    Ok((Mesh { inboxes: inboxes.into(), placement, interest, revoked }, polls))
}

fn make_shards(config: &Config, mesh: &Mesh, registry: Option<&Arc<Registry>>) -> Vec<Shard> {
    let (core_limits, _) = memory::divide(config);
    let limits = core_limits.per_shard(mesh.placement.shards());
    let make = |number| {
        let interest = Arc::clone(&mesh.interest);
        let shard = Shard::new(ShardId(number), mesh.placement, limits.clone(), interest)
            .with_profile(config.profile)
            .with_rates(config.rates.clone());
        match registry {
            Some(registry) => shard.with_registry(Arc::clone(registry)),
            None => shard,
        }
    };
    (0..mesh.placement.shards()).map(make).collect()
}

fn start_shards(
    config: &Config,
    mesh: &Mesh,
    polls: Vec<Poll>,
    (shards, sockets): (Vec<(Shard, ShardStore)>, Vec<Vec<Listener>>),
    counters: &Arc<Counters>,
    (clock, identify): (Clock, Option<Inquiries>),
) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
    let (_, server_limits) = memory::divide(config);
    let limits = Arc::new(server_limits);
    let mut threads = Vec::new();
    let parts = shards.into_iter().zip(polls.into_iter().zip(sockets));
    for (number, ((shard, store), (poll, listeners))) in (0_u8..).zip(parts) {
        let worker = Worker::new(Parts {
            shard,
            store,
            id: ShardId(number),
            mesh: mesh.clone(),
            poll,
            listeners,
            clock,
            limits: Arc::clone(&limits),
            packet_bytes_max: config.limits.packet_bytes_max,
            profile: config.profile,
            counters: Arc::clone(counters),
            identify: identify.clone(),
        })?;
        let thread = std::thread::Builder::new().name(format!("shard-{number}"));
        threads.push(thread.spawn(move || worker.run())?);
    }
    Ok(threads)
}
