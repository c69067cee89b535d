//! The client side: one connection per address, made when first needed, with many calls in flight.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mq_base::env::clock::{self, Instant};
use mq_base::env::net::{self, TcpStream};
use mq_base::env::random::HashMap;
use mq_base::env::task::Spawner;
use mq_remoting::{Command, code};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::connection::{CloseReason, Connection};
use crate::counters::{Counters, Counts};
use crate::driver::drive;
use crate::options::ClientOptions;
use crate::pending::{InvokeError, Waiter};
use crate::server::Service;
use crate::tls::{Connector, TlsError};

/// Calls that wait for a connection are checked for their deadlines this often.
const WAITING_CHECK: Duration = Duration::from_millis(20);

/// What a client does with requests of the server, and with the news of its connections. Called on the connection's
/// task: must not block.
pub trait Inbound: Send + Sync + 'static {
    /// The server at `addr` asks something. Must be answered unless it is one-way. By default it is refused.
    fn call(&self, addr: &str, connection: &Arc<Connection>, command: Command) {
        let _ = addr;
        if !command.is_oneway() {
            let code = code::response::REQUEST_CODE_NOT_SUPPORTED;
            let remark = format!(" request type {} not supported", command.code);
            connection.respond(Command::error(&command, code, remark));
        }
    }

    /// A connection to `addr` is up.
    fn opened(&self, addr: &str, connection: &Arc<Connection>) {
        let _ = (addr, connection);
    }

    /// The connection to `addr` is gone; its calls have been failed already.
    fn closed(&self, addr: &str, reason: CloseReason) {
        let _ = (addr, reason);
    }
}

/// Refuses all requests.
impl Inbound for () {}

/// A pool of connections. Clones share it; the last one dropped closes them.
#[derive(Debug, Clone)]
pub struct Remoting(Arc<Pool>);

struct Pool {
    shared: Arc<PoolShared>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    spawner: Spawner,
    stopped: AtomicBool,
}

/// What connections need of the pool.
struct PoolShared {
    options: ClientOptions,
    connector: Option<Connector>,
    inbound: Arc<dyn Inbound>,
    counters: Arc<Counters>,
}

/// One address.
struct Slot {
    addr: String,
    pool: Arc<PoolShared>,
    state: Mutex<State>,
}

enum State {
    Idle,
    Connecting(Vec<Call>),
    Open(Arc<Connection>),
}

struct Call {
    command: Command,
    waiter: Waiter,
    deadline: Instant,
}

impl Remoting {
    /// An empty pool. Its tasks run on the current runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(options: ClientOptions, inbound: Arc<dyn Inbound>) -> Result<Remoting, TlsError> {
        let connector = Connector::new(&options.tls)?;
        let shared = Arc::new(PoolShared {
            options,
            connector,
            inbound,
            counters: Arc::default(),
        });
        Ok(Remoting(Arc::new(Pool {
            shared,
            slots: Mutex::default(),
            spawner: Spawner::current(),
            stopped: AtomicBool::new(false),
        })))
    }

    /// Sends a request to `addr` (`host:port`) and waits for its answer, connecting first if need be.
    pub async fn invoke(&self, addr: &str, command: Command, timeout: Duration) -> Result<Command, InvokeError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(addr, command, Waiter::Task(sender), timeout);
        receiver.await.unwrap_or(Err(InvokeError::Lost))
    }

    /// Sends a request; `callback` gets its answer, on the connection's task or on this one, and must not block.
    pub fn send_async(
        &self,
        addr: &str,
        command: Command,
        timeout: Duration,
        callback: impl FnOnce(Result<Command, InvokeError>) + Send + 'static,
    ) {
        self.submit(addr, command, Waiter::Callback(Box::new(callback)), timeout);
    }

    /// Sends a request that wants no answer. `Ok` means: put on the connection's way out.
    pub async fn oneway(&self, addr: &str, command: Command, timeout: Duration) -> Result<(), InvokeError> {
        self.invoke(addr, command.oneway(), timeout).await.map(|_| ())
    }

    /// The open connection to `addr`, if there is one.
    pub fn connection(&self, addr: &str) -> Option<Arc<Connection>> {
        let slot = self.0.slots.lock().get(addr).cloned()?;
        match &*slot.state.lock() {
            State::Open(connection) if !connection.is_closed() => Some(connection.clone()),
            _ => None,
        }
    }

    /// Addresses with an open connection.
    pub fn addresses(&self) -> Vec<String> {
        let addrs: Vec<String> = self.0.slots.lock().keys().cloned().collect();
        addrs
            .into_iter()
            .filter(|addr| self.connection(addr).is_some())
            .collect()
    }

    /// Closes the connection to `addr` and forgets the address.
    pub fn close(&self, addr: &str) {
        let slot = self.0.slots.lock().remove(addr);
        if let Some(slot) = slot {
            slot.close();
        }
    }

    /// Closes all connections; later calls fail at once.
    pub fn shutdown(&self) {
        self.0.stop();
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        self.0.shared.counters.read()
    }

    fn submit(&self, addr: &str, command: Command, waiter: Waiter, timeout: Duration) {
        if self.0.stopped.load(Ordering::Acquire) {
            return waiter.complete(Err(InvokeError::NotSent));
        }
        let slot = self.0.slot(addr);
        let call = Call {
            command,
            waiter,
            deadline: clock::now() + timeout,
        };
        let mut state = slot.state.lock();
        match &mut *state {
            State::Open(connection) if !connection.is_closed() => {
                let connection = connection.clone();
                drop(state);
                connection.send(call.command, call.waiter, call.deadline);
            }
            State::Connecting(waiting) if waiting.len() >= slot.pool.options.waiting_max => {
                drop(state);
                call.waiter.complete(Err(InvokeError::Full));
            }
            State::Connecting(waiting) => waiting.push(call),
            State::Idle | State::Open(_) => {
                *state = State::Connecting(vec![call]);
                drop(state);
                self.0.spawner.spawn("client connection", slot.clone().run());
            }
        }
    }
}

