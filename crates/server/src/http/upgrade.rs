//! From an HTTP request for `/mqtt` to a connection of a shard that speaks MQTT over WebSocket.
//!
//! What is asked is checked by RFC 6455 §4.2.1; hyper answers 101, then socket and TLS state move
//! to a shard. The subprotocol is `mqtt` and must be offered [MQTT-6.0.0-3].

use std::sync::atomic::{AtomicUsize, Ordering};

use bitts_aws::error::{ApiError, ErrorKind};
use bitts_broker::ShardId;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Front;
use super::answer::{Answer, Trace};
use super::guard::Guard;
use super::listener::Peer;
use crate::clock::Clock;
use crate::conn::Conn;
use crate::layers::Layers;
use crate::mesh::{Mail, Mesh};

/// Where WebSocket connections begin.
pub(super) const PATH: &str = "/mqtt";

/// Which shard greets the next one; its CONNECT then decides who owns it.
static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Front {
    pub(super) fn upgrade(&self, mut request: Request<Incoming>, trace: &Trace) -> Answer {
        let answer = match check(&request) {
            Err((status, message)) => {
                let error = ApiError::new(ErrorKind::InvalidRequest, message);
                let answer = Answer::error(&error, trace).with_status(status);
                if status == StatusCode::UPGRADE_REQUIRED {
                    let answer = answer.with_header(SEC_WEBSOCKET_VERSION, "13");
                    answer.with_header(UPGRADE, "websocket")
                } else {
                    answer
                }
            }
            Ok(key) => {
                let key = tungstenite::handshake::derive_accept_key(key.as_bytes());
                let (mesh, clock) = (self.mesh.clone(), self.clock);
                let upgraded = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    match upgraded.await {
                        Ok(upgraded) => hand_over(upgraded, &mesh, clock),
                        Err(error) => tracing::debug!(%error, "an upgrade broke"),
                    }
                });
                Answer::switching(&key, trace)
            }
        };
        self.counters.answered(None, answer.status());
        answer
    }
}

/// The key of a valid handshake, or what it lacks.
fn check(request: &Request<Incoming>) -> Result<String, (StatusCode, &'static str)> {
    let headers = request.headers();
    if request.method() != Method::GET || request.version() < Version::HTTP_11 {
        return Err((StatusCode::BAD_REQUEST, "A WebSocket begins with GET in HTTP/1.1"));
    }
    if !has_token(headers, UPGRADE, "websocket") || !has_token(headers, CONNECTION, "upgrade") {
        return Err((StatusCode::UPGRADE_REQUIRED, "The path speaks WebSocket only"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "The version of WebSocket is 13"));
    }
    if !has_token(headers, SEC_WEBSOCKET_PROTOCOL, "mqtt") {
        return Err((StatusCode::BAD_REQUEST, "The subprotocol is mqtt"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key.to_str().ok(),
        _ => None,
    };
    // Sixteen bytes in base64.
    let is_key = |key: &&str| key.len() == 24 && key.ends_with("==");
    let key = key.filter(is_key).ok_or((StatusCode::BAD_REQUEST, "There is no WebSocket key"))?;
    Ok(key.to_owned())
}

/// Whether one of the header's comma-separated words is this one, in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// Moves an upgraded connection, in TLS or not, to a shard.
fn hand_over(upgraded: Upgraded, mesh: &Mesh, clock: Clock) {
    match upgraded.downcast::<TokioIo<Guard<TcpStream>>>() {
        Ok(parts) => {
            let peer = parts.io.into_inner().into_peer();
            move_to_shard(peer, Layers::websocket(None), &parts.read_buf, mesh, clock);
        }
        Err(upgraded) => {
            let Ok(parts) = upgraded.downcast::<TokioIo<Guard<TlsStream<TcpStream>>>>() else {
                tracing::error!("an upgraded connection is of another kind");
                return;
            };
            let Peer { stream, source } = parts.io.into_inner().into_peer();
            let (stream, tls) = stream.into_inner();
            let layers = Layers::websocket(Some(Box::new(tls)));
            move_to_shard(Peer { stream, source }, layers, &parts.read_buf, mesh, clock);
        }
    }
}

/// Moves a connection to a shard; `early` was read of it, below the WebSocket.
pub(super) fn move_to_shard(
    peer: Peer<TcpStream>,
    mut layers: Layers,
    early: &[u8],
    mesh: &Mesh,
    clock: Clock,
) {
    let Peer { stream, source } = peer;
    let stream = match stream.into_std() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "an upgraded connection is gone");
            return;
        }
    };
    let stream = mio::net::TcpStream::from_std(stream);
    let mut early = early.to_vec();
    let len = layers.take_frames(&mut early);
    early.truncate(len);
    let mut conn = Conn::new(stream, source, Some(Box::new(layers)), clock.now().moment);
    conn.partial = early;
    let shards = mesh.inboxes.len();
    let shard = ShardId((NEXT.fetch_add(1, Ordering::Relaxed) % shards) as u8);
    if let Some(inbox) = mesh.inbox(shard) {
        inbox.send(&mut vec![Mail::Conn(Box::new(conn))]);
    }
}
