//! One simulated machine: its disk, its clock, and the program that is started on it again and again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mq_base::env::bug::Bug;
use mq_base::env::clock;
use mq_base::env::sim::{SimDisk, World, within};
use mq_broker::broker::Broker;
use mq_broker::config::{Layer, Settings, load};
use mq_broker::run::{Running, Sockets, start};
use mq_raft::stored::NodeId;
use parking_lot::Mutex;

/// Port of the clients.
pub const CLIENT_PORT: u16 = 10_911;
/// Port between the members.
pub const PEER_PORT: u16 = 40_911;
/// Port of the name server.
pub const NAMESRV_PORT: u16 = 9_876;
/// Where a member keeps everything.
pub const STORE: &str = "/store";
/// Name of the broker group.
pub const BROKER: &str = "broker-a";
/// Name of the cluster.
pub const CLUSTER: &str = "simulated";

/// What the program on a machine does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not there.
    Down,
    /// Opening its store.
    Starting,
    /// Serving.
    Up,
    /// It said that it cannot go on: it exits, and its supervisor starts it again.
    Failed(String),
    /// It could not start.
    NotStarted(String),
}

/// What a broker can be told from outside.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Hand leadership to the other voter that is furthest.
    Transfer,
    /// Remove a member from the group.
    Remove(NodeId),
}

/// A machine.
pub struct Machine {
    /// Index within the network.
    pub index: usize,
    /// What the program shares with the driver.
    pub shared: Arc<Mutex<Shared>>,
}

/// See [`Machine::shared`].
pub struct Shared {
    /// The outside as the program sees it.
    pub world: Arc<World>,
    /// What it does.
    pub state: State,
    /// The broker that runs.
    pub broker: Option<Arc<Broker>>,
    /// How often the program was started again.
    pub starts: u64,
    /// For [`run_broker`].
    pub orders: VecDeque<Order>,
}

impl Machine {
    /// A machine with this disk.
    pub fn new(index: usize, name: &str, disk: Arc<SimDisk>, seed: u64, bug: Option<Bug>) -> Machine {
        Machine {
            index,
            shared: Arc::new(Mutex::new(Shared {
                world: world(name, seed, disk, bug),
                state: State::Down,
                broker: None,
                starts: 0,
                orders: VecDeque::new(),
            })),
        }
    }

    /// The outside as its program sees it.
    pub fn world(&self) -> Arc<World> {
        self.shared.lock().world.clone()
    }

    /// The disk.
    pub fn disk(&self) -> Arc<SimDisk> {
        self.world().sim_disk().clone()
    }

    /// What its program does.
    pub fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// The broker that runs.
    pub fn broker(&self) -> Option<Arc<Broker>> {
        self.shared.lock().broker.clone()
    }

    /// Its program is gone.
    pub fn down(&self) {
        let mut shared = self.shared.lock();
        shared.state = State::Down;
        shared.orders.clear();
        let broker = shared.broker.take();
        drop(shared);
        drop(broker);
    }

    /// Puts in another disk.
    pub fn wipe(&self, disk: Arc<SimDisk>, seed: u64, bug: Option<Bug>) {
        let mut shared = self.shared.lock();
        let name = shared.world.name().to_owned();
        shared.world = world(&name, seed, disk, bug);
    }
}

fn world(name: &str, seed: u64, disk: Arc<SimDisk>, bug: Option<Bug>) -> Arc<World> {
    let world = World::with_disk(name, seed, disk);
    if let Some(bug) = bug {
        world.bring_back(bug);
    }
    world
}

/// Settings of a member, by RocketMQ's names.
pub fn settings(slot: usize, ips: &[String], namesrv_ip: &str, sync: bool, segment_bytes: u64) -> Settings {
    let peers: Vec<String> = ips
        .iter()
        .enumerate()
        .map(|(n, ip)| format!("n{n}-{ip}:{PEER_PORT}"))
        .collect();
    let flush = if sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
    let text = [
        format!("brokerClusterName={CLUSTER}"),
        format!("brokerName={BROKER}"),
        format!("listenPort={CLIENT_PORT}"),
        format!("brokerIP1={}", ips[slot]),
        format!("namesrvAddr={namesrv_ip}:{NAMESRV_PORT}"),
        "enableDLegerCommitLog=true".into(),
        format!("dLegerPeers={}", peers.join(";")),
        format!("dLegerSelfId=n{slot}"),
        format!("storePathRootDir={STORE}"),
        format!("storePathCommitLog={STORE}/commitlog"),
        format!("flushDiskType={flush}"),
        format!("mappedFileSizeCommitLog={segment_bytes}"),
        "logWindowBytes=1048576".into(),
        "maxMessageSize=16384".into(),
        // A half message is asked about early and often.
        "transactionTimeOut=1000".into(),
        "transactionCheckInterval=1000".into(),
        "transactionCheckMax=10000".into(),
        "serverChannelMaxIdleTimeSeconds=15".into(),
        "registerNameServerPeriod=10000".into(),
        "tlsServerMode=disabled".into(),
        "metricsPort=0".into(),
    ];
    let layer = Layer::file("simulated", &text.join("\n")).expect("settings are well formed");
    load(vec![layer]).expect("settings are valid").settings
}

/// The program of a member: the shipped broker.
pub async fn run_broker(shared: Arc<Mutex<Shared>>, settings: Settings) {
    let world = shared.lock().world.clone();
    within(world, async move {
        shared.lock().state = State::Starting;
        match start(settings, Sockets::default()).await {
            Ok(running) => serve(&shared, running).await,
            Err(error) => {
                let reason = format!("{:#}", anyhow::Error::from(error));
                shared.lock().state = State::NotStarted(reason);
            }
        }
        // The supervisor notices and ends the process.
        std::future::pending::<()>().await;
    })
    .await;
}

async fn serve(shared: &Mutex<Shared>, running: Running) {
    {
        let mut shared = shared.lock();
        shared.broker = Some(running.broker.clone());
        shared.state = State::Up;
    }
    let failed = running.failed();
    let orders = async {
        loop {
            let order = shared.lock().orders.pop_front();
            match order {
                Some(order) => obey(&running.broker, order).await,
                None => clock::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::select! {
        biased;
        reason = failed => shared.lock().state = State::Failed(reason),
        () = orders => {}
    }
    // `running` lives on until the process is ended: one that exits runs no destructors.
    std::future::pending::<()>().await;
}

async fn obey(broker: &Broker, order: Order) {
    let Some(group) = broker.group() else { return };
    let own = group.id();
    let done = match order {
        Order::Remove(id) => group.remove_member(id).await,
        Order::Transfer => {
            let status = group.status();
            let others = status.members.iter().filter(|m| m.voter && m.member.id != own);
            match others.max_by_key(|member| member.matched) {
                Some(best) => group.transfer_leader(best.member.id).await,
                None => Ok(()),
            }
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, ?order, "refused");
    }
}

/// The program of the name server.
pub async fn run_name_server(shared: Arc<Mutex<Shared>>) {
    let world = shared.lock().world.clone();
    within(world, async move {
        let config = mq_namesrv::config::Raw::default()
            .validate("/home")
            .expect("defaults are valid");
        let (_source, stop) = mq_base::stop::StopSource::new();
        let listener = mq_base::env::net::TcpListener::bind(&format!("0.0.0.0:{NAMESRV_PORT}"))
            .await
            .expect("a free port");
        shared.lock().state = State::Up;
        if let Err(error) = mq_namesrv::run(config, listener, stop).await {
            shared.lock().state = State::NotStarted(error.to_string());
        }
        std::future::pending::<()>().await;
    })
    .await;
}
