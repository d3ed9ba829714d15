//! From an HTTP request for `/mqtt` to a connection of a shard that speaks MQTT over WebSocket.
//!
//! What is asked is checked by RFC 6455 §4.2.1; hyper answers 101, then socket and TLS state move
//! to a shard. The subprotocol is `mqtt` and must be offered [MQTT-6.0.0-3].

use std::sync::atomic::{AtomicUsize, Ordering};

use bitts_aws::error::{ApiError, ErrorKind};
use bitts_aws::sigv4;
use bitts_broker::{Proof, ShardId};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::http::request::Parts;
use hyper::upgrade::Upgraded;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Front;
use super::answer::{Answer, Trace};
use super::authenticate::{Door, forbidden, signer};
use super::guard::Guard;
use super::listener::Peer;
use crate::clock::Clock;
use crate::conn::Conn;
use crate::identify::Identified;
use crate::layers::Layers;
use crate::mesh::{Mail, Mesh};

/// Where WebSocket connections begin.
pub(super) const PATH: &str = "/mqtt";

/// Which shard greets the next one; its CONNECT then decides who owns it.
static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Front {
    pub(super) async fn upgrade(
        &self,
        request: Request<Incoming>,
        trace: &Trace,
        door: &Door,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let checked = match check(&head) {
            Ok(key) => Ok((key, self.prove(&head, door).await)),
            Err(refused) => Err(refused),
        };
        let answer = match checked {
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
            // Whoever may not is not let in (contract `mqtt-broker.md` §1.1).
            Ok((_, Err(error))) => Answer::error(&error, trace),
            Ok((key, Ok(proof))) => {
                let key = tungstenite::handshake::derive_accept_key(key.as_bytes());
                let (mesh, clock) = (self.mesh.clone(), self.clock);
                let upgraded = hyper::upgrade::on(Request::from_parts(head, body));
                tokio::spawn(async move {
                    match upgraded.await {
                        Ok(upgraded) => hand_over(upgraded, proof, &mesh, clock),
                        Err(error) => tracing::debug!(%error, "an upgrade broke"),
                    }
                });
                Answer::switching(&key, trace)
            }
        };
        self.counters.answered(None, answer.status());
        answer
    }

    /// Who asks for the connection: by its signature, or by a custom authorizer, if it has one of
    /// them. A key that is not good any more is refused here; a certificate is looked at when its
    /// CONNECT is there, as is a user name.
    async fn prove(&self, head: &Parts, door: &Door) -> Result<Option<Identified>, ApiError> {
        if !self.directory.is_enforced() {
            return Ok(None);
        }
        let registry = self.directory.current();
        let unix_ms = self.clock.now().unix_ms;
        let signer = signer(&registry, head, &[], (sigv4::SERVICES, unix_ms))?;
        let mut found = signer.map(|identity| (identity, None));
        if found.is_none() && door.certificate.is_none() {
            let said = self.ask_authorizer(&registry, head, door).await?;
            found = said.map(|(identity, asked)| (identity, Some(asked)));
        }
        if let Some((identity, _)) = &found {
            registry.standing(identity, Some(unix_ms)).map_err(|_| forbidden())?;
        }
        Ok(found.map(|(identity, asked)| Identified::new(Proof::Identity(identity), asked)))
    }
}

/// The key of a valid handshake, or what it lacks.
fn check(head: &Parts) -> Result<String, (StatusCode, &'static str)> {
    let headers = &head.headers;
    if head.method != Method::GET || head.version < Version::HTTP_11 {
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
fn hand_over(upgraded: Upgraded, proof: Option<Identified>, mesh: &Mesh, clock: Clock) {
    match upgraded.downcast::<TokioIo<Guard<TcpStream>>>() {
        Ok(parts) => {
            let peer = parts.io.into_inner().into_peer();
            move_to_shard((peer, proof), Layers::websocket(None), &parts.read_buf, mesh, clock);
        }
        Err(upgraded) => {
            let Ok(parts) = upgraded.downcast::<TokioIo<Guard<TlsStream<TcpStream>>>>() else {
                tracing::error!("an upgraded connection is of another kind");
                return;
            };
            let Peer { stream, source } = parts.io.into_inner().into_peer();
            let (stream, tls) = stream.into_inner();
            let layers = Layers::websocket(Some(Box::new(tls)));
            let peer = Peer { stream, source };
            move_to_shard((peer, proof), layers, &parts.read_buf, mesh, clock);
        }
    }
}

/// Moves a connection to a shard; `early` was read of it, below the WebSocket.
pub(super) fn move_to_shard(
    (peer, identified): (Peer<TcpStream>, Option<Identified>),
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
    conn.identified = identified.map(Box::new);
    let shards = mesh.inboxes.len();
    let shard = ShardId((NEXT.fetch_add(1, Ordering::Relaxed) % shards) as u8);
    if let Some(inbox) = mesh.inbox(shard) {
        inbox.send(&mut vec![Mail::Conn(Box::new(conn))]);
    }
}
