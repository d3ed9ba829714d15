//! Accepting HTTP connections: who they are, TLS, and then requests until one side has enough.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::authenticate::Door;
use super::guard::{Guard, Watch};
use super::{Front, upgrade};
use crate::descriptors;
use crate::layers::Layers;
use crate::metrics::Refusal;
use crate::proxy::Preamble;
use crate::tls::{ALPN_MQTT, ALPN_MQTT_CERTIFICATE, Tls};

/// A connection without a request is kept this long.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
/// How long nothing is accepted after the system had no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection, and who is at its other end.
#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) stream: S,
    /// The client's address, as a proxy tells it where there is one.
    pub(super) source: SocketAddr,
}

impl Peer<TcpStream> {
    /// Reads the header of the PROXY protocol, if there is to be one.
    async fn introduced(mut self, is_proxied: bool, front: &Front) -> Option<Self> {
        if !is_proxied {
            return Some(self);
        }
        let reading = async {
            let mut preamble = Preamble::default();
            let mut buffer = [0; 256];
            loop {
                let wanted = preamble.wanted().min(buffer.len());
                let room = buffer.get_mut(..wanted)?;
                let read = self.stream.read(room).await.ok().filter(|read| *read > 0)?;
                if let Some(source) = preamble.take(room.get(..read)?, self.source).ok()? {
                    return Some(source);
                }
            }
        };
        let source = tokio::time::timeout(front.limits.http_timeout, reading).await.ok().flatten();
        if source.is_none() {
            front.counters.refuse(Refusal::NotProxied);
        }
        source.map(|source| Self { source, ..self })
    }
}

/// One listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    /// Connections begin with a TLS handshake, whose ALPN says what they speak.
    pub(super) tls: Option<Arc<Tls>>,
    /// Connections begin with a header of the PROXY protocol.
    pub(super) is_proxied: bool,
    /// One permit for each connection.
    pub(super) room: Arc<Semaphore>,
    pub(super) front: Arc<Front>,
}

impl Listener {
    /// Accepts until the server stops.
    pub(super) async fn accept(self, mut stopped: watch::Receiver<bool>) {
        loop {
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop_is_asked(&mut stopped) => return,
            };
            match accepted.and_then(descriptors::admit) {
                Ok((stream, source)) => {
                    let (front, tls) = (Arc::clone(&self.front), self.tls.clone());
                    let (stopped, is_proxied) = (stopped.clone(), self.is_proxied);
                    tokio::spawn(async move {
                        let peer = Peer { stream, source };
                        match (peer.introduced(is_proxied, &front).await, tls) {
                            (None, _) => {}
                            (Some(peer), None) => {
                                let door = Door {
                                    source: peer.source,
                                    local_port: local_port(&peer.stream),
                                    is_secure: false,
                                    certificate: None,
                                };
                                serve(peer, door, front, stopped).await;
                            }
                            (Some(peer), Some(tls)) => {
                                shake_hands(peer, front, &tls, stopped).await;
                            }
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

fn local_port(stream: &TcpStream) -> u16 {
    stream.local_addr().map_or(0, |address| address.port())
}

/// Speaks HTTP until either side has enough.
async fn serve<S>(peer: Peer<S>, door: Door, front: Arc<Front>, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (watch, door) = (Arc::new(Watch::default()), Arc::new(door));
    let io = TokioIo::new(Guard::new(peer, Arc::clone(&watch), front.limits.http_timeout));
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
                let door = Arc::clone(&door);
                async move {
                    let response = front.answer(request, &watch, &door).await;
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

/// TLS first; then MQTT goes to a shard, and everything else is HTTP.
async fn shake_hands(
    peer: Peer<TcpStream>,
    front: Arc<Front>,
    tls: &Tls,
    stopped: watch::Receiver<bool>,
) {
    let Peer { stream, source } = peer;
    let accepting = TlsAcceptor::from(tls.all()).accept(stream);
    let stream = match tokio::time::timeout(front.limits.http_timeout, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake broke"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    if matches!(stream.get_ref().1.alpn_protocol(), Some(ALPN_MQTT | ALPN_MQTT_CERTIFICATE)) {
        let (stream, tls) = stream.into_inner();
        let layers = Layers::tls(Box::new(tls));
        let peer = Peer { stream, source };
        upgrade::move_to_shard((peer, None), layers, &[], &front.mesh, front.clock);
    } else {
        let (tcp, tls) = stream.get_ref();
        let certificate = tls.peer_certificates().and_then(|chain| chain.first());
        let door = Door {
            source,
            local_port: local_port(tcp),
            is_secure: true,
            certificate: certificate.cloned(),
        };
        serve(Peer { stream, source }, door, front, stopped).await;
    }
}
