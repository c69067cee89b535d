//! Settings of a client and their defaults, which are RocketMQ's unless a comment says otherwise.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use mq_base::env::random;
use mq_net::ClientTls;

/// Settings shared by all producers and consumers of a [`crate::ClientInstance`].
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Name servers, `host:port`. Taken from `NAMESRV_ADDR` by [`ClientConfig::from_env`].
    pub name_servers: Vec<String>,
    /// Part of the client id; unique within a machine.
    pub instance_name: String,
    /// Address of this machine as others see it: part of the client id and of message ids.
    pub client_ip: IpAddr,
    /// How often routes are fetched again. They are also fetched at once when a connection fails.
    pub poll_name_server_interval: Duration,
    /// How often brokers hear that we are alive. They forget a client after 120 s.
    pub heartbeat_interval: Duration,
    /// How often consumer offsets are written.
    pub persist_consumer_offset_interval: Duration,
    /// How often queues are divided again; also at once when the group changes.
    pub rebalance_interval: Duration,
    /// Timeout of requests to name servers, and of heartbeats.
    pub api_timeout: Duration,
    /// TLS towards brokers and name servers; off.
    pub tls: ClientTls,
    /// Where broadcasting consumers keep their offsets.
    pub offset_dir: std::path::PathBuf,
}

impl ClientConfig {
    /// Settings for these name servers, divided by `;`.
    pub fn new(name_servers: &str) -> Self {
        Self {
            name_servers: name_servers
                .split([';', ','])
                .map(str::trim)
                .filter(|server| !server.is_empty())
                .map(str::to_owned)
                .collect(),
            instance_name: format!("{}#{:x}", std::process::id(), random::u64()),
            client_ip: local_ip(),
            poll_name_server_interval: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
            persist_consumer_offset_interval: Duration::from_secs(5),
            rebalance_interval: Duration::from_secs(20),
            api_timeout: Duration::from_secs(3),
            tls: ClientTls::Off,
            offset_dir: offset_dir(),
        }
    }

    /// Settings for the name servers in the environment variable `NAMESRV_ADDR`; none if it is not set.
    pub fn from_env() -> Option<Self> {
        std::env::var("NAMESRV_ADDR")
            .ok()
            .map(|servers| Self::new(&servers))
            .filter(|config| !config.name_servers.is_empty())
    }

    /// `ip@instance`, the name brokers know us by.
    pub fn client_id(&self) -> String {
        format!("{}@{}", self.client_ip, self.instance_name)
    }
}

/// The address this machine would use towards the outside; nothing is sent. Loopback if there is none.
fn local_ip() -> IpAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if mq_base::env::is_simulated() {
        return loopback;
    }
    UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        })
        .map_or(loopback, |addr| addr.ip())
}

fn offset_dir() -> std::path::PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_else(|| ".".into());
    std::path::Path::new(&home).join(".rocketmq_offsets")
}
