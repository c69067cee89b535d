//! What all producers and consumers of a process share: connections, routes, heartbeats.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use mq_base::env::{clock, task};
use mq_base::stop::{Stop, StopSource};
use mq_message::topic;
use mq_remoting::body::{ConsumerData, ProducerData};
use mq_remoting::{Command, code};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};

use crate::brokers::{BrokerGroup, Brokers, LEADER_ID};
use crate::config::ClientConfig;
use crate::error::CallError;
use crate::fault::FaultTable;
use crate::inbound::{ConsumerEvent, Pushes, TransactionCheck};
use crate::producer::StartError;
use crate::route::{Routes, TopicRoute};
use crate::transport::Transport;
use crate::wire;

/// How long after a failed connection routes are fetched again and again, and how the pauses grow.
const ROUTE_CHASE: [u64; 8] = [0, 20, 40, 80, 160, 320, 640, 1280];

/// Sends without any answer for this long make a broker suspect: longer than a flush on a busy disk, shorter than an election by timer
/// takes with the lease before it.
const SILENCE: Duration = Duration::from_millis(300);
const SILENCE_CHECK: Duration = Duration::from_millis(100);

/// A client: connections, routes and heartbeats, shared by its producers and consumers. Cheap to clone. Its tasks end when
/// the last clone is dropped.
#[derive(Clone)]
pub struct ClientInstance {
    pub(crate) shared: Arc<Shared>,
    _running: Arc<StopSource>,
}

pub(crate) struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) client_id: String,
    pub(crate) transport: Transport,
    pub(crate) brokers: Brokers,
    pub(crate) routes: Routes,
    pub(crate) faults: FaultTable,
    pub(crate) stop: Stop,
    pub(crate) spawner: task::Spawner,
    pub(crate) groups: RwLock<Groups>,
    /// One fetch at a time: a crowd of first sends asks once.
    fetching: tokio::sync::Mutex<()>,
    /// The name server that answered last.
    name_server: Mutex<usize>,
    route_wanted: Notify,
    heartbeat_wanted: Notify,
}

/// Who produces and consumes here, by group.
#[derive(Default)]
pub(crate) struct Groups {
    pub(crate) producers: HashMap<Arc<str>, ProducerEntry>,
    pub(crate) consumers: HashMap<Arc<str>, ConsumerEntry>,
}

/// A registered producer.
pub(crate) struct ProducerEntry {
    /// Clones of it that are registered.
    pub(crate) count: usize,
    /// Takes questions about half messages; none for a plain producer.
    pub(crate) checks: Option<mpsc::Sender<TransactionCheck>>,
}

/// A registered consumer.
pub(crate) struct ConsumerEntry {
    /// Its part of a heartbeat.
    pub(crate) heartbeat: Box<dyn Fn() -> ConsumerData + Send + Sync>,
    /// Takes what brokers push.
    pub(crate) events: mpsc::Sender<ConsumerEvent>,
}

