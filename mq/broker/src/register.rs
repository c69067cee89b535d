//! Registration with the name servers (ADR 007): each is told the same, none knows of the others.
//!
//! One task per name server registers every `registerNameServerPeriod`, and at once when topics change, when leadership
//! changes and when its connection was lost, because a name server forgets a broker whose connection closes. The leader
//! registers as id 0, after an entry of its own has been committed (so it does lead), with its term as the state version: the
//! newest leader wins. Others register as slot + 1. Nothing is unregistered but at shutdown: without an id 0 Java
//! producers fail unretried.

use crate::ask::{Ask, Reply};
use crate::broker::{Broker, Leader};
use crate::state::FilterType;
use mq_base::env::clock;
use mq_base::stop::Stop;
use mq_net::{ClientOptions, CloseReason, Inbound, Remoting, TlsError};
use mq_raft::Peer;
use mq_remoting::Command;
use mq_remoting::body::{
    self, ClusterInfo, DataVersion, RaftStatus, RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper,
    TopicFilterType,
};
use mq_remoting::code::{request as code, response};
use mq_remoting::header::{RegisterBroker, RegisterBrokerResponse, UnregisterBroker};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// First pause after a failed registration; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause after a failed registration.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Changes within this time are told together.
const GATHER: Duration = Duration::from_millis(5);
/// How long unregistering may take at shutdown.
const UNREGISTER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an entry of the leader's own may take to be committed before it registers.
const LEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections to the name servers.
pub struct Registrar {
    remoting: Remoting,
    servers: Vec<String>,
    lost: Arc<Lost>,
}

/// Counts lost connections: a change means "register again".
struct Lost(watch::Sender<u64>);

impl Inbound for Lost {
    fn closed(&self, _addr: &str, _reason: CloseReason) {
        self.0.send_modify(|n| *n += 1);
    }
}

impl Registrar {
    /// Name servers as in `namesrvAddr`: `host:port;host:port`. Runs on the current runtime.
    pub fn new(namesrv_addr: &str) -> Result<Registrar, TlsError> {
        let lost = Arc::new(Lost(watch::channel(0).0));
        let remoting = Remoting::new(ClientOptions::default(), lost.clone())?;
        let servers = namesrv_addr
            .split([';', ','])
            .map(str::trim)
            .filter(|addr| !addr.is_empty());
        Ok(Registrar {
            remoting,
            servers: servers.map(str::to_owned).collect(),
            lost,
        })
    }

    /// Registers with all name servers until `stop`, then unregisters.
    pub async fn run(self, broker: Arc<Broker>, stop: Stop) {
        let this = Arc::new(self);
        for server in this.servers.clone() {
            let (this, broker, stop) = (this.clone(), broker.clone(), stop.clone());
            broker
                .spawner
                .clone()
                .spawn("register", async move { this.keep(&broker, &server, &stop).await });
        }
        stop.wait().await;
        this.unregister(&broker).await;
        this.remoting.shutdown();
    }

    async fn keep(&self, broker: &Arc<Broker>, server: &str, stop: &Stop) {
        let mut leadership = broker.gate.standing.watch();
        let mut topics = broker.topics.subscribe();
        let mut lost = self.lost.0.subscribe();
        let mut failures = 0u32;
        let mut id_told = None;
        while !stop.is_stopped() {
            leadership.mark_unchanged();
            topics.mark_unchanged();
            lost.mark_unchanged();
            let told = match own_broker_id(broker, id_told).await {
                Ok(Some(id)) => self.register(broker, server, id).await.map(|()| Some(id)),
                Ok(None) => Ok(id_told),
                Err(reason) => Err(reason.to_owned()),
            };
            let pause = match told {
                Ok(told) => {
                    id_told = told;
                    failures = 0;
                    Duration::from_millis(broker.settings().register_period_ms)
                }
                Err(reason) => {
                    broker.metrics.register_failures.inc();
                    if failures == 0 {
                        tracing::warn!(server, reason, "register with name server");
                    }
                    failures += 1;
                    RETRY_MAX.min(RETRY_MIN * 2u32.saturating_pow(failures.min(16) - 1))
                }
            };
            let until = clock::now() + pause;
            tokio::select! { biased;
                () = stop.wait() => return,
                () = clock::sleep_until(until) => {}
                () = changed(&mut leadership) => {}
                () = changed(&mut topics) => {}
                // A server that cannot be reached closes connections with every attempt: then the pause holds.
                () = changed(&mut lost), if failures == 0 => {}
            }
            clock::sleep(GATHER).await;
        }
    }

    async fn register(&self, broker: &Broker, server: &str, id: u64) -> Result<(), String> {
        let identity = &broker.identity;
        let header = RegisterBroker {
            broker_name: (&*identity.broker).into(),
            broker_addr: identity.client_addr.as_str().into(),
            cluster_name: (&*identity.cluster).into(),
            ha_server_addr: identity.peer_addr.as_str().into(),
            broker_id: id as i64,
            heartbeat_timeout_millis: None,
            enable_acting_master: None,
            compressed: false,
            body_crc32: 0,
            zone_name: None,
        };
        let request = Command::request(code::REGISTER_BROKER, &header).with_body(registration(broker).encode());
        let timeout = Duration::from_millis(broker.settings().register_timeout_ms);
        let answer = self
            .remoting
            .invoke(server, request, timeout)
            .await
            .map_err(|error| error.to_string())?;
        if answer.code != response::SUCCESS {
            return Err(format!(
                "code {}: {}",
                answer.code,
                answer.remark.as_deref().unwrap_or_default()
            ));
        }
        let told: RegisterBrokerResponse = answer.header().map_err(|error| error.to_string())?;
        tracing::debug!(
            server,
            id,
            master = told.master_addr.as_deref().unwrap_or_default(),
            "registered"
        );
        Ok(())
    }

