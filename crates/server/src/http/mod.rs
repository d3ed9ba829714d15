//! The HTTP listener: connections, and which part answers a request.
//!
//! hyper reads and writes; the raw path decides ([`data_plane`], [`admin`]). Everything that is
//! known about a client, topic or session is asked of its shard through [`Mesh`]; nothing is kept
//! here.

mod admin;
mod answer;
mod authenticate;
mod compare;
mod control_plane;
mod data_plane;
mod disconnect;
mod guard;
mod heads;
mod listener;
mod throttle;
mod upgrade;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bitts_aws::error::{ApiError, ErrorKind};
use hyper::body::Incoming;
use hyper::header::{HOST, TRANSFER_ENCODING};
use hyper::{Request, StatusCode, Version};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use self::answer::{Answer, Response, Trace};
use self::authenticate::Door;
pub(crate) use self::control_plane::new_access_key;
use self::disconnect::Operations;
use self::guard::Watch;
use self::heads::Lengths;
use self::listener::Listener;
pub use self::throttle::RequestRates;
use self::throttle::Throttle;
use crate::clock::Clock;
use crate::config::{Config, ServerLimits};
use crate::identify::{Identifier, Inquired};
use crate::mesh::Mesh;
use crate::metrics::Counters;
use crate::registry::Directory;
use crate::sys;
use crate::tls::Tls;

/// Threads of the runtime.
const THREADS: usize = 2;
/// How often files are looked at for changes.
const FILES_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

const IN_DOUBT: &str = "The request can be read in more than one way";

/// What every request may use.
#[derive(Debug)]
pub(crate) struct Front {
    mesh: Mesh,
    counters: Arc<Counters>,
    limits: ServerLimits,
    clock: Clock,
    throttle: Throttle,
    operations: Operations,
    directory: Arc<Directory>,
    pki_dir: Option<PathBuf>,
    identifier: Arc<Identifier>,
    is_stopping: AtomicBool,
}

/// The listener while it runs.
#[derive(Debug)]
pub(crate) struct Running {
    runtime: Runtime,
    front: Arc<Front>,
    stopping: watch::Sender<bool>,
}

/// Starts the listener on a runtime of its own.
pub(crate) fn start(
    listeners: Vec<(std::net::TcpListener, Option<Arc<Tls>>)>,
    config: &Config,
    mesh: Mesh,
    counters: Arc<Counters>,
    (directory, inquired): (Arc<Directory>, Inquired),
    clock: Clock,
) -> io::Result<Running> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("http")
        .enable_all()
        .build()?;
    let limits = config.server_limits.clone();
    let is_stopping = AtomicBool::new(false);
    let throttle = Throttle::new(config.request_rates.clone());
    let identifier = Identifier::new(Arc::clone(&directory), clock, Arc::clone(&counters));
    let identifier = Arc::new(identifier);
    runtime.spawn(Arc::clone(&identifier).run(inquired, mesh.clone()));
    let front = Arc::new(Front {
        mesh,
        counters,
        limits,
        clock,
        throttle,
        operations: Operations::default(),
        directory,
        pki_dir: config.pki_dir.clone(),
        identifier,
        is_stopping,
    });
    let (stopping, stopped) = watch::channel(false);
    let inside = runtime.enter();
    let room = Arc::new(Semaphore::new(front.limits.http_connections_max));
    for (listener, tls) in listeners {
        let listener = Listener {
            socket: TcpListener::from_std(listener)?,
            tls,
            is_proxied: config.proxy_protocol,
            room: Arc::clone(&room),
            front: Arc::clone(&front),
        };
        tokio::spawn(listener.accept(stopped.clone()));
    }
    drop(stopped);
    drop(inside);
    Ok(Running { runtime, front, stopping })
}

impl Running {
    /// Tells `$SYS` what changed, from now on.
    pub(crate) fn publish_sys(&self) {
        self.runtime.spawn(sys::publish(self.front.mesh.clone(), std::time::Instant::now()));
    }