impl ClientInstance {
    /// Starts a client. Nothing is sent until a topic is used.
    ///
    /// # Errors
    /// The TLS files cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(config: ClientConfig) -> Result<Self, StartError> {
        let (source, stop) = StopSource::new();
        let pushes = Arc::new(Pushes::default());
        let shared = Arc::new(Shared {
            client_id: config.client_id(),
            transport: Transport::new(config.tls.clone(), pushes.clone())?,
            spawner: task::Spawner::current(),
            config,
            brokers: Brokers::default(),
            routes: Routes::default(),
            faults: FaultTable::default(),
            stop,
            groups: RwLock::default(),
            fetching: tokio::sync::Mutex::new(()),
            name_server: Mutex::new(0),
            route_wanted: Notify::new(),
            heartbeat_wanted: Notify::new(),
        });
        let _ = pushes.shared.set(Arc::downgrade(&shared));
        task::spawn("client routes", keep_routes(shared.clone()));
        task::spawn("client heartbeats", keep_heartbeats(shared.clone()));
        Ok(Self {
            shared,
            _running: Arc::new(source),
        })
    }

    /// The name brokers know this client by: `ip@instance`.
    pub fn client_id(&self) -> &str {
        &self.shared.client_id
    }

    /// Its settings.
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// The queues messages of a topic can be sent to.
    ///
    /// # Errors
    /// No route, or no name server answers.
    pub async fn publish_queues(&self, topic: &str) -> Result<Vec<crate::MessageQueue>, CallError> {
        let route = self.shared.route(topic).await?;
        Ok(route.publish.iter().map(|p| p.queue.clone()).collect())
    }

    /// The queues a topic can be consumed from.
    ///
    /// # Errors
    /// No route, or no name server answers.
    pub async fn subscribe_queues(&self, topic: &str) -> Result<Vec<crate::MessageQueue>, CallError> {
        let route = self.shared.fetch_route(topic, false).await?;
        Ok(route.subscribe.clone())
    }

    /// Sends a request of your own to an address and waits for the answer, whatever its code.
    ///
    /// # Errors
    /// Only of the connection.
    pub async fn call(&self, addr: &str, command: Command, timeout: Duration) -> Result<Command, CallError> {
        self.shared.call(&addr.into(), command, timeout).await
    }
}

impl Shared {
    // ---- calls

    /// Calls an address. A failed connection is booked, and routes are fetched again at once.
    pub(crate) async fn call(
        &self,
        addr: &Arc<str>,
        command: Command,
        timeout: Duration,
    ) -> Result<Command, CallError> {
        let answer = self.transport.call(addr, command, timeout).await;
        if let Err(error) = &answer
            && error.is_transport()
        {
            self.connection_failed(addr);
        }
        answer
    }

    /// Calls whoever serves a broker group, trying other members while nothing has been sent. `make` builds the request
    /// anew for each try.
    pub(crate) async fn call_group(
        &self,
        broker_name: &str,
        timeout: Duration,
        make: impl Fn() -> Command,
    ) -> Result<Command, CallError> {
        let group = self
            .brokers
            .get(broker_name)
            .ok_or_else(|| CallError::NoBroker(broker_name.into()))?;
        self.call_members(&group, timeout, make).await
    }

    /// As [`Self::call_group`], for requests that may be repeated: other members are tried until the time is up.
    pub(crate) async fn call_members(
        &self,
        group: &BrokerGroup,
        timeout: Duration,
        make: impl Fn() -> Command,
    ) -> Result<Command, CallError> {
        let deadline = clock::now() + timeout;
        let mut pause = Pause::default();
        loop {
            let addr = group.target().ok_or_else(|| CallError::NoBroker(group.name.clone()))?;
            let left = deadline.saturating_duration_since(clock::now());
            let error = match self.transport.call(&addr, make(), left).await {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.is_transport() => return Err(error),
                Err(error) => error,
            };
            let other = group.failed(&addr, clock::now());
            self.route_wanted.notify_one();
            if !other {
                pause.wait().await;
            }
            if clock::now() >= deadline {
                return Err(error);
            }
        }
    }

    /// As [`Self::call_members`]; an answer with a code other than success is an error.
    pub(crate) async fn ask_group(
        &self,
        broker_name: &str,
        timeout: Duration,
        make: impl Fn() -> Command,
    ) -> Result<Command, CallError> {
        let answer = self.call_group(broker_name, timeout, make).await?;
        succeed(answer, broker_name)
    }

    /// As [`Self::ask_group`], of the group that has a queue. If nobody has asked for its topic yet, the group may be unknown here.
    pub(crate) async fn ask_owner(
        &self,
        queue: &crate::MessageQueue,
        timeout: Duration,
        make: impl Fn() -> Command,
    ) -> Result<Command, CallError> {
        self.know_owner(queue).await?;
        self.ask_group(&queue.broker_name, timeout, make).await
    }

    /// Fetches the route to a queue's topic if its group is unknown.
    pub(crate) async fn know_owner(&self, queue: &crate::MessageQueue) -> Result<(), CallError> {
        if self.brokers.get(&queue.broker_name).is_none() {
            self.fetch_route(&queue.topic, false).await?;
        }
        Ok(())
    }

