//! Bitts in a test: a server of one's own, in the process, on free ports, with a clock that can be
//! moved.
//!
//! ```
//! let server = bitts::TestServer::start();
//! let mqtt = std::net::TcpStream::connect(server.mqtt()).expect("it accepts");
//! assert!(server.endpoint_url().starts_with("http://127.0.0.1:"));
//! server.advance(std::time::Duration::from_hours(1));
//! drop((mqtt, server)); // It ends here.
//! ```

use std::net::SocketAddr;
use std::time::Duration;

pub use bitts_server::Config;
use bitts_server::{Running, Server};

/// A server that runs until it is dropped. Everything is in memory.
#[derive(Debug)]
pub struct TestServer {
    mqtt: SocketAddr,
    http: SocketAddr,
    running: Option<Running>,
}

impl TestServer {
    /// Starts one with [`TestServer::config`].
    ///
    /// # Panics
    ///
    /// Where the machine has no port or no thread left: a test cannot go on without.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&Self::config())
    }

    /// Starts one as configured; `mqtt` and `http` have to be on.
    ///
    /// # Panics
    ///
    /// As [`TestServer::start`], and where the configuration cannot be started.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test cannot go on without its server")]
    pub fn start_with(config: &Config) -> Self {
        let running = Server::start(config).expect("a server for a test");
        let listeners = running.listeners();
        Self {
            mqtt: listeners.mqtt.expect("a listener for MQTT"),
            http: listeners.http.expect("a listener for HTTP"),
            running: Some(running),
        }
    }

    /// MQTT and HTTP on free ports of the loopback, two shards, a clock that can be moved, and ends
    /// of connections that wait for nobody.
    #[must_use]
    pub fn config() -> Config {
        let free = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut config =
            Config { mqtt: free, http: free, threads: 2, test_clock: true, ..Config::default() };
        config.server_limits.linger = Duration::from_millis(50);
        config.server_limits.drain_timeout = Duration::from_millis(200);
        config
    }

    /// Where MQTT clients connect.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where HTTP is: the data plane, and MQTT over WebSocket at `/mqtt`.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// What AWS's SDKs take as their endpoint.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Moves the server's time forward; when this returns, what became due has happened.
    pub fn advance(&self, by: Duration) {
        if let Some(running) = &self.running {
            running.advance(by);
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}
