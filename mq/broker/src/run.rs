//! Puts a broker together, runs it and stops it.
//!
//! Order of the start: clients can connect first (a member that does not know a leader yet holds their requests), then the
//! group starts: its peer port listens, it recovers its log and joins. Raft runs on a runtime of its own, because on a
//! shared one it waits behind thousands of client tasks.
//!
//! Order of the stop: hand leadership over, tell the name servers, go on forwarding until clients have refreshed their
//! routes, then refuse new connections, answer what is in flight, stop the group.

use crate::ask::{Ask, Reply};
use crate::broker::{Broker, Gate, Identity, Leader};
use crate::clients::Channels;
use crate::config::{BrokerRole, FlushDiskType, Live, Settings, slot_number};
use crate::data_path::DataPath;
use crate::decide::Judge;
use crate::dispatch;
use crate::drivers;
use crate::forward::{Forwarding, Local, PeerMessage, Peers};
use crate::keys::KeyIndex;
use crate::longpoll::LongPolls;
use crate::machine::Machine;
use crate::metrics::{self, Metrics};
use crate::pulse::Pulse;
use crate::reader::Reader;
use crate::records::Site;
use crate::register::{Registrar, find_members};
use crate::request::{Caller, Request};
use crate::view::View;
use mq_base::env::net::TcpListener;
use mq_base::env::task::{Spawner, TaskHandle};
use mq_base::env::{clock, disk, random, task};
use mq_base::stop::{Stop, StopSource};
use mq_message::msg_id::UniqueKeys;
use mq_net::{CloseReason, Connection, Limits, Server, ServerOptions, ServerTls, Service, TlsMode};
use mq_raft::{Group, GroupConfig, JoinAs, Peer, PeerService};
use mq_remoting::Command;
use mq_store::NodeId;
use mq_store::{ConsumeQueues, IndexOptions, QueueOptions};
use parking_lot::Mutex;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How often statistics take a sample.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How often the topic table is compared with what the name servers were told.
const TOPICS_EVERY: Duration = Duration::from_millis(20);
/// How long handing leadership over may take.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long offsets that nobody waits for may take to be applied before leadership is handed over.
const OFFSETS_FLUSH: Duration = Duration::from_millis(500);
/// A member that stops and knows no leader for so long stops forwarding: nobody is left to forward to.
const NO_LEADER_DRAIN: Duration = Duration::from_secs(3);
/// How often a member that drains tells the others.
const LEAVING_EVERY: Duration = Duration::from_millis(500);
/// How long connections stay open while the last requests on them are answered. Short, because nothing new is read from them
/// meanwhile: a pull that another member holds must not keep a client's sends waiting. A closed connection is made again.
const CONNECTION_DRAIN: Duration = Duration::from_millis(300);
/// How long requests in flight may take at the end.
const IN_FLIGHT_DRAIN: Duration = Duration::from_secs(5);
/// How long the group may take to flush and stop.
const GROUP_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a SLAVE waits for an answer of the name servers and of its master, and between two attempts.
const MASTER_TIMEOUT: Duration = Duration::from_secs(2);
/// A checkpoint is due after so much log, or so much time.
const CHECKPOINT_BYTES: u64 = 128 << 20;
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// Sockets that listen already, from a supervisor.
#[derive(Default)]
pub struct Sockets {
    /// Of the clients.
    pub client: Option<TcpListener>,
    /// Two below, which serves the same.
    pub fast: Option<TcpListener>,
}

