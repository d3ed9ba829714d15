//! One POST of JSON to a URL, over HTTP or HTTPS, and what it answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// AWS gives a function five seconds.
const BUDGET: Duration = Duration::from_secs(5);
/// Ten documents of 2,048 characters, and room.
const ANSWER_BYTES_MAX: usize = 128 << 10;

/// Posts a body and returns the answer's, if it is a 200 in time.
pub(super) async fn post(url: &str, body: Vec<u8>) -> io::Result<Bytes> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it took longer than 5 seconds");
    tokio::time::timeout(BUDGET, ask(url, body)).await.map_err(late)?
}

async fn ask(url: &str, body: Vec<u8>) -> io::Result<Bytes> {
    let uri: Uri = url.parse().map_err(io::Error::other)?;
    let host = uri.host().ok_or_else(|| io::Error::other("the URL has no host"))?;
    let is_secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(io::Error::other("it is not a URL of http or https")),
    };
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let address = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((address, port)).await?;
    if is_secure {
        let name = ServerName::try_from(address.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(client_config()?).connect(name, stream).await?;
        exchange(stream, &uri, body).await
    } else {
        exchange(stream, &uri, body).await
    }
}

fn client_config() -> io::Result<Arc<ClientConfig>> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

async fn exchange<S>(stream: S, uri: &Uri, body: Vec<u8>) -> io::Result<Bytes>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::post(path)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    driver.abort();
    if status != 200 {
        return Err(io::Error::other(format!("it answered {}", status.as_u16())));
    }
    body.map(Collected::to_bytes).map_err(io::Error::other)
}
