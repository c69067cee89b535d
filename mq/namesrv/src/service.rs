//! Requests of brokers, clients and tools: one row a code, one thin handler each.

use std::sync::Arc;

use mq_base::env::clock::{self, Instant};
use mq_base::env::task;
use mq_net::{CloseReason, Connection, Service};
use mq_remoting::body::{
    self, BrokerData, BrokerMemberGroup, BrokerMemberGroupBody, ClusterInfo, DataVersion, KvTable, QueueData,
    RegisterBrokerBody, TopicList, TopicRouteData,
};
use mq_remoting::code::{request, response};
use mq_remoting::header::{
    AddWritePermResponse, BrokerHeartbeat, BrokerNameHeader, DeleteTopicInNamesrv, Empty, GetBrokerMemberGroup,
    GetKvConfigResponse, GetKvListByNamespace, GetRouteInfo, GetTopicsByCluster, HeaderError, KvConfigKey, PutKvConfig,
    QueryDataVersionResponse, RegisterBroker, RegisterBrokerResponse, RegisterTopicInNamesrv, UnregisterBroker,
    WipeWritePermResponse,
};
use mq_remoting::{ByteStr, Command, version};
use parking_lot::RwLock;
use serde::Serialize;

use crate::config::Config;
use crate::kv::{Kv, ORDER_TOPIC_CONFIG, Table};
use crate::routes::{Group, MASTER_ID, Queues, Registered, Registration, Routes, Version};

/// RocketMQ ends this remark so, and it is not worth differing.
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// A name server's state. One lock each: events are short and never wait.
pub struct NameServer {
    config: Config,
    routes: RwLock<Routes>,
    kv: Arc<Kv>,
    /// Liveness is judged by the monotonic clock: a step of the wall clock must not make every broker look dead.
    started: Instant,
}

/// What a handler says: an answer, or a code with a remark.
type Answer = Result<Command, Failure>;

struct Failure {
    code: i32,
    remark: String,
}

impl Failure {
    fn new(code: i32, remark: impl Into<String>) -> Self {
        Self {
            code,
            remark: remark.into(),
        }
    }
}