impl Pool {
    fn slot(&self, addr: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(addr) {
            return slot.clone();
        }
        let slot = Slot {
            addr: addr.to_owned(),
            pool: self.shared.clone(),
            state: Mutex::new(State::Idle),
        };
        slots.entry(addr.to_owned()).insert(Arc::new(slot)).get().clone()
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let slots: Vec<Arc<Slot>> = self.slots.lock().drain().map(|(_, slot)| slot).collect();
        slots.iter().for_each(|slot| slot.close());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Slot {
    /// The life of one connection.
    async fn run(self: Arc<Self>) {
        match self.connect().await {
            Err(error) => self.connect_failed(&error),
            Ok((stream, connection)) => {
                let service: Arc<dyn Service> = self.clone();
                match &self.pool.connector {
                    None => drop(drive(stream, &connection, &service).await),
                    Some(connector) => {
                        let handshake = connector.connect(&self.addr, stream);
                        match clock::timeout(self.pool.options.connect_timeout, handshake).await {
                            Ok(Ok(stream)) => drop(drive(stream, &connection, &service).await),
                            Ok(Err(error)) => self.connect_failed(&error),
                            Err(clock::Elapsed) => self.connect_failed(&io::ErrorKind::TimedOut.into()),
                        }
                    }
                }
            }
        }
    }

    async fn connect(&self) -> io::Result<(TcpStream, Arc<Connection>)> {
        let mut connecting = std::pin::pin!(net::connect(&self.addr, self.pool.options.connect_timeout));
        let stream = loop {
            tokio::select! { biased;
                stream = &mut connecting => break stream?,
                () = clock::sleep(WAITING_CHECK) => self.expire_waiting(),
            }
        };
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        let connection = Connection::new(peer, local, self.pool.options.limits, self.pool.counters.clone());
        Ok((stream, connection))
    }

    fn expire_waiting(&self) {
        let now = clock::now();
        let expired: Vec<Call> = match &mut *self.state.lock() {
            State::Connecting(waiting) => waiting.extract_if(.., |call| call.deadline <= now).collect(),
            State::Idle | State::Open(_) => Vec::new(),
        };
        for call in expired {
            call.waiter.complete(Err(InvokeError::TimedOut { sent: false }));
        }
    }

    fn connect_failed(&self, error: &io::Error) {
        tracing::debug!(addr = self.addr, %error, "connect");
        for call in self.replace(State::Idle) {
            // An io::Error cannot be cloned; kind and text say the same.
            let source = io::Error::new(error.kind(), error.to_string());
            call.waiter.complete(Err(InvokeError::Connect {
                addr: self.addr.clone(),
                source,
            }));
        }
    }

    /// Sets the state; answers the calls that waited in the old one.
    fn replace(&self, state: State) -> Vec<Call> {
        match std::mem::replace(&mut *self.state.lock(), state) {
            State::Connecting(waiting) => waiting,
            State::Idle | State::Open(_) => Vec::new(),
        }
    }

    fn close(&self) {
        let open = match &*self.state.lock() {
            State::Open(connection) => Some(connection.clone()),
            State::Idle | State::Connecting(_) => None,
        };
        match open {
            Some(connection) => connection.close(CloseReason::Local("closed by the client")),
            None => {
                for call in self.replace(State::Idle) {
                    call.waiter.complete(Err(InvokeError::NotSent));
                }
            }
        }
    }
}

impl Service for Slot {
    fn call(&self, connection: &Arc<Connection>, command: Command) {
        self.pool.inbound.call(&self.addr, connection, command);
    }

    fn opened(&self, connection: &Arc<Connection>) {
        self.pool.inbound.opened(&self.addr, connection);
        // Waiting calls first, without the lock, because they may call back; calls that come meanwhile queue up behind.
        loop {
            let waiting = match &mut *self.state.lock() {
                State::Connecting(waiting) if !waiting.is_empty() => std::mem::take(waiting),
                state @ State::Connecting(_) => {
                    *state = State::Open(connection.clone());
                    return;
                }
                // Closed while it was connecting.
                State::Idle | State::Open(_) => break,
            };
            for call in waiting {
                connection.send(call.command, call.waiter, call.deadline);
            }
        }
        connection.close(CloseReason::Local("closed by the client"));
    }

    fn closed(&self, connection: &Arc<Connection>, reason: CloseReason) {
        {
            let mut state = self.state.lock();
            if matches!(&*state, State::Open(open) if open.id() == connection.id()) {
                *state = State::Idle;
            }
        }
        self.pool.inbound.closed(&self.addr, reason);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} addresses)", self.slots.lock().len())
    }
}
