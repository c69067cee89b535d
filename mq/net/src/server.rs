//! The listening side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mq_base::env::net::{TcpListener, TcpStream};
use mq_base::env::random::HashMap;
use mq_base::env::{clock, task};
use mq_base::stop::Stop;
use mq_remoting::Command;
use parking_lot::Mutex;

use crate::connection::{CloseReason, Connection};
use crate::counters::{Counters, Counts};
use crate::driver::{Socket, drive};
use crate::options::{ServerOptions, TlsMode};
use crate::tls::{Acceptor, TlsError};

/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Pause after a failed accept: most often the process has no descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What a server does with requests. Called on the connection's task: must not block.
pub trait Service: Send + Sync + 'static {
    /// A request came. The service answers when it likes, with [`Connection::respond`]; requests marked one-way are
    /// never answered, all others always (or [`Connection::forget`] is called), because they count as in flight.
    fn call(&self, connection: &Arc<Connection>, command: Command);

    /// All requests of one read have been given to [`Service::call`].
    fn batch_end(&self, connection: &Arc<Connection>) {
        let _ = connection;
    }

    /// A connection is up.
    fn opened(&self, connection: &Arc<Connection>) {
        let _ = connection;
    }

    /// A connection has ended; there will be no more calls for it.
    fn closed(&self, connection: &Arc<Connection>, reason: CloseReason) {
        let _ = (connection, reason);
    }
}

/// A server: options, connections and counters, for one or several listeners.
pub struct Server {
    options: ServerOptions,
    service: Arc<dyn Service>,
    acceptor: Option<Acceptor>,
    counters: Arc<Counters>,
    open: AtomicUsize,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
}

impl Server {
    /// Reads the certificate, if one is asked for.
    pub fn new(options: ServerOptions, service: Arc<dyn Service>) -> Result<Arc<Server>, TlsError> {
        let acceptor = match options.tls.mode {
            TlsMode::Disabled => None,
            TlsMode::Permissive | TlsMode::Enforcing => Some(Acceptor::new(&options.tls)?),
        };
        Ok(Arc::new(Server {
            options,
            service,
            acceptor,
            counters: Arc::default(),
            open: AtomicUsize::new(0),
            connections: Mutex::default(),
        }))
    }

    /// Accepts connections until `stop`; then answers what is in flight, for at most `drain_timeout`, and closes them.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, stop: Stop) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.wait() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.accepted(stream, stop.clone()),
                Err(error) => {
                    tracing::warn!(%error, "accept a connection");
                    clock::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        drop(listener);
        self.drain().await;
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Connections open now.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.connections.lock().values().cloned().collect()
    }

    fn accepted(self: &Arc<Self>, stream: TcpStream, stop: Stop) {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.options.connections_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            Counters::add(&self.counters.refused, 1);
            return;
        }
        let server = self.clone();
        task::spawn("connection", async move {
            server.run(stream, &stop).await;
            server.open.fetch_sub(1, Ordering::Relaxed);
        });
    }

    async fn run(&self, mut stream: TcpStream, stop: &Stop) {
        // A peer that is gone already has no address; there is nobody to talk to.
        let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
            return;
        };
        let secure = tokio::select! { biased;
            // Nothing has been asked yet, so nothing is owed.
            () = stop.wait() => return,
            secure = self.is_secure(&mut stream) => secure,
        };
        let secure = match secure {
            Ok(secure) => secure,
            Err(reason) => {
                Counters::add(&self.counters.handshake_failures, 1);
                tracing::debug!(%peer, reason, "connection refused");
                return;
            }
        };
        // A client must notice the end of this process by an error: Java clients before 5.0 take an orderly end of a
        // connection for nothing, and let what waits on it run into its time-out (30 s for a pull).
        let _ = stream.reset_on_close(true);
        let connection = Connection::new(peer, local, self.options.limits, self.counters.clone());
        let Some(acceptor) = self.acceptor.as_ref().filter(|_| secure) else {
            return self.drive(stream, connection).await;
        };
        match clock::timeout(self.options.handshake_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.drive(stream, connection).await,
            Ok(Err(error)) => {
                Counters::add(&self.counters.handshake_failures, 1);
                tracing::debug!(%peer, %error, "TLS handshake");
            }
            Err(clock::Elapsed) => Counters::add(&self.counters.handshake_failures, 1),
        }
    }

    /// Whether the other side begins a TLS handshake. Without TLS nothing is looked at: a handshake then reads as an
    /// oversized frame.
    async fn is_secure(&self, stream: &mut TcpStream) -> Result<bool, &'static str> {
        if self.acceptor.is_none() {
            return Ok(false);
        }
        let mut first = [0; 1];
        match clock::timeout(self.options.limits.idle_timeout, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => Ok(true),
            Ok(Ok(1)) if self.options.tls.mode == TlsMode::Permissive => Ok(false),
            Ok(Ok(1)) => Err("plain text where TLS is enforced"),
            Ok(_) => Err("closed before the first byte"),
            Err(clock::Elapsed) => Err("no first byte in time"),
        }
    }

    async fn drive<S: Socket>(&self, stream: S, connection: Arc<Connection>) {
        self.connections.lock().insert(connection.id(), connection.clone());
        drive(stream, &connection, &self.service).await;
        self.connections.lock().remove(&connection.id());
    }

    async fn drain(&self) {
        let deadline = clock::now() + self.options.drain_timeout;
        self.connections().iter().for_each(|connection| connection.drain());
        while self.open.load(Ordering::Relaxed) > 0 && clock::now() < deadline {
            clock::sleep(Duration::from_millis(5)).await;
        }
        let late = self.connections();
        if !late.is_empty() {
            tracing::warn!(
                connections = late.len(),
                "closing connections whose requests were not answered in time"
            );
            late.iter()
                .for_each(|connection| connection.close(CloseReason::Stopped));
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({} connections)", self.open.load(Ordering::Relaxed))
    }
}
