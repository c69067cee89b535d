//! Settings and bounds, each with its reason.

use std::path::PathBuf;
use std::time::Duration;

/// Bounds of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame, in bytes, without its length field. RocketMQ's own bound is 16 MiB.
    pub frame_bytes_max: usize,
    /// Unwritten bytes above which the connection is closed: its reader is too slow.
    pub outbound_bytes_max: usize,
    /// Unwritten bytes above which no more requests are read, so that pipelined pulls cannot pile up answers.
    pub outbound_bytes_pause: usize,
    /// Unanswered requests above which no more are read. Generous, because a client holds one long poll per queue.
    pub in_flight_requests_max: usize,
    /// Bytes of unanswered requests above which no more are read.
    pub in_flight_bytes_max: usize,
    /// Requests of ours that may wait for an answer.
    pub pending_max: usize,
    /// Without a byte in either direction for this long, the connection is closed.
    pub idle_timeout: Duration,
    /// With bytes to write but none accepted for this long, the connection is closed.
    pub write_stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame_bytes_max: 16 << 20,
            outbound_bytes_max: 64 << 20,
            outbound_bytes_pause: 8 << 20,
            in_flight_requests_max: 32_768,
            in_flight_bytes_max: 64 << 20,
            pending_max: 65_536,
            idle_timeout: Duration::from_secs(120),
            write_stall_timeout: Duration::from_secs(60),
        }
    }
}

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Bounds of each connection.
    pub limits: Limits,
    /// Connections above this number are closed as soon as they are accepted.
    pub connections_max: usize,
    /// How long a new connection may take to say its first byte when that byte decides about TLS, and for the handshake.
    pub handshake_timeout: Duration,
    /// How long a stop waits for requests in flight.
    pub drain_timeout: Duration,
    /// TLS on the same port.
    pub tls: ServerTls,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            limits: Limits::default(),
            connections_max: 20_000,
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
            tls: ServerTls::default(),
        }
    }
}

/// RocketMQ's `tls.server.mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Only plain connections.
    #[default]
    Disabled,
    /// The first byte decides.
    Permissive,
    /// Only TLS connections.
    Enforcing,
}

/// TLS of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// Which connections are accepted.
    pub mode: TlsMode,
    /// `tls.server.certPath` and `tls.server.keyPath`, PEM files. None: a self-signed certificate made at start, which
    /// is what RocketMQ's `tls.test.mode.enable` does.
    pub files: Option<(PathBuf, PathBuf)>,
}

/// TLS of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClientTls {
    /// Plain connections.
    #[default]
    Off,
    /// TLS with whatever certificate the server shows (RocketMQ's test mode). Encrypted, not authenticated.
    TrustAny,
    /// TLS with servers whose certificate is signed by one of the authorities in this PEM file.
    CaFile(PathBuf),
}

/// Settings of a client.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Bounds of each connection.
    pub limits: Limits,
    /// How long connecting, handshake included, may take.
    pub connect_timeout: Duration,
    /// Calls that may wait for one connection to come up.
    pub waiting_max: usize,
    /// TLS.
    pub tls: ClientTls,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(3),
            waiting_max: 4096,
            tls: ClientTls::Off,
        }
    }
}