    async fn unregister(&self, broker: &Broker) {
        let identity = &broker.identity;
        let ids = if broker.leads() {
            [0, identity.slot + 1]
        } else {
            [identity.slot + 1, identity.slot + 1]
        };
        for server in &self.servers {
            for id in ids {
                let header = UnregisterBroker {
                    broker_name: (&*identity.broker).into(),
                    broker_addr: identity.client_addr.as_str().into(),
                    cluster_name: (&*identity.cluster).into(),
                    broker_id: id as i64,
                };
                let request = Command::request(code::UNREGISTER_BROKER, &header);
                if let Err(error) = self.remoting.invoke(server, request, UNREGISTER_TIMEOUT).await {
                    tracing::info!(server, %error, "unregister from name server");
                    break;
                }
            }
        }
    }
}

async fn changed<T>(watch: &mut watch::Receiver<T>) {
    if watch.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The id to register under now; `None` to leave things as they are.
///
/// A member that was id 0 keeps that entry until it knows who leads: registering under another id would delete it.
async fn own_broker_id(broker: &Arc<Broker>, told: Option<u64>) -> Result<Option<u64>, &'static str> {
    match broker.gate.standing.leader(broker.own_id()) {
        Leader::Here if leads_a_majority(broker).await => Ok(Some(0)),
        Leader::Here => Err("no majority confirms that this member leads"),
        Leader::Unknown if told == Some(0) => Ok(None),
        Leader::There { .. } | Leader::Unknown => Ok(Some(broker.identity.slot + 1)),
    }
}

async fn leads_a_majority(broker: &Arc<Broker>) -> bool {
    let (reply, answer) = Reply::channel();
    broker.ask(Ask::Barrier(reply));
    matches!(clock::timeout(LEASE_TIMEOUT, answer).await, Ok(Ok(Ok(()))))
}

fn registration(broker: &Broker) -> RegisterBrokerBody {
    let permission = broker.settings().broker_permission;
    let term = broker.gate.standing.leadership().term;
    let state = broker.view.state();
    let version = state.topics.version();
    let mut wrapper = TopicConfigSerializeWrapper {
        data_version: DataVersion {
            counter: version.counter as i64,
            state_version: term.0 as i64,
            timestamp: version.time_ms,
        },
        mapping_data_version: Some(DataVersion::default()),
        ..TopicConfigSerializeWrapper::default()
    };
    for topic in state.topics.sorted() {
        let mut config = wire_topic(&topic.config);
        config.perm &= permission | mq_message::topic::perm::INHERIT;
        wrapper.topic_config_table.insert(config.topic_name.clone(), config);
    }
    RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: wrapper,
    }
}

/// A topic's configuration in RocketMQ's form.
pub fn wire_topic(config: &crate::state::TopicConfig) -> TopicConfig {
    TopicConfig {
        attributes: config.attributes.clone(),
        order: config.order,
        perm: config.perm,
        read_queue_nums: config.read_queues,
        topic_filter_type: match config.filter_type {
            FilterType::SingleTag => TopicFilterType::SingleTag,
            FilterType::MultiTag => TopicFilterType::MultiTag,
        },
        topic_name: config.name.to_string(),
        topic_sys_flag: config.sys_flag,
        write_queue_nums: config.write_queues,
    }
}

/// The voters of a broker group, as its leader tells them (for a SLAVE that looks for its master). Empty if nobody knows.
pub async fn find_members(namesrv_addr: &str, broker: &str, timeout: Duration) -> Vec<Peer> {
    let Ok(remoting) = Remoting::new(ClientOptions::default(), Arc::new(())) else {
        return Vec::new();
    };
    for server in namesrv_addr
        .split([';', ','])
        .map(str::trim)
        .filter(|addr| !addr.is_empty())
    {
        let request = Command::bare_request(code::GET_BROKER_CLUSTER_INFO);
        let Ok(answer) = remoting.invoke(server, request, timeout).await else {
            continue;
        };
        let Ok(info) = body::from_slice::<ClusterInfo>(&answer.body) else {
            continue;
        };
        let master = info
            .broker_addr_table
            .get(broker)
            .and_then(|data| data.broker_addrs.get(&0));
        let Some(master) = master else { continue };
        let request = Command::bare_request(code::RAFT_STATUS);
        let Ok(answer) = remoting.invoke(master, request, timeout).await else {
            continue;
        };
        let Ok(status) = body::from_slice::<RaftStatus>(&answer.body) else {
            continue;
        };
        let voters = status.members.into_iter().filter(|member| member.voter);
        return voters
            .map(|member| Peer {
                slot: member.slot,
                peer_addr: member.peer_addr,
            })
            .collect();
    }
    Vec::new()
}
