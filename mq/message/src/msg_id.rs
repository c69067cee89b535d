//! Message ids: the broker's (address and commit log offset) and the client's (unique key). Both are upper-case hex.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::CommitLogOffset;

/// Why an offset message id cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an offset message id: 32 or 56 hex digits are needed")]
pub struct MsgIdError;

/// The broker's message id: address and port of the store host, then the commit log offset.
pub fn offset_id(store_host: SocketAddr, offset: CommitLogOffset) -> String {
    let mut id = String::with_capacity(56);
    push_offset_id(&mut id, store_host, offset);
    id
}

/// Appends [`offset_id`] to a text (a batch is answered with ids joined by commas).
pub fn push_offset_id(out: &mut String, store_host: SocketAddr, offset: CommitLogOffset) {
    push_ip(out, store_host.ip());
    push_hex(out, &u32::from(store_host.port()).to_be_bytes());
    push_hex(out, &offset.get().to_be_bytes());
}

/// Reads [`offset_id`] back: the broker's address and the commit log offset.
pub fn parse_offset_id(id: &str) -> Result<(SocketAddr, CommitLogOffset), MsgIdError> {
    let mut bytes = [0u8; 28];
    let bytes = match id.len() {
        32 => &mut bytes[..16],
        56 => &mut bytes[..],
        _ => return Err(MsgIdError),
    };
    for (byte, pair) in bytes.iter_mut().zip(id.as_bytes().chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).ok_or(MsgIdError);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    let (ip, rest) = bytes.split_at(bytes.len() - 12);
    let ip = match <[u8; 4]>::try_from(ip) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).map_err(|_| MsgIdError)?)),
    };
    let port = u32::from_be_bytes(rest[..4].try_into().map_err(|_| MsgIdError)?);
    let offset = u64::from_be_bytes(rest[4..].try_into().map_err(|_| MsgIdError)?);
    let port = u16::try_from(port).map_err(|_| MsgIdError)?;
    Ok((SocketAddr::new(ip, port), CommitLogOffset(offset)))
}

/// Makes the client's message ids (property `UNIQ_KEY`):
/// address (4 or 16), process id (2), hash (4), ms since the month began (4), counter (2).
#[derive(Debug)]
pub struct UniqueKeys {
    prefix: String,
    counter: AtomicU16,
}

impl UniqueKeys {
    /// `ip` of this machine, the process id's lower 16 bits, and a number that tells this maker from others of the same
    /// process (Java takes a class loader's hash; take a random one).
    pub fn new(ip: IpAddr, pid: u16, hash: u32) -> Self {
        let mut prefix = String::with_capacity(44);
        push_ip(&mut prefix, ip);
        push_hex(&mut prefix, &pid.to_be_bytes());
        push_hex(&mut prefix, &hash.to_be_bytes());
        Self {
            prefix,
            counter: AtomicU16::new(0),
        }
    }

    /// The next key. Keys differ as long as fewer than 65,536 are made within one ms.
    pub fn next(&self, now_ms: i64) -> String {
        let mut key = String::with_capacity(self.prefix.len() + 12);
        key.push_str(&self.prefix);
        let since = now_ms.saturating_sub(month_start_ms(now_ms)) as u32;
        push_hex(&mut key, &since.to_be_bytes());
        push_hex(&mut key, &self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        key
    }
}

/// When the month (UTC) that holds `now_ms` began, unix ms.
pub fn month_start_ms(now_ms: i64) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    let days = now_ms.div_euclid(DAY_MS);
    // Days to civil date, counted in eras of 400 years that begin on 1 March (the usual algorithm).
    let day_of_era = (days + 719_468).rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5;
    (days - day_of_month) * DAY_MS
}

fn push_ip(out: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => push_hex(out, &ip.octets()),
        IpAddr::V6(ip) => push_hex(out, &ip.octets()),
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
}
