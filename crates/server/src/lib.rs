//! The machine around the core: threads, sockets, HTTP. The only crate with a clock.
//!
//! [`Server::start`] runs one shard on each of some threads ([`worker`]) and the HTTP listener on a
//! small runtime of its own ([`http`]); they talk through [`mesh`].

mod clock;
pub mod config;
mod conn;
mod flush;
mod greet;
mod http;
mod layers;
mod listen;
mod mesh;
mod metrics;
mod read;
mod tls;
mod websocket;
mod worker;
mod write_buffer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use bitts_broker::{Interest, Placement, SHARDS_MAX, Shard, ShardId};
use mio::{Poll, Waker};

use crate::clock::Clock;
pub use crate::config::Config;
use crate::mesh::{Inbox, Mesh};
use crate::metrics::Counters;
use crate::worker::{Listener, Parts, WAKER, Worker};

/// Where a server can be reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Listeners {
    /// MQTT over TCP.
    pub mqtt: Option<SocketAddr>,
    /// The data plane, health and metrics.
    pub http: Option<SocketAddr>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on, for instance because its port is in use.
    #[error("cannot listen for {listener} on {address}: {source}")]
    Listen {
        /// `mqtt` or `http`.
        listener: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
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
    http: Option<http::Running>,
}

impl Server {
    /// Starts every thread and returns once connections are accepted.
    pub fn start(config: &Config) -> Result<Running, StartError> {
        let threads = threads(config.threads);
        let count = usize::from(threads);
        let mqtt = config.mqtt.map(|address| {
            listen::listen_shared(address, count).map_err(|source| StartError::Listen {
                listener: "mqtt",
                address,
                source,
            })
        });
        let mqtt = mqtt.transpose()?;
        let http = config.http.map(|address| {
            listen::listen(address).map_err(|source| StartError::Listen {
                listener: "http",
                address,
                source,
            })
        });
        let http = http.transpose()?;
        let listeners = Listeners {
            mqtt: mqtt.as_ref().and_then(|all| all.first()).map(local_addr).transpose()?,
            http: http.as_ref().map(local_addr).transpose()?,
        };
        let counters = Arc::new(Counters::default());
        let placement = Placement::new((rand::random(), rand::random()), threads);
        let (mesh, polls) = mesh(placement, count)?;
        let clock = Clock::new();
        let shards =
            start_shards(config, &mesh, polls, mqtt.unwrap_or_default(), &counters, clock)?;
        let http =
            http.map(|listener| http::start(listener, config, mesh.clone(), counters, clock));
        Ok(Running { listeners, mesh, shards, http: http.transpose()? })
    }
}

impl Running {
    /// The addresses with their real ports.
    #[must_use]
    pub const fn listeners(&self) -> Listeners {
        self.listeners
    }

    /// Stops accepting, finishes what was accepted, tells MQTT 5 clients 0x8B, and returns when
    /// everything is closed.
    pub fn stop(self) {
        if let Some(http) = &self.http {
            http.stop_accepting();
        }
        self.mesh.shut_down();
        for shard in self.shards {
            match shard.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a shard ended"),
                Err(_) => tracing::error!("a shard panicked"),
            }
        }
        if let Some(http) = self.http {
            http.stop();
        }
    }
}

fn local_addr(listener: &std::net::TcpListener) -> io::Result<SocketAddr> {
    listener.local_addr()
}

fn threads(configured: u8) -> u8 {
    if configured > 0 {
        return configured.min(SHARDS_MAX);
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u8::try_from(cores).unwrap_or(SHARDS_MAX).min(SHARDS_MAX)
}

fn mesh(placement: Placement, count: usize) -> io::Result<(Mesh, Vec<Poll>)> {
    let polls = (0..count).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let inboxes = polls
        .iter()
        .map(|poll| Ok(Inbox::new(Waker::new(poll.registry(), WAKER)?)))
        .collect::<io::Result<Vec<_>>>()?;
    let interest = Arc::new(Interest::new(&placement));
    Ok((Mesh { inboxes: inboxes.into(), placement, interest }, polls))
}

fn start_shards(
    config: &Config,
    mesh: &Mesh,
    polls: Vec<Poll>,
    listeners: Vec<std::net::TcpListener>,
    counters: &Arc<Counters>,
    clock: Clock,
) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
    let limits = Arc::new(config.server_limits.clone());
    let shard_limits = config.limits.clone().per_shard(mesh.placement.shards());
    let mut listeners = listeners.into_iter();
    let mut shards = Vec::new();
    for (number, poll) in (0_u8..).zip(polls) {
        let id = ShardId(number);
        let interest = Arc::clone(&mesh.interest);
        let worker = Worker::new(Parts {
            shard: Shard::new(id, mesh.placement, shard_limits.clone(), interest),
            id,
            mesh: mesh.clone(),
            poll,
            listeners: listeners
                .next()
                .map(|socket| Listener::new(socket, None))
                .into_iter()
                .collect(),
            clock,
            limits: Arc::clone(&limits),
            packet_bytes_max: config.limits.packet_bytes_max,
            counters: Arc::clone(counters),
        })?;
        let thread = std::thread::Builder::new().name(format!("shard-{number}"));
        shards.push(thread.spawn(move || worker.run())?);
    }
    Ok(shards)
}
