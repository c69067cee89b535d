//! Free ports, and the listening sockets that the supervisor holds.

use anyhow::{Context, Result, bail};
use rand::Rng;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

/// Connections that may wait while a member starts again.
const BACKLOG: i32 = 4096;

/// Gives out ports, free ones or a block.
///
/// Free ones are looked for below the kernel's range for outgoing connections: a member's port must still be free when
/// it starts again, and an outgoing connection of anybody could take one inside that range meanwhile.
pub struct Ports {
    base: Option<u16>,
    given: HashSet<u16>,
    range: std::ops::Range<u16>,
}

impl Ports {
    /// Ports from `base` on, or free ones.
    pub fn new(base: Option<u16>) -> Result<Ports> {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let ephemeral = text
            .split_whitespace()
            .next()
            .and_then(|low| low.parse().ok())
            .unwrap_or(32_768);
        let range = if ephemeral > 14_000 {
            10_000..ephemeral
        } else {
            10_000..60_000
        };
        Ok(Ports {
            base,
            given: HashSet::new(),
            range,
        })
    }

    /// Port of the n-th name server.
    pub fn name_server(&mut self, n: usize) -> Result<u16> {
        match self.base {
            Some(base) => Ok(base + n as u16),
            None => self.free(&[0]),
        }
    }

    /// Client and peer port of the n-th member; the port two below the client port serves clients too.
    pub fn member(&mut self, n: usize) -> Result<(u16, u16)> {
        let first = match self.base {
            Some(base) => base + 10 * (n as u16 + 1),
            None => self.free(&[0, 2, 3])?,
        };
        Ok((first + 2, first + 3))
    }

    /// A port p with every p + offset free.
    fn free(&mut self, offsets: &[u16]) -> Result<u16> {
        for _ in 0..10_000 {
            let first = rand::rng().random_range(self.range.start..self.range.end - 10);
            let wanted: Vec<u16> = offsets.iter().map(|offset| first + offset).collect();
            if wanted.iter().all(|port| !self.given.contains(port) && is_free(*port)) {
                self.given.extend(wanted);
                return Ok(first);
            }
        }
        bail!("no free ports between {} and {}", self.range.start, self.range.end)
    }
}

/// A free port for a server of another kind, chosen as those of members are.
pub fn free_port() -> Result<u16> {
    Ports::new(None)?.name_server(0)
}

fn is_free(port: u16) -> bool {
    // Bound to all addresses, so that a program that listens on another one of this machine counts too.
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// Opens a client socket to hold and hand down.
pub fn hold(address: SocketAddrV4) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    rustix::net::listen(&listener, BACKLOG).with_context(|| format!("listen on {address}"))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_can_be_held() {
        let mut ports = Ports::new(None).unwrap();
        let (a, peer) = ports.member(0).unwrap();
        let (b, _) = ports.member(1).unwrap();
        assert!(a != b && peer == a + 1);
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, a);
        let held = hold(address).unwrap();
        assert!(!is_free(a));
        drop(held);
        assert!(hold(address).is_ok());
    }
}
