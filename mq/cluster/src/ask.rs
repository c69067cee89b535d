//! One blocking request to a name server or a broker; a tool needs no connection pool.

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use mq_remoting::Command;
use mq_remoting::frame::Decoder;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Largest answer taken.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Sends a request without a header and answers the body of a successful response.
pub fn body(addr: &str, code: i32, timeout: Duration) -> Result<bytes::Bytes> {
    let address: SocketAddr = addr.parse().with_context(|| format!("read the address {addr}"))?;
    let mut stream = TcpStream::connect_timeout(&address, timeout).with_context(|| format!("connect to {addr}"))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream
        .write_all(&Command::bare_request(code).encode())
        .with_context(|| format!("send to {addr}"))?;
    let decoder = Decoder::new(ANSWER_BYTES_MAX);
    let mut received = BytesMut::new();
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(answer) = decoder.decode(&mut received)? {
            let remark = answer.remark.as_deref().unwrap_or_default();
            ensure!(answer.code == 0, "{addr} answered code {}: {remark}", answer.code);
            return Ok(answer.body);
        }
        let read = stream.read(&mut piece).with_context(|| format!("wait for {addr}"))?;
        ensure!(read > 0, "{addr} closed the connection");
        received.extend_from_slice(&piece[..read]);
    }
}
