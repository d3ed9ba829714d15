//! The data plane over HTTP: one method for each operation, typed both ways.
//!
//! Requests are what AWS's SDKs send, so the same client talks to Bitts and to AWS. With
//! credentials each attempt is signed anew; without, requests go unsigned.
//!
//! What failed for a moment is sent again ([`RetryPolicy`]): statuses 429, 500, 502, 503 and 504,
//! connections that cannot be made or break, and timeouts. So an operation may be carried out
//! twice. A DeleteConnection that finds nothing after an attempt that may have been carried out is
//! done.

mod control;
mod direct;
mod error;
mod pager;
mod retry;
mod shadow;
mod transport;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bitts_aws::api::{
    Connection, DeleteConnection, GetConnection, GetRetainedMessage, HttpRequestParts, Publish,
    RetainedMessage,
};
use bitts_aws::error::ErrorKind;
use bitts_aws::sigv4::{AmzDate, SERVICE_DATA, SignedRequest, Signer, payload_sha256};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::{sleep, timeout};

pub use self::control::ControlCall;
pub use self::error::{
    CallError, DeleteConnectionError, DeleteThingShadowError, GetConnectionError,
    GetRetainedMessageError, GetThingShadowError, ListNamedShadowsForThingError,
    ListRetainedMessagesError, ListSubscriptionsError, PublishError, Refusal,
    SendDirectMessageError, TransportError, UpdateThingShadowError,
};
pub use self::pager::{ListedConnection, Pager, SelectConnections};
pub use self::retry::RetryPolicy;

use self::error::{Failure, refusal};
use self::transport::Pool;
use crate::credentials::{Credentials, Settings, SettingsError};
use crate::tls::{TlsError, TlsOptions};
use crate::url::ServerUrl;

/// Bytes of a response's body. A larger one is [`TransportError::TooLarge`].
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// What stays in a query as it is: A–Z, a–z, 0–9 and `-._~`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the data plane is, who we are, and how long we try.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://host:port` or `https://host:port`.
    pub endpoint_url: Option<String>,
    /// The region that is signed for. Default `us-east-1`.
    pub region: String,
    /// The access key to sign with; `None` sends unsigned.
    pub credentials: Option<Credentials>,
    /// When to send again.
    pub retry: RetryPolicy,
    /// For TCP and TLS together. Default 5 s.
    pub connect_timeout: Duration,
    /// For one attempt, connecting included. Default 30 s.
    pub attempt_timeout: Duration,
    /// TLS of `https`.
    pub tls: TlsOptions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint_url: None,
            region: "us-east-1".to_owned(),
            credentials: None,
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(30),
            tls: TlsOptions::default(),
        }
    }
}

/// Why a configuration makes no client.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Neither an endpoint nor the wish for AWS's.
    #[error("no endpoint URL")]
    NoEndpoint,
    /// Not an `http` or `https` URL of a host and a port.
    #[error("{0:?} is not http://HOST[:PORT] or https://HOST[:PORT]")]
    Endpoint(String),
    /// The TLS options make no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The environment or the shared AWS files.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The file of trusted certificates.
    #[error("{}: {source}", path.display())]
    CaBundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Config {
    /// What AWS's tools would use: endpoint, region and access key from the environment and the
    /// shared files. `profile` is what the user named.
    pub fn from_environment(profile: Option<&str>) -> Result<Self, ConfigError> {
        let settings = Settings::read(profile)?;
        let default = Self::default();
        let roots_pem = match settings.ca_bundle {
            Some(path) => Some(
                std::fs::read(&path).map_err(|source| ConfigError::CaBundle { path, source })?,
            ),
            None => None,
        };
        Ok(Self {
            endpoint_url: settings.endpoint_url,
            region: settings.region.unwrap_or(default.region),
            credentials: settings.credentials,
            tls: TlsOptions { roots_pem, ..TlsOptions::default() },
            ..Self::default()
        })
    }

    /// The same, at AWS's own endpoint of the region.
    #[must_use]
    pub fn at_aws(mut self) -> Self {
        let region = &self.region;
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        self.endpoint_url = Some(format!("https://data-ats.iot.{region}.{domain}"));
        self
    }
}

/// A client of one endpoint. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct DataPlane {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    region: String,
    credentials: Option<Credentials>,
    retry: RetryPolicy,
    attempt_timeout: Duration,
}

/// A successful response.
type Answer = Response<Bytes>;