/// A broker that runs.
pub struct Running {
    /// The broker.
    pub broker: Arc<Broker>,
    server: Arc<Server>,
    address: SocketAddr,
    stop: StopSource,
    /// Pulled after the last answer, because held pulls are answered by a driver.
    late_stop: StopSource,
    /// Separate, so that a broker that drains is out of the name servers before.
    register_stop: StopSource,
    serving: Vec<TaskHandle>,
    registering: Option<TaskHandle>,
    drivers: Vec<TaskHandle>,
    raft: Option<std::thread::JoinHandle<()>>,
    raft_stop: Option<StopSource>,
    failed: watch::Receiver<Option<String>>,
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be opened.
    #[error("listen on {addr}")]
    Listen {
        /// Where.
        addr: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `brokerIP1` means nothing.
    #[error("resolve the address {addr}")]
    Address {
        /// Which.
        addr: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or key is of no use.
    #[error("set up TLS")]
    Tls(#[from] mq_net::TlsError),
    /// The group could not start.
    #[error("start the Raft group")]
    Group(#[from] mq_raft::StartError),
    /// The store could not be opened.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Gives connections and requests to the dispatcher.
struct Front(Arc<Broker>);

/// What is attached to a connection.
struct Attached(Arc<dyn Caller>);

impl Service for Front {
    fn call(&self, connection: &Arc<Connection>, command: Command) {
        if let Some(Attached(caller)) = connection.extension() {
            dispatch::dispatch(&self.0, Request::new(command, caller.clone()));
        }
    }

    fn opened(&self, connection: &Arc<Connection>) {
        connection.set_extension(Arc::new(Attached(Arc::new(Local::new(connection, &self.0)))));
        self.0.clients.opened(connection);
    }

    fn closed(&self, connection: &Arc<Connection>, reason: CloseReason) {
        // A client that was told to go away closes the connection itself, and is expected back all the same.
        let stopping = reason == CloseReason::Stopped || connection.is_draining();
        self.0.connection_closed(connection.id(), stopping);
    }
}

/// Starts a broker; returns as soon as clients can connect and the group has started (it may not have a leader yet).
///
/// # Errors
/// Nothing runs when one is returned, but for sockets that close with the process.
pub async fn start(mut settings: Settings, sockets: Sockets) -> Result<Running, StartError> {
    let client = match sockets.client {
        Some(listener) => listener,
        None => listen(&settings.bind_address, settings.listen_port).await?,
    };
    let address = client.local_addr().map_err(|source| StartError::Io {
        doing: "read the listening address",
        source,
    })?;
    settings.listen_port = address.port();
    let fast = match sockets.fast {
        Some(listener) => Some(listener),
        None => listen_fast(&settings, address.port()).await,
    };
    let identity = identify(&settings)?;
    tracing::info!(broker = %identity.broker, client = %identity.client_addr, peer = %identity.peer_addr, "starting");

    let broker = Arc::new(Broker {
        identity,
        settings: Live::new(settings.clone()),
        view: Arc::new(View::new()),
        clients: Arc::default(),
        stats: Arc::default(),
        metrics: Metrics::default(),
        forwarding: Forwarding::default(),
        pulse: Pulse::new(),
        gate: Arc::new(Gate::new()),
        data: OnceLock::new(),
        spawner: Spawner::current(),
        topics: watch::channel(0).0,
        leaving: Mutex::default(),
    });
    let (stop, stopped) = StopSource::new();
    let (late_stop, stopped_late) = StopSource::new();
    let (register_stop, register_stopped) = StopSource::new();
    let server = Server::new(server_options(&settings), Arc::new(Front(broker.clone())))?;
    let mut serving = Vec::new();
    for listener in std::iter::once(client).chain(fast) {
        let (server, stopped) = (server.clone(), stopped.clone());
        serving.push(task::spawn(
            "accept",
            async move { server.serve(listener, stopped).await },
        ));
    }
    tracing::info!(%address, "clients can connect");
    background(&broker, &server, &stopped_late).await?;
    let mut running = Running {
        broker: broker.clone(),
        server,
        address,
        stop,
        late_stop,
        register_stop,
        serving,
        registering: None,
        drivers: Vec::new(),
        raft: None,
        raft_stop: None,
        failed: watch::channel(None).1,
    };
    running.start_group(&settings).await?;
    if !settings.namesrv_addr.is_empty() {
        let registrar = Registrar::new(&settings.namesrv_addr)?;
        running.registering = Some(task::spawn("name servers", registrar.run(broker, register_stopped)));
    }
    Ok(running)
}

async fn listen(host: &str, port: u16) -> Result<TcpListener, StartError> {
    let addr = format!("{host}:{port}");
    TcpListener::bind(&addr)
        .await
        .map_err(|source| StartError::Listen { addr, source })
}

/// The second port is a convenience for old clients: a broker runs without it.
async fn listen_fast(settings: &Settings, port: u16) -> Option<TcpListener> {
    let fast = port.checked_sub(2).filter(|fast| *fast > 0)?;
    match listen(&settings.bind_address, fast).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::info!(port = fast, %error, "no second listener at the client port minus 2");
            None
        }
    }
}

fn identify(settings: &Settings) -> Result<Identity, StartError> {
    let host = if settings.broker_ip1.is_empty() {
        "127.0.0.1"
    } else {
        settings.broker_ip1.as_str()
    };
    let client_addr = format!("{host}:{}", settings.listen_port);
    let resolve = |addr: &str| {
        addr.to_socket_addrs()
            .and_then(|mut all| all.next().ok_or(io::ErrorKind::NotFound.into()))
    };
    let store_host = resolve(&client_addr).map_err(|source| StartError::Address {
        addr: client_addr.clone(),
        source,
    })?;
    let own = settings
        .dleger_peers
        .0
        .iter()
        .find(|peer| peer.slot == settings.dleger_self_id);
    let grouped = own.filter(|_| settings.enable_dleger_commit_log);
    let peer_addr = match (grouped, settings.ha_listen_port) {
        (Some(own), _) => own.addr.clone(),
        (None, 0) => format!("{host}:{}", settings.listen_port.wrapping_add(1)),
        (None, port) => format!("{host}:{port}"),
    };
    let slot = match (grouped, settings.broker_role) {
        (Some(own), _) => slot_number(&own.slot).unwrap_or(0),
        (None, BrokerRole::Slave) => settings.broker_id.saturating_sub(1),
        (None, _) => 0,
    };
    Ok(Identity {
        cluster: settings.broker_cluster_name.as_str().into(),
        broker: settings.broker_name.as_str().into(),
        slot,
        client_addr,
        store_host,
        peer_addr,
        boot_ms: clock::wall_ms(),
    })
}

fn server_options(settings: &Settings) -> ServerOptions {
    let files = (!settings.tls_cert_path.is_empty()).then(|| {
        (
            PathBuf::from(&settings.tls_cert_path),
            PathBuf::from(&settings.tls_key_path),
        )
    });
    let mode = match settings.tls_mode {
        crate::config::TlsMode::Disabled => TlsMode::Disabled,
        crate::config::TlsMode::Permissive => TlsMode::Permissive,
        crate::config::TlsMode::Enforcing => TlsMode::Enforcing,
    };
    let limits = Limits {
        frame_bytes_max: settings.frame_bytes_max,
        outbound_bytes_max: settings.connection_outbound_bytes,
        in_flight_bytes_max: settings.connection_inflight_bytes,
        idle_timeout: Duration::from_secs(settings.connection_idle_seconds),
        ..Limits::default()
    };
    ServerOptions {
        limits,
        connections_max: settings.connections_max,
        drain_timeout: CONNECTION_DRAIN,
        tls: ServerTls { mode, files },
        ..ServerOptions::default()
    }
}

/// Tasks that run as long as the broker.
async fn background(broker: &Arc<Broker>, server: &Arc<Server>, stop: &Stop) -> Result<(), StartError> {
    let spawn = |name, future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let stop = stop.clone();
        drop(broker.spawner.spawn(name, async move {
            tokio::select! { biased; () = stop.wait() => {}, () = future => {} }
        }));
    };
    spawn("clients", Box::pin(broker.clone().keep_clients()));
    spawn("silent clients", Box::pin(broker.clone().forget_silent_clients()));
    let beating = broker.clone();
    spawn("pulse", Box::pin(async move { beating.pulse.run().await }));
    let sampled = broker.clone();
    spawn(
        "statistics",
        Box::pin(async move {
            loop {
                sampled.stats.sample(clock::wall_ms());
                clock::sleep(SAMPLE_EVERY).await;
            }
        }),
    );
    let followed = broker.clone();
    spawn(
        "topics",
        Box::pin(async move {
            loop {
                let version = followed.view.state().topics.version().counter;
                followed
                    .topics
                    .send_if_modified(|told| std::mem::replace(told, version) != version);
                clock::sleep(TOPICS_EVERY).await;
            }
        }),
    );
    let settings = broker.settings();
    if settings.metrics_port != 0 {
        let listener = listen(&settings.metrics_bind_address, settings.metrics_port).await?;
        spawn(
            "metrics",
            Box::pin(metrics::serve(listener, broker.clone(), server.clone())),
        );
    }
    Ok(())
}

fn group_config(broker: &Broker, settings: &Settings, peers: Vec<Peer>) -> GroupConfig {
    let identity = &broker.identity;
    let learner = !settings.enable_dleger_commit_log && settings.broker_role == BrokerRole::Slave;
    let slot = match (settings.enable_dleger_commit_log, learner) {
        (true, _) => settings.dleger_self_id.clone(),
        (false, true) => format!("s{}", settings.broker_id),
        (false, false) => "n0".to_owned(),
    };
    let group = if settings.dleger_group.is_empty() {
        identity.broker.to_string()
    } else {
        settings.dleger_group.clone()
    };
    GroupConfig {
        cluster: identity.cluster.to_string(),
        group,
        slot,
        peers,
        client_addr: identity.client_addr.clone(),
        peer_addr: identity.peer_addr.clone(),
        join_as: if learner { JoinAs::Learner } else { JoinAs::Voter },
        dir: PathBuf::from(&settings.store_path_commit_log),
        segment_bytes: settings.segment_bytes,
        window_bytes: settings.log_window_bytes,
        cached_bytes: settings.log_cache_bytes,
        sync: settings.flush_disk_type == FlushDiskType::Sync,
        queue_bytes_max: settings.proposal_bytes_max,
        heartbeat: Duration::from_millis(settings.raft_heartbeat_ms),
        election: Duration::from_millis(settings.raft_election_ms),
        checkpoint_bytes: CHECKPOINT_BYTES,
        checkpoint_every: CHECKPOINT_EVERY,
    }
}

/// What the group is started with, on whichever thread.
struct GroupParts {
    config: GroupConfig,
    disk: Arc<dyn disk::Disk>,
    machine: Machine,
    judge: Judge,
    peers: Arc<dyn PeerService>,
}

impl GroupParts {
    async fn start(self) -> Result<Group<Ask>, mq_raft::StartError> {
        Group::start(self.config, self.disk, self.machine, self.judge, self.peers).await
    }
}

fn unique_keys(identity: &Identity) -> UniqueKeys {
    // A simulated run must repeat, in whatever process it is.
    let process = match mq_base::env::is_simulated() {
        true => 1,
        false => std::process::id() as u16,
    };
    UniqueKeys::new(identity.store_host.ip(), process, random::u64() as u32)
}

impl Running {
    /// Address the clients' socket listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server of the clients.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Recovers the log and joins the group. Clients are accepted meanwhile; their requests wait.
    async fn start_group(&mut self, settings: &Settings) -> Result<(), StartError> {
        let broker = self.broker.clone();
        let failed = |doing| move |source| StartError::Io { doing, source };
        let disk = disk::real();
        let root = PathBuf::from(&settings.store_path_root_dir);
        disk.create_dir_all(&root)
            .map_err(failed("create the store's folder"))?;
        let queues = ConsumeQueues::open(disk.clone(), &root, QueueOptions::default());
        let queues = queues.map_err(failed("open the consume queues"))?;
        let index = KeyIndex::open(disk.clone(), &root, IndexOptions::default());
        let index = index.map_err(failed("open the index"))?;
        let index = settings.message_index_enable.then_some(index);
        let polls = Arc::new(LongPolls::new(settings.parked_pulls_max));
        let parts = GroupParts {
            config: group_config(&broker, settings, self.masters(settings).await),
            disk: disk.clone(),
            machine: Machine::new(broker.view.clone(), queues.clone(), index.clone(), polls.clone()),
            judge: Judge::new(broker.view.clone()),
            peers: Arc::new(Peers::new(&broker)),
        };
        let group = self.launch(parts).await?;
        broker.gate.open(group.clone());
        let data = Arc::new(DataPath {
            site: Site {
                cluster: broker.identity.cluster.to_string(),
                broker_name: broker.identity.broker.to_string(),
                store_host: broker.identity.store_host,
                unique_keys: unique_keys(&broker.identity),
            },
            settings: broker.settings.clone(),
            view: broker.view.clone(),
            judge: broker.gate.clone(),
            reader: Reader::new(
                queues,
                group.log().clone(),
                index,
                disk,
                PathBuf::from(&settings.store_path_commit_log),
            ),
            polls,
            subscriptions: broker.clients.clone(),
            offsets: Arc::default(),
            stats: broker.stats.clone(),
            tasks: broker.spawner.clone(),
        });
        if broker.data.set(data.clone()).is_err() {
            tracing::error!("the data path was set up twice");
        }
        let channels = Arc::new(Channels::new(&broker));
        self.drivers = drivers::start(&data, channels, Some(group.clone()), &self.late_stop.listener());
        self.failed = group.failed();
        drop(
            broker
                .spawner
                .spawn("leadership", broker.clone().follow(group.leadership())),
        );
        Ok(())
    }

    /// Members to ask for a place in the group: those of the settings, or for a SLAVE those that its master knows.
    async fn masters(&self, settings: &Settings) -> Vec<Peer> {
        if settings.enable_dleger_commit_log {
            let peers = settings.dleger_peers.0.iter();
            return peers
                .map(|peer| Peer {
                    slot: peer.slot.clone(),
                    peer_addr: peer.addr.clone(),
                })
                .collect();
        }
        let identity = &self.broker.identity;
        if settings.broker_role != BrokerRole::Slave {
            return vec![Peer {
                slot: "n0".to_owned(),
                peer_addr: identity.peer_addr.clone(),
            }];
        }
        loop {
            let found = find_members(&settings.namesrv_addr, &identity.broker, MASTER_TIMEOUT).await;
            if !found.is_empty() {
                return found;
            }
            tracing::info!(broker = %identity.broker, "looking for the master of this slave");
            clock::sleep(MASTER_TIMEOUT).await;
        }
    }

    /// Starts the group on a runtime of its own; in the simulator, which has one thread, on the current one.
    async fn launch(&mut self, parts: GroupParts) -> Result<Group<Ask>, StartError> {
        if mq_base::env::is_simulated() {
            return Ok(parts.start().await?);
        }
        let (started, answer) = oneshot::channel();
        let (stop, stopped) = StopSource::new();
        self.raft_stop = Some(stop);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| StartError::Io {
            doing: "start the runtime of Raft",
            source,
        })?;
        self.raft = Some(mq_base::env::thread::spawn("raft", move || {
            runtime.block_on(async move {
                let group = parts.start().await;
                let runs = group.is_ok();
                if started.send(group).is_ok() && runs {
                    stopped.wait().await;
                }
            });
        }));
        match answer.await {
            Ok(group) => Ok(group?),
            Err(_) => Err(StartError::Io {
                doing: "start the Raft group",
                source: io::ErrorKind::Interrupted.into(),
            }),
        }
    }

    /// Returns when the group has failed for good, with the reason: the process must exit at once.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        loop {
            if let Some(reason) = failed.borrow_and_update().clone() {
                return reason;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops politely. `drain` bounds how long this member goes on forwarding for clients that do not know better yet.
    pub async fn stop(mut self, drain: Duration) {
        let others = self.other_members();
        if !others.is_empty() {
            self.tell_leaving(&others);
            self.hand_over().await;
        }
        self.register_stop.stop();
        if let Some(registering) = self.registering.take() {
            let _ = clock::timeout(Duration::from_secs(2), registering).await;
        }
        if !others.is_empty() {
            self.go_on_forwarding(drain, &others).await;
        }
        self.stop.stop();
        self.answer_in_flight().await;
        self.late_stop.stop();
        for driver in self.drivers.drain(..) {
            let _ = clock::timeout(IN_FLIGHT_DRAIN, driver).await;
        }
        self.stop_group().await;
    }

    /// Waits until what was read is answered and the connections are closed. Held pulls are ended, not waited for.
    async fn answer_in_flight(&mut self) {
        self.broker.forwarding.end_pulls();
        let polls = self.broker.data.get().map(|data| data.polls.clone());
        let deadline = clock::now() + IN_FLIGHT_DRAIN * 2;
        while self.serving.iter().any(|serving| !serving.is_finished()) && clock::now() < deadline {
            if let Some(polls) = &polls {
                polls.wake_all();
            }
            clock::sleep(Duration::from_millis(20)).await;
        }
    }

    fn other_members(&self) -> Vec<NodeId> {
        let Some(group) = self.broker.gate.group() else {
            return Vec::new();
        };
        let own = group.id();
        group
            .status()
            .members
            .iter()
            .map(|member| member.member.id)
            .filter(|id| *id != own)
            .collect()
    }

    fn tell_leaving(&self, others: &[NodeId]) {
        let Some(group) = self.broker.gate.group() else { return };
        for member in others {
            let _ = group.cast(*member, PeerMessage::Leaving.encode()); // a member that is gone need not know
        }
    }

    /// Hands leadership to the voter that is furthest, if there is one that stays.
    async fn hand_over(&self) {
        self.flush_offsets().await;
        let Some(group) = self.broker.gate.group().filter(|_| self.broker.leads()) else {
            return;
        };
        let own = group.id();
        let status = group.status();
        let stays = status
            .members
            .iter()
            .filter(|m| m.voter && m.member.id != own && !self.broker.is_leaving(m.member.id));
        let Some(best) = stays.max_by_key(|member| member.matched.map(|id| id.index)) else {
            return;
        };
        tracing::info!(to = %best.member.slot, "handing leadership over");
        match clock::timeout(TRANSFER_TIMEOUT, group.transfer_leader(best.member.id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "hand leadership over"),
            Err(clock::Elapsed) => tracing::warn!("hand leadership over: not done in time"),
        }
    }

    /// Offsets that nobody waits for are not lost with the leadership: consumers would see messages again.
    async fn flush_offsets(&self) {
        if let Some(data) = self.broker.data_path().filter(|_| self.broker.leads()) {
            data.offsets.flush(&*data.judge);
            let (reply, applied) = Reply::channel();
            data.judge.ask(Ask::Barrier(reply));
            let _ = clock::timeout(OFFSETS_FLUSH, applied).await; // lost with the leadership: nobody was told otherwise
        }
    }

    /// Clients go on using this member's address until they refresh their routes. Ends early when nobody is left to
    /// forward to, or when all members stop.
    async fn go_on_forwarding(&self, drain: Duration, others: &[NodeId]) {
        let deadline = clock::now() + drain;
        let mut leaderless_since = None;
        let mut tell_next = clock::now();
        tracing::info!(
            seconds = drain.as_secs(),
            "forwarding until clients have refreshed their routes"
        );
        while clock::now() < deadline {
            if others.iter().all(|member| self.broker.is_leaving(*member)) {
                return;
            }
            if clock::now() >= tell_next {
                tell_next = clock::now() + LEAVING_EVERY;
                self.tell_leaving(others);
            }
            match self.broker.gate.standing.leader(self.broker.own_id()) {
                Leader::There { .. } => leaderless_since = None,
                _ => {
                    let since = *leaderless_since.get_or_insert_with(clock::now);
                    if clock::now() - since > NO_LEADER_DRAIN {
                        return;
                    }
                }
            }
            if self.server.connections().is_empty() {
                return;
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop_group(&mut self) {
        if let Some(group) = self.broker.gate.group()
            && clock::timeout(GROUP_STOP_TIMEOUT, group.shutdown()).await.is_err()
        {
            tracing::warn!("the Raft group did not stop in time");
        }
        drop(self.raft_stop.take());
        if let Some(raft) = self.raft.take() {
            let joined = task::spawn_blocking("join raft", move || raft.join());
            let _ = clock::timeout(GROUP_STOP_TIMEOUT, joined).await;
        }
    }
}