    /// As [`Self::call_group`], for requests that must not be repeated once they may have been sent.
    pub(crate) async fn call_once(
        &self,
        broker_name: &str,
        timeout: Duration,
        make: impl Fn() -> Command,
    ) -> Result<Command, CallError> {
        let no_broker = || CallError::NoBroker(broker_name.into());
        let group = self.brokers.get(broker_name).ok_or_else(no_broker)?;
        let deadline = clock::now() + timeout;
        let mut pause = Pause::default();
        loop {
            let addr = group.target().ok_or_else(no_broker)?;
            let left = deadline.saturating_duration_since(clock::now());
            let error = match self.transport.call(&addr, make(), left).await {
                Err(error) if error.is_transport() => error,
                answer => return answer,
            };
            let other = group.failed(&addr, clock::now());
            self.route_wanted.notify_one();
            if !error.is_unsent() || clock::now() >= deadline {
                return Err(error);
            }
            if !other {
                pause.wait().await;
            }
        }
    }

    /// Sends without asking for an answer.
    pub(crate) async fn oneway(&self, group: &BrokerGroup, command: Command) -> Result<(), CallError> {
        let no_broker = || CallError::NoBroker(group.name.clone());
        let addr = group.target().ok_or_else(no_broker)?;
        let timeout = self.config.api_timeout;
        self.transport.oneway(&addr, command, timeout).await
    }

    /// A connection failed: others stand in, and routes are fetched at once.
    pub(crate) fn connection_failed(&self, addr: &str) {
        self.brokers.failed(addr);
        self.route_wanted.notify_one();
        if !self.groups.read().consumers.is_empty() {
            self.heartbeat_wanted.notify_one();
        }
    }

    /// A connection is up. Brokers know consumers by their connections, so they hear of them at once.
    pub(crate) fn connection_opened(&self) {
        if !self.groups.read().consumers.is_empty() {
            self.heartbeat_wanted.notify_one();
        }
    }

    // ---- routes

    /// The route of a topic, from memory or from a name server. For a topic that does not exist it is the one the broker
    /// will create.
    pub(crate) async fn route(&self, topic: &str) -> Result<Arc<TopicRoute>, CallError> {
        match self.routes.get(topic) {
            Some(route) => Ok(route),
            None => self.fetch_route(topic, true).await,
        }
    }

    /// Fetches a route now (or takes one that another caller has just fetched).
    pub(crate) async fn fetch_route(&self, topic: &str, or_template: bool) -> Result<Arc<TopicRoute>, CallError> {
        let _one = self.fetching.lock().await;
        if let Some(route) = self.routes.get(topic)
            && (or_template || !route.is_template)
        {
            return Ok(route);
        }
        let topic: Arc<str> = topic.into();
        let no_route = || CallError::NoRoute(topic.clone());
        self.refresh_route(&topic, or_template).await?;
        self.routes
            .get(&topic)
            .filter(|route| or_template || !route.is_template)
            .ok_or_else(no_route)
    }

    /// Asks a name server for a topic; says whether the route changed.
    pub(crate) async fn refresh_route(&self, topic: &Arc<str>, or_template: bool) -> Result<bool, CallError> {
        let answer = self.ask_name_server(|| wire::route(topic)).await?;
        let (answer, template) = match answer.code {
            code::response::SUCCESS => (answer, false),
            code::response::TOPIC_NOT_EXIST if or_template => {
                let default = self.ask_name_server(|| wire::route(topic::AUTO_CREATE));
                (default.await?, true)
            }
            _ => (answer, false),
        };
        if answer.code == code::response::TOPIC_NOT_EXIST {
            return Err(CallError::NoRoute(topic.clone()));
        }
        let addr: Arc<str> = "name server".into();
        let answer = succeed(answer, &addr)?;
        let data = wire::read_route(&answer.body).map_err(|what| CallError::Malformed { addr, what })?;
        Ok(self.routes.update(topic, data, template, &self.brokers))
    }

