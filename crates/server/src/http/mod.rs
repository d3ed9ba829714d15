//! The HTTP listener: connections, and which part answers a request.
//!
//! hyper reads and writes; the raw path decides ([`data_plane`], [`admin`]). Everything that is known
//! about a client, topic or session is asked of its shard through [`Mesh`]; nothing is kept here.

mod admin;
mod answer;
mod data_plane;
mod guard;
mod upgrade;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bitts_aws::error::{ApiError, ErrorKind};
use hyper::body::Incoming;
use hyper::header::{HOST, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use self::answer::{Answer, Response, Trace};
use self::guard::{Guard, Watch};
use crate::clock::Clock;
use crate::config::{Config, ServerLimits};
use crate::layers::Layers;
use crate::mesh::Mesh;
use crate::metrics::Counters;
use crate::tls::{ALPN_MQTT, ALPN_MQTT_CERTIFICATE, Tls};

/// Threads of the runtime.
const THREADS: usize = 2;
/// A connection without a request is kept this long.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
/// How often files are looked at for changes.
const FILES_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// How long nothing is accepted after the system had no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every request may use.
#[derive(Debug)]
pub(crate) struct Front {
    mesh: Mesh,
    counters: Arc<Counters>,
    limits: ServerLimits,
    clock: Clock,
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
    clock: Clock,
) -> io::Result<Running> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("http")
        .enable_all()
        .build()?;
    let limits = config.server_limits.clone();
    let is_stopping = AtomicBool::new(false);
    let front = Arc::new(Front { mesh, counters, limits, clock, is_stopping });
    let (stopping, stopped) = watch::channel(false);
    let inside = runtime.enter();
    let room = Arc::new(Semaphore::new(front.limits.http_connections_max));
    for (listener, tls) in listeners {
        let listener = Listener {
            socket: TcpListener::from_std(listener)?,
            tls,
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
    /// Certificate and key are read again when their files change.
    pub(crate) fn watch_files(&self, tls: Arc<Tls>) {
        self.runtime.spawn(async move {
            let mut seen = tls.files().fingerprint();
            loop {
                tokio::time::sleep(FILES_LOOKED_AT_EVERY).await;
                let now = tls.files().fingerprint();
                if now != seen {
                    seen = now;
                    match tls.reload() {
                        Ok(()) => tracing::info!("the certificate was read again"),
                        Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
                    }
                }
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

/// One listening socket.
#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    /// Connections begin with a TLS handshake, whose ALPN says what they speak.
    tls: Option<Arc<Tls>>,
    room: Arc<Semaphore>,
    front: Arc<Front>,
}

impl Listener {
    async fn accept(self, mut stopped: watch::Receiver<bool>) {
        loop {
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop_is_asked(&mut stopped) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (front, tls) = (Arc::clone(&self.front), self.tls.clone());
                    let stopped = stopped.clone();
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, front, stopped).await,
                            Some(tls) => front.shake_hands(stream, &tls, stopped).await,
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept HTTP connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn stop_is_asked(stopped: &mut watch::Receiver<bool>) {
    // Whoever would ask is gone: the same.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

async fn serve<S>(stream: S, front: Arc<Front>, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Arc::new(Watch::default());
    let io = TokioIo::new(Guard::new(stream, Arc::clone(&watch), front.limits.http_timeout));
    let limits = &front.limits;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(limits.http_head_bytes_max)
        .max_headers(limits.http_headers_max)
        .serve_connection(
            io,
            service_fn(|request| {
                let (front, watch) = (Arc::clone(&front), Arc::clone(&watch));
                async move {
                    let response = front.answer(request, &watch).await;
                    watch.end();
                    Ok::<_, Infallible>(response)
                }
            }),
        )
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop_is_asked(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}

impl Front {
    /// TLS first; then MQTT goes to a shard, and everything else is HTTP.
    async fn shake_hands(
        self: Arc<Self>,
        stream: TcpStream,
        tls: &Tls,
        stopped: watch::Receiver<bool>,
    ) {
        let accepting = TlsAcceptor::from(tls.all()).accept(stream);
        let stream = match tokio::time::timeout(self.limits.http_timeout, accepting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake broke"),
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        };
        if matches!(stream.get_ref().1.alpn_protocol(), Some(ALPN_MQTT | ALPN_MQTT_CERTIFICATE)) {
            let (stream, tls) = stream.into_inner();
            let layers = Layers::tls(Box::new(tls));
            upgrade::move_to_shard(stream, layers, &[], &self.mesh, self.clock);
        } else {
            serve(stream, self, stopped).await;
        }
    }

    /// Answers one request. What is not ours is the data plane's, so unknown paths get AWS's 404.
    async fn answer(&self, request: Request<Incoming>, watch: &Watch) -> Response {
        let trace = Trace::new();
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let has_two_lengths = watch.begin() && is_chunked;
        if has_two_lengths || !has_one_host(&request) {
            let message = "The request can be read in more than one way";
            self.counters.answered(None, 400);
            return Answer::error(&ApiError::new(ErrorKind::InvalidRequest, message), &trace)
                .closing()
                .into_response();
        }
        let answer = if request.uri().path().len() > self.limits.http_path_bytes_max {
            let message = "The path is longer than 8 KiB";
            Answer::error(&ApiError::new(ErrorKind::InvalidRequest, message), &trace)
        } else if request.uri().path() == upgrade::PATH {
            self.upgrade(request, &trace)
        } else if admin::owns(request.uri().path()) {
            let answer = self.admin(&request, &trace).await;
            self.counters.answered(None, answer.status());
            answer
        } else {
            self.data_plane(request, &trace).await
        };
        if is_chunked { answer.closing().into_response() } else { answer.into_response() }
    }
}

/// HTTP/1.1 asks for exactly one `Host`.
fn has_one_host(request: &Request<Incoming>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11)
}