impl DataPlane {
    /// A client; connects when it is first used.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let url = config.endpoint_url.ok_or(ConfigError::NoEndpoint)?;
        let schemes = [("http", 80, false), ("https", 443, true)];
        let endpoint = ServerUrl::parse(&url, &schemes).ok_or(ConfigError::Endpoint(url))?;
        let tls = if endpoint.is_tls { Some(config.tls.config()?) } else { None };
        let inner = Inner {
            pool: Pool::new(endpoint, tls, config.connect_timeout),
            region: config.region,
            credentials: config.credentials,
            retry: config.retry,
            attempt_timeout: config.attempt_timeout,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Ends a client's connection, and its session if asked.
    ///
    /// Finding nothing after an attempt that may have been carried out counts as done.
    pub async fn delete_connection(
        &self,
        request: &DeleteConnection,
    ) -> Result<(), DeleteConnectionError> {
        let (result, may_be_done) = self.inner.call(&request.encode(), &Bytes::new()).await;
        match result {
            Ok(_) => Ok(()),
            Err(Failure::Refused(ErrorKind::ResourceNotFound, _)) if may_be_done => Ok(()),
            Err(failure) => Err(DeleteConnectionError::from_failure(failure)),
        }
    }

    /// A client's state.
    pub async fn get_connection(
        &self,
        request: &GetConnection,
    ) -> Result<Connection, GetConnectionError> {
        self.inner.ask(&request.encode()).await.map_err(GetConnectionError::from_failure)
    }

    /// Publishes a message. It returns when the server accepted it, not when it was delivered; one
    /// that was sent again may arrive twice.
    pub async fn publish(&self, request: &Publish, payload: Bytes) -> Result<(), PublishError> {
        let (result, _) = self.inner.call(&request.encode(), &payload).await;
        result.map(drop).map_err(PublishError::from_failure)
    }

    /// A topic's retained message.
    pub async fn get_retained_message(
        &self,
        request: &GetRetainedMessage,
    ) -> Result<RetainedMessage, GetRetainedMessageError> {
        self.inner.ask(&request.encode()).await.map_err(GetRetainedMessageError::from_failure)
    }

    /// Asks anything that answers JSON, such as what lies under `/bitts/v1/`.
    ///
    /// `path` is percent-encoded already, names and values of `query` are not.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CallError> {
        let mut parts = get(path.to_owned());
        for (name, value) in query {
            add_parameter(&mut parts, name, value);
        }
        Ok(self.inner.ask(&parts).await?)
    }
}

/// A GET of this path.
fn get(path: String) -> HttpRequestParts {
    HttpRequestParts { method: "GET", path, query: String::new(), headers: Vec::new() }
}

/// Appends a parameter to a request's query.
fn add_parameter(parts: &mut HttpRequestParts, name: &str, value: &str) {
    if !parts.query.is_empty() {
        parts.query.push('&');
    }
    parts.query.extend(utf8_percent_encode(name, ESCAPED));
    parts.query.push('=');
    parts.query.extend(utf8_percent_encode(value, ESCAPED));
}

impl Inner {
    /// Asks, and reads the JSON of the answer.
    async fn ask<T: DeserializeOwned>(&self, parts: &HttpRequestParts) -> Result<T, Failure> {
        let answer = self.call(parts, &Bytes::new()).await.0?;
        let body = serde_json::from_slice(answer.body());
        body.map_err(|error| Failure::Transport(TransportError::Body(error)))
    }

    /// Sends a request until it is answered for good. Says also whether an attempt before the last
    /// one may have been carried out.
    async fn call(
        &self,
        parts: &HttpRequestParts,
        body: &Bytes,
    ) -> (Result<Answer, Failure>, bool) {
        let mut may_be_done = false;
        let mut retry = 0;
        loop {
            let failure = match timeout(self.attempt_timeout, self.attempt(parts, body)).await {
                Ok(Ok(answer)) => return (Ok(answer), may_be_done),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Timeout(self.attempt_timeout),
            };
            if !failure.is_retryable() || retry + 1 >= self.retry.attempts_max {
                return (Err(failure), may_be_done);
            }
            may_be_done |= failure.may_have_been_done();
            sleep(self.retry.backoff(retry, rand::random())).await;
            retry += 1;
        }
    }

    async fn attempt(&self, parts: &HttpRequestParts, body: &Bytes) -> Result<Answer, Failure> {
        let request = self.request(parts, body, SystemTime::now());
        let request =
            request.map_err(|error| Failure::Transport(TransportError::Request(error)))?;
        let response = self.pool.send(request).await.map_err(Failure::Transport)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let (kind, refusal) = refusal(status, response.headers(), response.body());
        Err(Failure::Refused(kind, refusal))
    }

    /// The request as it is sent, signed where there are credentials.
    fn request(
        &self,
        parts: &HttpRequestParts,
        body: &Bytes,
        now: SystemTime,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut headers = vec![("host", self.pool.endpoint().authority.clone())];
        headers.extend(parts.headers.iter().cloned());
        if !body.is_empty() {
            headers.push(("content-type", "application/octet-stream".to_owned()));
        }
        if let Some(credentials) = &self.credentials {
            let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let date = AmzDate::from_unix_seconds(since_1970.as_secs());
            headers.extend(self.sign(credentials, parts, &headers, body, date));
        }
        let user_agent = concat!("bitts-client/", env!("CARGO_PKG_VERSION"));
        headers.push(("user-agent", user_agent.to_owned()));
        let target = match parts.query.as_str() {
            "" => parts.path.clone(),
            query => format!("{}?{query}", parts.path),
        };
        let request = Request::builder().method(parts.method).uri(target);
        let request =
            headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.body(Full::new(body.clone()))
    }

    fn sign(
        &self,
        credentials: &Credentials,
        parts: &HttpRequestParts,
        headers: &[(&'static str, String)],
        body: &Bytes,
        date: AmzDate,
    ) -> Vec<(&'static str, String)> {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let request = SignedRequest {
            method: parts.method,
            path: &parts.path,
            query: &parts.query,
            headers: &headers,
            payload_sha256: payload_sha256(body),
        };
        let signer = Signer {
            access_key_id: &credentials.access_key_id,
            secret_access_key: &credentials.secret_access_key,
            session_token: credentials.session_token.as_deref(),
            region: &self.region,
            service: SERVICE_DATA,
        };
        signer.sign(&request, date)
    }
}
