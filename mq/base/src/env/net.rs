//! TCP: tokio's sockets in production, turmoil's in the simulator.

use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock;

/// Accepts connections.
#[derive(Debug)]
pub enum TcpListener {
    /// A socket of this machine.
    Real(tokio::net::TcpListener),
    /// A socket of the simulator.
    #[cfg(feature = "sim")]
    Sim(SimListener),
}

/// A connection. Nagle's delay is off.
#[derive(Debug)]
pub enum TcpStream {
    /// A socket of this machine.
    Real(tokio::net::TcpStream),
    /// A socket of the simulator.
    #[cfg(feature = "sim")]
    Sim(turmoil::net::TcpStream),
}

/// The reading half of a connection.
#[derive(Debug)]
pub enum OwnedReadHalf {
    /// A socket of this machine.
    Real(tokio::net::tcp::OwnedReadHalf),
    /// A socket of the simulator.
    #[cfg(feature = "sim")]
    Sim(turmoil::net::tcp::OwnedReadHalf),
}

/// The writing half of a connection. Dropping it sends end-of-stream.
#[derive(Debug)]
pub enum OwnedWriteHalf {
    /// A socket of this machine.
    Real(tokio::net::tcp::OwnedWriteHalf),
    /// A socket of the simulator.
    #[cfg(feature = "sim")]
    Sim(turmoil::net::tcp::OwnedWriteHalf),
}

/// A listener of the simulator.
#[cfg(feature = "sim")]
pub struct SimListener(turmoil::net::TcpListener);

#[cfg(feature = "sim")]
impl std::fmt::Debug for SimListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimListener")
    }
}

/// Connects to `addr` (`host:port`), giving up after `timeout`.
pub async fn connect(addr: &str, timeout: Duration) -> io::Result<TcpStream> {
    let connecting = async {
        #[cfg(feature = "sim")]
        if super::is_simulated() {
            return connect_simulated(addr).await;
        }
        let stream = tokio::net::TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(TcpStream::Real(stream))
    };
    match clock::timeout(timeout, connecting).await {
        Ok(connected) => connected,
        Err(clock::Elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(feature = "sim")]
async fn connect_simulated(addr: &str) -> io::Result<TcpStream> {
    use super::sim::{self, Reach};
    let reach = || sim::current().and_then(|world| world.reach(addr));
    if reach() == Some(Reach::Refused) {
        clock::sleep(Duration::from_millis(1)).await;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    if reach() == Some(Reach::Silent) {
        std::future::pending::<()>().await;
    }
    match turmoil::net::TcpStream::connect(addr).await {
        Err(_) if reach() == Some(Reach::Silent) => std::future::pending().await,
        connected => connected.map(TcpStream::Sim),
    }
}

impl TcpListener {
    /// Listens on `addr` (`ip:port`; port 0 picks a free one).
    pub async fn bind(addr: &str) -> io::Result<TcpListener> {
        #[cfg(feature = "sim")]
        if super::is_simulated() {
            return turmoil::net::TcpListener::bind(addr)
                .await
                .map(|l| TcpListener::Sim(SimListener(l)));
        }
        tokio::net::TcpListener::bind(addr).await.map(TcpListener::Real)
    }

    /// Takes a socket that already listens, for instance from a supervisor.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener).map(TcpListener::Real)
    }

    /// The next connection. Errors are of the connection or of the process (no descriptors left), not of the listener:
    /// wait a little and try again.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            TcpListener::Real(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((TcpStream::Real(stream), peer))
            }
            #[cfg(feature = "sim")]
            TcpListener::Sim(listener) => {
                let (stream, peer) = listener.0.accept().await?;
                Ok((TcpStream::Sim(stream), peer))
            }
        }
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            TcpListener::Real(listener) => listener.local_addr(),
            #[cfg(feature = "sim")]
            TcpListener::Sim(listener) => listener.0.local_addr(),
        }
    }
}

impl TcpStream {
    /// Splits into halves that different tasks may own.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        match self {
            TcpStream::Real(stream) => {
                let (read, write) = stream.into_split();
                (OwnedReadHalf::Real(read), OwnedWriteHalf::Real(write))
            }
            #[cfg(feature = "sim")]
            TcpStream::Sim(stream) => {
                let (read, write) = stream.into_split();
                (OwnedReadHalf::Sim(read), OwnedWriteHalf::Sim(write))
            }
        }
    }

    /// Looks at the next bytes without taking them; 0 means end of stream.
    pub async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            TcpStream::Real(stream) => stream.peek(buf).await,
            #[cfg(feature = "sim")]
            TcpStream::Sim(stream) => stream.peek(buf).await,
        }
    }

    /// Whether closing this connection, by whatever end of the process, resets it instead of ending it in order: the other
    /// side then learns of it by an error.
    pub fn reset_on_close(&self, reset: bool) -> io::Result<()> {
        match self {
            TcpStream::Real(stream) => {
                let linger = reset.then_some(Duration::ZERO);
                Ok(rustix::net::sockopt::set_socket_linger(stream, linger)?)
            }
            #[cfg(feature = "sim")]
            TcpStream::Sim(_) => Ok(()),
        }
    }

    /// Our address on this connection.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            TcpStream::Real(stream) => stream.local_addr(),
            #[cfg(feature = "sim")]
            TcpStream::Sim(stream) => stream.local_addr(),
        }
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            TcpStream::Real(stream) => stream.peer_addr(),
            #[cfg(feature = "sim")]
            TcpStream::Sim(stream) => stream.peer_addr(),
        }
    }
}

macro_rules! read_through {
    ($type:ident) => {
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $type::Real(io) => Pin::new(io).poll_read(cx, buf),
                    #[cfg(feature = "sim")]
                    $type::Sim(io) => Pin::new(io).poll_read(cx, buf),
                }
            }
        }
    };
}

macro_rules! write_through {
    ($type:ident) => {
        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $type::Real(io) => Pin::new(io).poll_write(cx, buf),
                    #[cfg(feature = "sim")]
                    $type::Sim(io) => Pin::new(io).poll_write(cx, buf),
                }
            }
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $type::Real(io) => Pin::new(io).poll_write_vectored(cx, bufs),
                    #[cfg(feature = "sim")]
                    $type::Sim(io) => Pin::new(io).poll_write_vectored(cx, bufs),
                }
            }
            fn is_write_vectored(&self) -> bool {
                match self {
                    $type::Real(io) => io.is_write_vectored(),
                    #[cfg(feature = "sim")]
                    $type::Sim(io) => io.is_write_vectored(),
                }
            }
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $type::Real(io) => Pin::new(io).poll_flush(cx),
                    #[cfg(feature = "sim")]
                    $type::Sim(io) => Pin::new(io).poll_flush(cx),
                }
            }
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $type::Real(io) => Pin::new(io).poll_shutdown(cx),
                    #[cfg(feature = "sim")]
                    $type::Sim(io) => Pin::new(io).poll_shutdown(cx),
                }
            }
        }
    };
}

read_through!(TcpStream);
read_through!(OwnedReadHalf);
write_through!(TcpStream);
write_through!(OwnedWriteHalf);
