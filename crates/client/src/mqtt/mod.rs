//! MQTT 3.1.1 and 5 over one connection: TCP or TLS, or any stream by [`connect_over`].
//!
//! There is no automatic reconnect: a session that is to go on is resumed by connecting again with
//! `clean_start: false`. What waited for the server when a connection ended fails with
//! [`RequestError::Ended`]; whether the server got it is not known.

mod check;
mod driver;
mod error;
mod handshake;
mod options;
mod session;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub use bitts_mqtt::{
    PacketId, ProtocolVersion, QoS, ReasonCode, RetainHandling, SubscriptionOptions,
};

pub use self::error::{ConnectError, End, Invalid, RequestError};
pub use self::options::{
    Acknowledge, Answered, ConnAck, ConnectOptions, Disconnect, Filter, Message, MessageProperties,
    Publish, Published, UserPropertyList, Will,
};

use self::driver::{Channels, Command, Driver, Waiter};
use self::session::Session;
use crate::tls::TlsOptions;
use crate::url::ServerUrl;

/// Requests of one connection that may wait for the server. Further ones wait for a place.
const REQUESTS_MAX: usize = 1024;

/// Calls on their way to the connection's task.
const COMMANDS_MAX: usize = 64;

/// Where a server is.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// Host name or address; IPv6 without brackets. With TLS also the name that is verified.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How to do TLS; `None` is plain TCP.
    pub tls: Option<TlsOptions>,
}

/// Not an `mqtt` or `mqtts` URL of a host and a port.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")]
pub struct EndpointError(pub String);

impl Endpoint {
    /// Reads `mqtt://host[:1883]` or `mqtts://host[:8883]`; the latter with default TLS options.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let schemes = [("mqtt", 1883, false), ("mqtts", 8883, true)];
        let Some(ServerUrl { host, port, is_tls, .. }) = ServerUrl::parse(url, &schemes) else {
            return Err(EndpointError(url.to_owned()));
        };
        Ok(Self { host, port, tls: is_tls.then(TlsOptions::default) })
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connected {
    /// To act.
    pub client: Client,
    /// What the server delivers.
    pub incoming: Incoming,
    /// What the server answered to CONNECT.
    pub connack: ConnAck,
}

/// Opens a connection; returns when the server accepted CONNECT.
pub async fn connect(
    endpoint: &Endpoint,
    options: ConnectOptions,
) -> Result<Connected, ConnectError> {
    in_time(&options, async {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &endpoint.tls else { return greet(stream, &options).await };
        let name = ServerName::try_from(endpoint.host.clone()).map_err(std::io::Error::other)?;
        let connector = TlsConnector::from(tls.config()?);
        greet(connector.connect(name, stream).await?, &options).await
    })
    .await
}

/// Opens a connection over a stream that is there already.
pub async fn connect_over<S>(stream: S, options: ConnectOptions) -> Result<Connected, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    in_time(&options, greet(stream, &options)).await
}

async fn in_time(
    options: &ConnectOptions,
    connecting: impl Future<Output = Result<Connected, ConnectError>>,
) -> Result<Connected, ConnectError> {
    match timeout(options.timeout, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(ConnectError::Timeout(options.timeout)),
    }
}

/// CONNECT, CONNACK, and the task that goes on from there.
async fn greet<S>(mut stream: S, options: &ConnectOptions) -> Result<Connected, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connect = handshake::connect_bytes(options).map_err(ConnectError::Invalid)?;
    stream.write_all(&connect).await?;
    stream.flush().await?;
    let mut received = BytesMut::new();
    let connack = loop {
        match handshake::read_connack(options, &received).map_err(ConnectError::Ended)? {
            Some((connack, len)) => {
                received.advance(len);
                break connack;
            }
            None => match stream.read_buf(&mut received).await {
                Ok(0) => return Err(ConnectError::Ended(End::Closed)),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Err(ConnectError::Ended(End::Closed));
                }
                Err(error) => return Err(error.into()),
            },
        }
    };
    if connack.reason_code.is_error() {
        return Err(ConnectError::Refused(Box::new(connack)));
    }
    let (commands, to_driver) = mpsc::channel(COMMANDS_MAX);
    let (from_driver, messages) = mpsc::channel(options.incoming_max.max(1));
    let (end, ended) = watch::channel(None);
    let channels = Channels { commands: to_driver, incoming: from_driver, ended: end };
    let session = Session::new(options, &connack, Instant::now());
    tokio::spawn(Driver::new(stream, session, received, channels).run());
    let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
    Ok(Connected {
        client: Client { commands, requests, ended },
        incoming: Incoming { messages },
        connack,
    })
}

