//! The bounds on bytes and sockets before and around the core; the core's are in
//! `bitts_broker::Limits`.

use std::time::Duration;

/// The bounds of one server; the defaults are those of the `open` profile.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Largest CONNECT, in bytes. Default 384 KiB: its five longest strings and properties. Larger:
    /// close without an answer.
    pub connect_bytes_max: usize,
    /// Bytes that all connections without a complete CONNECT hold, in bytes. Default 16 MiB. At the
    /// limit the one that holds most is closed.
    pub greeting_bytes_max: usize,
    /// Connections without a complete CONNECT. Default 2,048. At the limit the oldest is closed.
    pub greetings_max: usize,
    /// Of these from one address that is not loopback. Default 256. At the limit the new one is
    /// closed.
    pub greetings_per_address_max: usize,
    /// From accept to a complete CONNECT. Default 10 s. Later: close.
    pub connect_timeout: Duration,
    /// To finish a packet once it is begun, plus one second for each KiB of it. Default 30 s.
    /// Later: close, counted as `packet_too_slow`.
    pub packet_timeout: Duration,
    /// Unwritten bytes of a connection above which its client gets no QoS 0 messages and nothing of
    /// its queue. Default 256 KiB.
    pub write_bytes_max: usize,
    /// Unwritten bytes of all connections. Default 1 GiB. Above it a connection counts as slow from
    /// 16 KiB on.
    pub unwritten_bytes_max: usize,
    /// Bytes of packets that were begun and not finished, of all connections. Default 1 GiB. At the
    /// limit the client that holds most is put off, counted as `unread_bytes`.
    pub unread_bytes_max: usize,
    /// Without a byte taken although there are some to send. Default 60 s. Later: close, counted as
    /// `not_reading`.
    pub stall_timeout: Duration,
    /// To take the last packet and close after the server said goodbye. Default 1 s. Later: reset.
    pub linger: Duration,
    /// For connections to end when the server stops. Default 5 s. Later: reset.
    pub drain_timeout: Duration,
    /// Bytes that an MQTT client may send in a second. Default 0: no limit. What it sends more
    /// waits in its socket.
    pub throughput_max: u32,
    /// HTTP connections. Default 2,048: over TLS 7 to 9 KiB each before a request. At the limit a
    /// new one waits to be accepted.
    pub http_connections_max: usize,
    /// Bytes of an HTTP request's head. Default 32 KiB. At the limit 431.
    pub http_head_bytes_max: usize,
    /// Header fields of an HTTP request. Default 64. At the limit 431.
    pub http_headers_max: usize,
    /// Bytes of the path of an HTTP request. Default 8 KiB. At the limit 400.
    pub http_path_bytes_max: usize,
    /// Bytes of an HTTP request's body. Default 256 KiB. At the limit 413.
    pub http_body_bytes_max: usize,
    /// Bytes of `audit.log`. Default 64 MiB. At the limit another one is begun.
    pub audit_bytes_max: u64,
    /// Earlier files of the audit log. Default 10. At the limit the oldest is removed.
    pub audit_files_max: u32,
    /// For the head of an HTTP request, and for its body. Default 10 s each. Later: close, 408.
    pub http_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connect_bytes_max: 384 << 10,
            greeting_bytes_max: 16 << 20,
            greetings_max: 2_048,
            greetings_per_address_max: 256,
            connect_timeout: Duration::from_secs(10),
            packet_timeout: Duration::from_secs(30),
            write_bytes_max: 256 << 10,
            unwritten_bytes_max: 1 << 30,
            unread_bytes_max: 1 << 30,
            stall_timeout: Duration::from_mins(1),
            linger: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(5),
            throughput_max: 0,
            http_connections_max: 2_048,
            http_head_bytes_max: 32 << 10,
            http_headers_max: 64,
            http_path_bytes_max: 8 << 10,
            http_body_bytes_max: 256 << 10,
            audit_bytes_max: 64 << 20,
            audit_files_max: 10,
            http_timeout: Duration::from_secs(10),
        }
    }
}
