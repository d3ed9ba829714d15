//! HTTP/1.1 to one endpoint over connections that are kept alive.
//!
//! A connection carries one request at a time and goes back to the pool when its response was read
//! to the end. The pool holds at most [`IDLE_CONNECTIONS_MAX`]; what is more is closed.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::RESPONSE_BYTES_MAX;
use super::error::TransportError;
use crate::url::ServerUrl;

/// Idle connections of one endpoint.
const IDLE_CONNECTIONS_MAX: usize = 16;

type Sender = SendRequest<Full<Bytes>>;

/// One endpoint and its idle connections.
pub(super) struct Pool {
    endpoint: ServerUrl,
    tls: Option<TlsConnector>,
    connect_timeout: Duration,
    idle: Mutex<Vec<Sender>>,
}

impl Pool {
    pub(super) fn new(
        endpoint: ServerUrl,
        tls: Option<Arc<rustls::ClientConfig>>,
        connect_timeout: Duration,
    ) -> Self {
        let tls = tls.map(TlsConnector::from);
        Self { endpoint, tls, connect_timeout, idle: Mutex::default() }
    }

    pub(super) fn endpoint(&self) -> &ServerUrl {
        &self.endpoint
    }

    /// Sends a request and reads its response.
    ///
    /// A kept connection that the server closed meanwhile is no failure: where nothing of the
    /// request left, it goes over another connection.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, TransportError> {
        loop {
            let (mut sender, is_kept) = match self.take_idle() {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            if let Err(error) = sender.ready().await {
                if is_kept {
                    continue;
                }
                return Err(TransportError::Broken(error));
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await;
                    let body = body.map_err(body_error)?.to_bytes();
                    self.put_idle(sender);
                    return Ok(Response::from_parts(head, body));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(TransportError::Broken(error.into_error())),
                },
            }
        }
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn put_idle(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !sender.is_closed() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(sender);
        }
    }

    async fn connect(&self) -> Result<Sender, TransportError> {
        let failed =
            |source| TransportError::Connect { endpoint: self.endpoint.authority.clone(), source };
        match timeout(self.connect_timeout, self.handshake()).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn handshake(&self) -> io::Result<Sender> {
        let stream = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => spawn(TokioIo::new(stream)).await,
            Some(tls) => {
                let name = ServerName::try_from(self.endpoint.host.clone());
                let name = name.map_err(io::Error::other)?;
                spawn(TokioIo::new(tls.connect(name, stream).await?)).await
            }
        }
    }
}

/// Starts the task that drives a connection until either side closes it.
async fn spawn<S>(stream: S) -> io::Result<Sender>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(stream).await.map_err(io::Error::other)?;
    let connection: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(connection);
    // How it ends is told to the request that it carries.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> TransportError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => TransportError::Broken(*error),
        Err(error) => {
            debug_assert!(error.is::<LengthLimitError>(), "the only other error of a body");
            TransportError::TooLarge
        }
    }
}