/// Acts on a connection. Cheap to clone.
///
/// The connection is closed without DISCONNECT, so the Will is published, when all clones and the
/// [`Incoming`] are dropped. A call that is dropped while it waits is carried out all the same.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    requests: Arc<Semaphore>,
    ended: watch::Receiver<Option<End>>,
}

impl Client {
    /// Publishes a message. Returns when the server has it: after PUBACK (QoS 1) or PUBCOMP
    /// (QoS 2); for QoS 0 when it is queued for the socket.
    pub async fn publish(&self, publish: Publish) -> Result<Published, RequestError> {
        let answer = self.request(|waiter| Command::Publish(publish, waiter)).await?;
        let Answered { codes, reason_string, user_properties } = answer;
        let reason_code = codes.first().copied().unwrap_or(ReasonCode::Success);
        Ok(Published { reason_code, reason_string, user_properties })
    }

    /// Subscribes. Returns with one code for each filter, which may be refusals.
    pub async fn subscribe(&self, filters: &[Filter]) -> Result<Answered, RequestError> {
        self.request(|waiter| Command::Subscribe(filters.to_vec(), None, waiter)).await
    }

    /// Subscribes with a Subscription Identifier, 1 to 268,435,455.
    pub async fn subscribe_with_identifier(
        &self,
        filters: &[Filter],
        identifier: u32,
    ) -> Result<Answered, RequestError> {
        self.request(|waiter| Command::Subscribe(filters.to_vec(), Some(identifier), waiter)).await
    }

    /// Ends subscriptions. Returns with one code for each filter.
    pub async fn unsubscribe(&self, filters: &[&str]) -> Result<Answered, RequestError> {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        self.request(|waiter| Command::Unsubscribe(filters, waiter)).await
    }

    /// Acknowledges a message, with [`Acknowledge::ByCaller`]. One that is not owed is passed over.
    pub async fn acknowledge(
        &self,
        packet_id: PacketId,
        reason_code: ReasonCode,
    ) -> Result<(), RequestError> {
        let sent = self.commands.send(Command::Acknowledge(packet_id, reason_code)).await;
        if sent.is_ok() { Ok(()) } else { Err(RequestError::Ended(self.ended().await)) }
    }

    /// Sends DISCONNECT and closes. Returns when it is done, with how the connection ended; it may
    /// have ended otherwise before.
    pub async fn disconnect(&self, disconnect: Disconnect) -> End {
        drop(self.commands.send(Command::Disconnect(disconnect)).await);
        self.ended().await
    }

    /// Closes without DISCONNECT, as a client that is lost: its Will is published.
    pub async fn abort(&self) -> End {
        drop(self.commands.send(Command::Abort).await);
        self.ended().await
    }

    /// Waits until the connection ended, and says how.
    pub async fn ended(&self) -> End {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        // The task said nothing: the runtime that it ran on is gone.
        end.unwrap_or(End::Aborted)
    }

    async fn request(
        &self,
        command: impl FnOnce(Waiter) -> Command,
    ) -> Result<Answered, RequestError> {
        let permit = Arc::clone(&self.requests).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (reply, answer) = oneshot::channel();
        // A command that cannot be sent comes back and goes at once, with its reply.
        let sent = self.commands.send(command(Waiter { reply, permit })).await.is_ok();
        match (sent, answer.await) {
            (true, Ok(result)) => result,
            _ => Err(RequestError::Ended(self.ended().await)),
        }
    }
}

/// The messages of a connection, in the order in which the server sent them.
///
/// When [`ConnectOptions::incoming_max`] wait here, the socket is not read, and so no answer to a
/// call arrives: take messages, or drop this to have them acknowledged and dropped.
#[derive(Debug)]
pub struct Incoming {
    messages: mpsc::Receiver<Message>,
}

impl Incoming {
    /// The next message; `None` when the connection ended and all were taken.
    pub async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    /// A message that is there already.
    pub fn try_next(&mut self) -> Option<Message> {
        self.messages.try_recv().ok()
    }
}