impl From<HeaderError> for Failure {
    fn from(error: HeaderError) -> Self {
        Self::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<body::BodyError> for Failure {
    fn from(error: body::BodyError) -> Self {
        Self::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(
            response::SYSTEM_ERROR,
            format!("the configuration file was not changed: {error}"),
        )
    }
}

impl Service for NameServer {
    fn call(&self, connection: &Arc<Connection>, request: Command) {
        if matches!(request.code, request::PUT_KV_CONFIG | request::DELETE_KV_CONFIG) {
            return self.change_kv(connection.clone(), request);
        }
        respond(connection, &request, self.answer(connection.id(), &request));
    }

    fn closed(&self, connection: &Arc<Connection>, _: CloseReason) {
        for addr in self.routes.write().disconnected(connection.id()) {
            tracing::info!(addr, "broker gone: its connection ended");
        }
    }
}

impl NameServer {
    /// A name server that knows no broker yet.
    pub fn new(config: Config, kv: Kv) -> Self {
        Self {
            config,
            routes: RwLock::default(),
            kv: Arc::new(kv),
            started: clock::now(),
        }
    }

    /// Drops brokers that have been silent for too long.
    pub fn expire(&self) {
        for addr in self.routes.write().expire(self.now_ms()) {
            tracing::warn!(addr, "broker gone: silent for too long");
        }
    }

    /// Milliseconds since the start.
    fn now_ms(&self) -> i64 {
        (clock::now() - self.started).as_millis() as i64
    }

    fn answer(&self, connection: u64, request: &Command) -> Answer {
        match request.code {
            request::REGISTER_BROKER => self.register(connection, request),
            request::UNREGISTER_BROKER => self.unregister(request),
            request::QUERY_DATA_VERSION => self.query_data_version(request),
            request::BROKER_HEARTBEAT => self.heartbeat(request),
            request::GET_ROUTEINFO_BY_TOPIC => self.route(request),
            request::GET_BROKER_CLUSTER_INFO => self.clusters(request),
            request::GET_BROKER_MEMBER_GROUP => self.member_group(request),
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.all_topics(request),
            request::GET_TOPICS_BY_CLUSTER => self.topics_of_cluster(request),
            request::GET_SYSTEM_TOPIC_LIST_FROM_NS => self.system_topics(request),
            request::GET_UNIT_TOPIC_LIST => self.topics_by_flag(request, |flag| flag & 1 != 0),
            request::GET_HAS_UNIT_SUB_TOPIC_LIST => self.topics_by_flag(request, |flag| flag & 2 != 0),
            request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => self.topics_by_flag(request, |flag| flag & 3 == 2),
            request::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(request),
            request::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(request),
            request::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_perm(request),
            request::ADD_WRITE_PERM_OF_BROKER => self.add_write_perm(request),
            request::GET_KV_CONFIG => self.get_kv(request),
            request::GET_KVLIST_BY_NAMESPACE => self.kv_list(request),
            request::GET_NAMESRV_CONFIG => Ok(success(request).with_body(self.config.properties())),
            request::UPDATE_NAMESRV_CONFIG => Err(Failure::new(
                response::NO_PERMISSION,
                "this name server's settings are changed in its file, not over the wire",
            )),
            code => {
                let remark = format!(" request type {code} not supported");
                Err(Failure::new(response::REQUEST_CODE_NOT_SUPPORTED, remark))
            }
        }
    }

    fn register(&self, connection: u64, request: &Command) -> Answer {
        let header: RegisterBroker = request.header()?;
        let crc = i64::from(crc32fast::hash(&request.body) & 0x7fff_ffff);
        if header.body_crc32 != 0 && header.body_crc32 != crc {
            return Err(Failure::new(response::SYSTEM_ERROR, "crc32 not match"));
        }
        let id = u64::try_from(header.broker_id).map_err(|_| {
            Failure::new(
                response::SYSTEM_ERROR,
                format!("illegal broker id {}", header.broker_id),
            )
        })?;
        let table = RegisterBrokerBody::decode(&request.body, request.version)?.topic_config_serialize_wrapper;
        let topics = table.topic_config_table.into_iter().map(|(name, topic)| {
            let queues = Queues {
                read: topic.read_queue_nums,
                write: topic.write_queue_nums,
                perm: topic.perm,
                sys_flag: topic.topic_sys_flag,
            };
            (name, queues)
        });
        let registration = Registration {
            cluster: header.cluster_name.to_string(),
            broker: header.broker_name.to_string(),
            addr: header.broker_addr.to_string(),
            id,
            ha_addr: header.ha_server_addr.to_string(),
            expiry_ms: header.heartbeat_timeout_millis,
            acting_master: header.enable_acting_master,
            version: version_from(table.data_version),
            topics: topics.collect(),
            connection,
        };
        match self.routes.write().register(registration, self.now_ms()) {
            Registered::Refused(reason) => Err(Failure::new(response::SYSTEM_ERROR, reason)),
            Registered::Outranked => Ok(success(request).with_header(&Empty)),
            Registered::Taken(master) => {
                let (master_addr, ha_server_addr) = master.unzip();
                let header = RegisterBrokerResponse {
                    master_addr: master_addr.map(ByteStr::from),
                    ha_server_addr: ha_server_addr.map(ByteStr::from),
                };
                let answer = success(request).with_header(&header);
                let order_topics = self
                    .kv
                    .table(ORDER_TOPIC_CONFIG)
                    .filter(|_| self.config.return_order_topic_config);
                Ok(match order_topics {
                    Some(table) => answer.with_body(body::to_standard(&KvTable { table })),
                    None => answer,
                })
            }
        }
    }

    fn unregister(&self, request: &Command) -> Answer {
        let header: UnregisterBroker = request.header()?;
        self.routes.write().unregister(&header.broker_name, &header.broker_addr);
        Ok(success(request))
    }

    fn query_data_version(&self, request: &Command) -> Answer {
        let header: UnregisterBroker = request.header()?;
        let asked = version_from(body::from_slice::<DataVersion>(&request.body)?);
        let mut routes = self.routes.write();
        let stored = routes.version_of(&header.broker_addr);
        let changed = stored != Some(asked);
        if !changed {
            routes.heartbeat(&header.broker_addr, self.now_ms());
        }
        let answer = success(request).with_header(&QueryDataVersionResponse { changed });
        Ok(match stored {
            None => answer,
            Some(Version {
                state_version,
                timestamp,
                counter,
            }) => answer.with_body(body::to_standard(&DataVersion {
                counter,
                state_version,
                timestamp,
            })),
        })
    }

    fn heartbeat(&self, request: &Command) -> Answer {
        let header: BrokerHeartbeat = request.header()?;
        self.routes.write().heartbeat(&header.broker_addr, self.now_ms());
        Ok(success(request))
    }

    fn route(&self, request: &Command) -> Answer {
        let header: GetRouteInfo = request.header()?;
        let mut route = TopicRouteData::default();
        for (name, group, queues) in self.routes.read().topic(&header.topic) {
            route.broker_datas.push(self.broker_data(name, group, queues));
            route.queue_datas.push(QueueData {
                broker_name: name.to_owned(),
                perm: queues.perm,
                read_queue_nums: queues.read,
                write_queue_nums: queues.write,
                topic_sys_flag: queues.sys_flag,
            });
        }
        if route.broker_datas.is_empty() {
            let remark = format!(
                "No topic route info in name server for the topic: {}{FAQ}",
                header.topic
            );
            return Err(Failure::new(response::TOPIC_NOT_EXIST, remark));
        }
        if self.config.order_message_enable {
            route.order_topic_conf = self.kv.get(ORDER_TOPIC_CONFIG, &header.topic);
        }
        // Clients before 4.9.4 read the keys of `brokerAddrs` only as fastjson writes them, without quotes.
        let standard = request.version >= version::V4_9_4 || header.accept_standard_json_only == Some(true);
        let text = if standard {
            body::to_standard(&route)
        } else {
            body::to_fastjson(&route)
        };
        Ok(success(request).with_body(text))
    }

    fn broker_data(&self, name: &str, group: &Group, queues: Queues) -> BrokerData {
        let mut data = broker_data(name, group);
        let read_only = queues.perm & 2 == 0;
        if self.config.support_acting_master
            && read_only
            && group.acting_master
            && let Some((_, smallest)) = group.addrs.first_key_value()
        {
            data.broker_addrs
                .entry(MASTER_ID as i64)
                .or_insert_with(|| smallest.clone());
        }
        data
    }

    fn clusters(&self, request: &Command) -> Answer {
        let routes = self.routes.read();
        let info = ClusterInfo {
            broker_addr_table: routes
                .groups()
                .iter()
                .map(|(name, g)| (name.clone(), broker_data(name, g)))
                .collect(),
            cluster_addr_table: routes
                .clusters()
                .into_iter()
                .map(|(cluster, names)| (cluster.to_owned(), names.into_iter().map(str::to_owned).collect()))
                .collect(),
        };
        Ok(success(request).with_body(body::to_fastjson(&info)))
    }

    fn member_group(&self, request: &Command) -> Answer {
        let header: GetBrokerMemberGroup = request.header()?;
        let routes = self.routes.read();
        let group = routes
            .groups()
            .get(&*header.broker_name)
            .filter(|group| group.cluster == *header.cluster_name);
        let broker_member_group = group.map(|group| BrokerMemberGroup {
            broker_addrs: addrs(group),
            broker_name: header.broker_name.to_string(),
            cluster: group.cluster.clone(),
        });
        Ok(success(request).with_body(body::to_fastjson(&BrokerMemberGroupBody { broker_member_group })))
    }

    fn all_topics(&self, request: &Command) -> Answer {
        if !self.config.enable_all_topic_list {
            return Err(Failure::new(response::SYSTEM_ERROR, "disable"));
        }
        Ok(topic_list(request, self.routes.read().topic_names(), None))
    }

    fn topics_of_cluster(&self, request: &Command) -> Answer {
        if !self.config.enable_topic_list {
            return Err(Failure::new(response::SYSTEM_ERROR, "disable"));
        }
        let header: GetTopicsByCluster = request.header()?;
        Ok(topic_list(
            request,
            self.routes.read().topics_of_cluster(&header.cluster),
            None,
        ))
    }

    fn system_topics(&self, request: &Command) -> Answer {
        let routes = self.routes.read();
        let clusters = routes.clusters();
        let names = clusters
            .iter()
            .flat_map(|(cluster, brokers)| std::iter::once(cluster).chain(brokers))
            .copied();
        let any_addr = routes
            .groups()
            .values()
            .find_map(|group| group.addrs.values().next().cloned());
        Ok(topic_list(request, names, any_addr))
    }

    fn topics_by_flag(&self, request: &Command, wanted: impl Fn(u32) -> bool) -> Answer {
        Ok(topic_list(request, self.routes.read().topics_by_flag(wanted), None))
    }

    fn delete_topic(&self, request: &Command) -> Answer {
        let header: DeleteTopicInNamesrv = request.header()?;
        self.routes
            .write()
            .delete_topic(&header.topic, header.cluster_name.as_deref());
        Ok(success(request))
    }

    fn register_topic(&self, request: &Command) -> Answer {
        let header: RegisterTopicInNamesrv = request.header()?;
        let route: TopicRouteData = body::from_slice(&request.body)?;
        let queues = route.queue_datas.into_iter().map(|data| {
            let queues = Queues {
                read: data.read_queue_nums,
                write: data.write_queue_nums,
                perm: data.perm,
                sys_flag: data.topic_sys_flag,
            };
            (data.broker_name, queues)
        });
        self.routes.write().add_topic(&header.topic, queues);
        Ok(success(request))
    }

    fn wipe_write_perm(&self, request: &Command) -> Answer {
        let header: BrokerNameHeader = request.header()?;
        let changed = self.routes.write().change_perm(&header.broker_name, |perm| perm & !2);
        let wipe_topic_count = i32::try_from(changed).unwrap_or(i32::MAX);
        Ok(success(request).with_header(&WipeWritePermResponse { wipe_topic_count }))
    }

    fn add_write_perm(&self, request: &Command) -> Answer {
        let header: BrokerNameHeader = request.header()?;
        let changed = self.routes.write().change_perm(&header.broker_name, |_| 6);
        let add_topic_count = i32::try_from(changed).unwrap_or(i32::MAX);
        Ok(success(request).with_header(&AddWritePermResponse { add_topic_count }))
    }

    /// Waits for the disk, so not here.
    fn change_kv(&self, connection: Arc<Connection>, request: Command) {
        let kv = self.kv.clone();
        task::spawn_blocking("change-kv-config", move || {
            let changed = match request.code {
                request::PUT_KV_CONFIG => put_kv(&kv, &request),
                _ => delete_kv(&kv, &request),
            };
            respond(&connection, &request, changed.map(|()| success(&request)));
        });
    }

    fn get_kv(&self, request: &Command) -> Answer {
        let header: KvConfigKey = request.header()?;
        let value = self.kv.get(&header.namespace, &header.key).map(ByteStr::from);
        let missing = || {
            let remark = format!("No config item, Namespace: {} Key: {}", header.namespace, header.key);
            Failure::new(response::QUERY_NOT_FOUND, remark)
        };
        let value = Some(value.ok_or_else(missing)?);
        Ok(success(request).with_header(&GetKvConfigResponse { value }))
    }

    fn kv_list(&self, request: &Command) -> Answer {
        let header: GetKvListByNamespace = request.header()?;
        let table: Option<Table> = self.kv.table(&header.namespace);
        let missing = || {
            let remark = format!("No config item, Namespace: {}", header.namespace);
            Failure::new(response::QUERY_NOT_FOUND, remark)
        };
        let table = table.ok_or_else(missing)?;
        Ok(success(request).with_body(body::to_standard(&KvTable { table })))
    }
}

fn respond(connection: &Connection, request: &Command, answer: Answer) {
    let answer = answer.unwrap_or_else(|failure| Command::error(request, failure.code, failure.remark));
    if request.is_oneway() {
        connection.forget(request);
    } else {
        connection.respond(answer);
    }
}

fn put_kv(kv: &Kv, request: &Command) -> Result<(), Failure> {
    let header: PutKvConfig = request.header()?;
    Ok(kv.put(&header.namespace, &header.key, &header.value)?)
}

fn delete_kv(kv: &Kv, request: &Command) -> Result<(), Failure> {
    let header: KvConfigKey = request.header()?;
    Ok(kv.delete(&header.namespace, &header.key)?)
}

fn success(request: &Command) -> Command {
    Command::response(request, response::SUCCESS)
}

fn topic_list<'a>(request: &Command, names: impl IntoIterator<Item = &'a str>, broker_addr: Option<String>) -> Command {
    let topic_list = names.into_iter().map(str::to_owned).collect();
    with_json(
        success(request),
        &TopicList {
            broker_addr,
            topic_list,
        },
    )
}

fn with_json(answer: Command, value: &impl Serialize) -> Command {
    answer.with_body(body::to_standard(value))
}

fn addrs(group: &Group) -> std::collections::BTreeMap<i64, String> {
    group
        .addrs
        .iter()
        .map(|(id, addr)| (*id as i64, addr.clone()))
        .collect()
}

fn broker_data(name: &str, group: &Group) -> BrokerData {
    BrokerData {
        broker_addrs: addrs(group),
        broker_name: name.to_owned(),
        cluster: group.cluster.clone(),
        enable_acting_master: group.acting_master,
        zone_name: None,
    }
}

fn version_from(version: DataVersion) -> Version {
    Version {
        state_version: version.state_version,
        timestamp: version.timestamp,
        counter: version.counter,
    }
}