    /// Asks the name server that answered last, then the others.
    pub(crate) async fn ask_name_server(&self, make: impl Fn() -> Command) -> Result<Command, CallError> {
        let servers = &self.config.name_servers;
        let first = *self.name_server.lock();
        let mut last = CallError::NoNameServer;
        for i in 0..servers.len() {
            let at = (first + i) % servers.len();
            let addr: Arc<str> = servers[at].as_str().into();
            match self.transport.call(&addr, make(), self.config.api_timeout).await {
                Ok(answer) => {
                    *self.name_server.lock() = at;
                    return Ok(answer);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Fetches all routes in use; says whether one changed.
    async fn refresh_all_routes(&self) -> bool {
        let mut changed = false;
        for topic in self.routes.topics() {
            let template = self.routes.get(&topic).is_some_and(|r| r.is_template);
            match self.refresh_route(&topic, template).await {
                Ok(new) => changed |= new,
                // Also a name server that has just started knows nothing: the old route stays, as in RocketMQ's clients.
                Err(CallError::NoRoute(_)) => {}
                Err(error) => {
                    tracing::debug!(%topic, %error, "fetch route");
                    return changed;
                }
            }
        }
        let named = self.routes.named_brokers();
        self.brokers.retain(|name| named.contains(name));
        changed
    }

    /// Wants routes soon, without waiting for them.
    pub(crate) fn want_routes(&self) {
        self.route_wanted.notify_one();
    }

    // ---- heartbeats

    /// Tells all brokers now that we live, and waits until they have heard it or failed.
    pub(crate) async fn heartbeat(&self) -> bool {
        let (command, everyone) = {
            let groups = self.groups.read();
            let producer = |group: &Arc<str>| ProducerData {
                group_name: group.to_string(),
            };
            let producers: Vec<_> = groups.producers.keys().map(producer).collect();
            let consumers: Vec<_> = groups.consumers.values().map(|c| (c.heartbeat)()).collect();
            if producers.is_empty() && consumers.is_empty() {
                return true;
            }
            // Producers are known to leaders only, as in RocketMQ; consumers to every member.
            let everyone = !consumers.is_empty();
            (wire::heartbeat(&self.client_id, producers, consumers), everyone)
        };
        let mut beats = Vec::new();
        for group in self.brokers.all() {
            for (id, addr) in group.members() {
                if everyone || id == LEADER_ID || group.target().is_some_and(|t| t == addr) {
                    let timeout = self.config.api_timeout;
                    beats.push((addr.clone(), self.transport.start(&addr, command.clone(), timeout)));
                }
            }
        }
        let mut all = true;
        for (addr, beat) in beats {
            match beat.await {
                Ok(answer) if answer.code == code::response::SUCCESS => {}
                Ok(answer) => {
                    tracing::warn!(%addr, code = answer.code, remark = answer.remark.as_deref(), "heartbeat refused");
                }
                Err(error) => {
                    tracing::debug!(%addr, %error, "heartbeat");
                    self.brokers.failed(&addr);
                    all = false;
                }
            }
        }
        all
    }

    /// Tells all brokers that a group leaves.
    pub(crate) async fn unregister(&self, producer: Option<&str>, consumer: Option<&str>) {
        let command = wire::unregister(&self.client_id, producer, consumer);
        let timeout = Duration::from_secs(1);
        let mut calls = Vec::new();
        for group in self.brokers.all() {
            for (_, addr) in group.members() {
                calls.push(self.transport.start(&addr, command.clone(), timeout));
            }
        }
        for call in calls {
            if let Err(error) = call.await {
                tracing::debug!(%error, "unregister");
            }
        }
    }

    /// Tells the consumers to divide queues again.
    pub(crate) fn wake_consumers(&self) {
        for consumer in self.groups.read().consumers.values() {
            // A full channel means that it is about to do so anyway.
            let _ = consumer.events.try_send(ConsumerEvent::Rebalance);
        }
    }
}

impl Shared {
    /// Tells one consumer to divide queues again.
    pub(crate) fn tell_rebalance(&self, group: &str) {
        if let Some(consumer) = self.groups.read().consumers.get(group) {
            let _ = consumer.events.try_send(ConsumerEvent::Rebalance);
        }
    }
}

/// An answer with a code other than success as an error.
pub(crate) fn succeed(answer: Command, addr: &str) -> Result<Command, CallError> {
    if answer.code == code::response::SUCCESS {
        return Ok(answer);
    }
    Err(refused(&answer, addr))
}

/// The error a refusal becomes.
pub(crate) fn refused(answer: &Command, addr: &str) -> CallError {
    CallError::Refused {
        addr: addr.into(),
        code: answer.code,
        remark: answer.remark.as_deref().unwrap_or_default().to_owned(),
    }
}

/// A pause that doubles from 5 to 160 ms.
#[derive(Debug)]
pub(crate) struct Pause(u64);

impl Default for Pause {
    fn default() -> Self {
        Self(5)
    }
}

impl Pause {
    pub(crate) async fn wait(&mut self) {
        clock::sleep(Duration::from_millis(self.0)).await;
        self.0 = (self.0 * 2).min(160);
    }
}

/// Keeps routes until the client ends, then closes its connections.
async fn keep_routes(shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    tokio::select! {
        () = stop.wait() => {}
        () = follow_routes(&shared) => {}
    }
    shared.transport.shutdown();
}

/// Fetches routes every 30 s, and when a connection fails until they change.
async fn follow_routes(shared: &Shared) {
    let mut next = clock::now() + shared.config.poll_name_server_interval;
    let mut silence = Silence::default();
    loop {
        let chase = tokio::select! {
            () = clock::sleep_until(next) => false,
            () = shared.route_wanted.notified() => true,
            () = clock::sleep(SILENCE_CHECK) => {
                silence.check(shared).await;
                continue;
            }
        };
        let pauses = if chase { &ROUTE_CHASE[..] } else { &[0] };
        for pause in pauses {
            clock::sleep(Duration::from_millis(*pause)).await;
            if shared.refresh_all_routes().await {
                shared.wake_consumers();
                break;
            }
            silence.check(shared).await;
        }
        next = clock::now() + shared.config.poll_name_server_interval;
    }
}

/// Leaders that hang: their connections stay open, but no send is answered. Routes are fetched until they name another leader; then
/// the connection to the old one is closed, so that what waits for it is sent again. A leader that is only slow keeps it.
#[derive(Default)]
struct Silence {
    /// When routes may be fetched next on this account.
    next: Option<clock::Instant>,
    pause: Duration,
}

impl Silence {
    async fn check(&mut self, shared: &Shared) {
        let silent: Vec<_> = shared
            .brokers
            .all()
            .into_iter()
            .filter(|group| group.silence() >= SILENCE)
            .filter_map(|group| group.target().map(|target| (group, target)))
            .collect();
        if silent.is_empty() {
            *self = Self::default();
            return;
        }
        let now = clock::now();
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.pause = (self.pause * 2).clamp(SILENCE_CHECK, Duration::from_secs(1));
        self.next = Some(now + self.pause);
        if shared.refresh_all_routes().await {
            shared.wake_consumers();
        }
        for (group, target) in silent {
            if group.target().is_some_and(|now| now != target) {
                tracing::info!(broker = %group.name, %target, "hangs; another member leads");
                shared.transport.close(&target);
            }
        }
    }
}

/// Sends heartbeats every 30 s, and when a consumer's connection failed until all members have heard one.
async fn keep_heartbeats(shared: Arc<Shared>) {
    let mut again = None;
    loop {
        let wait = again.unwrap_or(shared.config.heartbeat_interval);
        tokio::select! {
            () = shared.stop.wait() => return,
            () = clock::sleep(wait) => {}
            () = shared.heartbeat_wanted.notified() => {}
        }
        again = if shared.heartbeat().await {
            None
        } else {
            let next = again.map_or(Duration::from_millis(50), |pause: Duration| pause * 2);
            Some(next.min(shared.config.heartbeat_interval))
        };
    }
}