    /// Certificate and key are read again when their files change.
    pub(crate) fn watch_files(&self, tls: Arc<Tls>) {
        let mesh = self.front.mesh.clone();
        self.runtime.spawn(async move {
            let mut seen = tls.files().fingerprint();
            loop {
                tokio::time::sleep(FILES_LOOKED_AT_EVERY).await;
                let now = tls.files().fingerprint();
                if now != seen {
                    seen = now;
                    match tls.reload() {
                        Ok(()) => {
                            tracing::info!("the certificate was read again");
                            mesh.look_for_revoked();
                        }
                        Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
                    }
                }
            }
        });
    }

    /// Moves the clock of a test's server.
    pub(crate) fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.runtime.block_on(async {
            if self.front.advance(millis).await.is_none() {
                tracing::warn!("the clock was not moved");
            }
        });
    }

    /// Requests under way are answered, no new ones are taken.
    pub(crate) fn stop_accepting(&self) {
        self.front.is_stopping.store(true, Ordering::Relaxed);
        self.stopping.send_replace(true);
    }

    /// Ends what is left.
    pub(crate) fn stop(self) {
        self.stop_accepting();
        let drain = self.front.limits.drain_timeout;
        let stopping = self.stopping;
        // Every connection holds a receiver until it is closed.
        self.runtime.block_on(async {
            let closed = tokio::time::timeout(drain, stopping.closed()).await;
            if closed.is_err() {
                tracing::warn!("HTTP connections did not end in time");
            }
        });
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

impl Front {
    /// Answers one request. What is not ours is the data plane's, so unknown paths get AWS's 404.
    async fn answer(&self, request: Request<Incoming>, watch: &Watch, door: &Door) -> Response {
        let trace = Trace::new();
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        if let Some((status, message)) = self.refuse_head(&request, watch.begin()) {
            self.counters.answered(None, status.as_u16());
            return Answer::error(&ApiError::new(ErrorKind::InvalidRequest, message), &trace)
                .with_status(status)
                .closing()
                .into_response();
        }
        let answer = if request.uri().path().len() > self.limits.http_path_bytes_max {
            let message = "The path is longer than 8 KiB";
            Answer::error(&ApiError::new(ErrorKind::InvalidRequest, message), &trace)
        } else if request.uri().path() == upgrade::PATH {
            self.upgrade(request, &trace, door).await
        } else if control_plane::owns(request.method().as_str(), request.uri().path()) {
            let answer = self.control_plane(request, &trace, door).await;
            self.counters.answered(None, answer.status());
            answer
        } else if admin::owns(request.uri().path()) {
            let answer = self.admin(request, &trace, door).await;
            self.counters.answered(None, answer.status());
            answer
        } else {
            self.data_plane(request, &trace, door).await
        };
        let is_upgraded = answer.status() == 101;
        if is_chunked && !is_upgraded { answer.closing() } else { answer }.into_response()
    }

    /// A head that could be read in more than one way, or that is too large.
    fn refuse_head(
        &self,
        request: &Request<Incoming>,
        lengths: Lengths,
    ) -> Option<(StatusCode, &'static str)> {
        let mut encodings = request.headers().get_all(TRANSFER_ENCODING).iter();
        let is_chunked = match (encodings.next(), encodings.next()) {
            (None, _) => false,
            (Some(encoding), None) if encoding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
            (Some(_), _) => return Some((StatusCode::BAD_REQUEST, IN_DOUBT)),
        };
        if lengths.are_in_doubt() || lengths.is_encoded != is_chunked || !has_one_host(request) {
            return Some((StatusCode::BAD_REQUEST, IN_DOUBT));
        }
        let headers = request.headers().iter();
        let bytes: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let is_large = bytes > self.limits.http_head_bytes_max;
        is_large.then_some((
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The header fields are larger than 32 KiB",
        ))
    }
}

/// HTTP/1.1 asks for exactly one `Host`.
fn has_one_host(request: &Request<Incoming>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11)
}
