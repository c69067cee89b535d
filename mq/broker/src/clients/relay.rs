//! What members tell each other of their clients, and what the leader makes of it.
//!
//! A member tells its leader of each heartbeat, of each client that leaves and of each connection that closes, and
//! repeats everything when the leader changes and every [`REPORT_EVERY`]. A new leader answers consumer lists only once
//! the members that live have reported, because a partial list would make every consumer that sees it take over queues
//! that others still consume.

use super::{Changes, ConnectionId, HERE, Known, LOST, Registration};
use crate::ask::{Ask, Reply, UpsertGroup};
use crate::broker::{Broker, Leader};
use crate::forward::{Leave, PeerMessage, Report};
use crate::state::{GroupConfig, Name, TopicConfig};
use bytes::Bytes;
use mq_base::env::clock;
use mq_message::topic;
use mq_net::CloseReason;
use mq_store::{NodeId, Term};
use std::sync::Arc;
use std::time::Duration;

/// A member repeats what it told, so that nothing lost on the way stays lost.
pub const REPORT_EVERY: Duration = Duration::from_secs(20);
/// A member that was started a moment ago, and asks what its leader knows, does so more often.
const YOUNG_EVERY: Duration = Duration::from_secs(2);
/// The clients of a member that has not been heard for this long are expected elsewhere.
const MEMBER_GONE: Duration = Duration::from_secs(2);
/// How long a new leader waits for reports before it answers without them.
const REPORTS_WAIT: Duration = Duration::from_secs(1);
/// A member that a leader has heard of within this time lives.
const LIVE_WITHIN: Duration = Duration::from_millis(200);
/// How long a report may take.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval of the search for silent clients.
const SCAN_EVERY: Duration = Duration::from_secs(5);

impl Broker {
    /// A heartbeat arrived on a connection of this member.
    pub fn registered(self: &Arc<Self>, said: Registration) {
        let changes = self.clients.registry.lock().register(HERE, said.clone(), clock_ms());
        if self.leads() {
            self.found_groups(said.consumers.iter().map(|consumer| &consumer.group));
            self.group_changed(changes);
        } else {
            self.tell_leader(|| PeerMessage::Register(said));
        }
    }

    /// A client on a connection of this member leaves groups.
    pub fn unregistered(self: &Arc<Self>, leave: Leave) {
        let changes = self.leave(HERE, &leave);
        match self.leads() {
            true => self.group_changed(changes),
            false => self.tell_leader(|| PeerMessage::Unregister(leave)),
        }
    }

    /// A connection of this member is closed; `stopping` if for no other reason than that this member is about to stop.
    pub(crate) fn connection_closed(self: &Arc<Self>, number: u64, stopping: bool) {
        self.clients.connections.lock().remove(&number);
        if self
            .clients
            .registry
            .lock()
            .knows(ConnectionId { member: HERE, number })
        {
            let changes = self.ended(HERE, number, stopping);
            let connection = number;
            match self.leads() {
                true => self.group_changed(changes),
                false => self.tell_leader(|| PeerMessage::Closed { connection, stopping }),
            }
        }
    }

    fn ended(&self, member: NodeId, number: u64, stopping: bool) -> Changes {
        let id = ConnectionId { member, number };
        let mut registry = self.clients.registry.lock();
        match stopping {
            true => registry.orphan(id, clock_ms()),
            false => registry.closed(id),
        }
    }

    /// Another member tells of its clients. Taken by the leader only: others would not know when to forget.
    pub(crate) fn told(self: &Arc<Self>, from: NodeId, message: PeerMessage) {
        if let PeerMessage::Notify(groups) = message {
            return self.notify_here(&groups);
        }
        let limit = self.settings().registrations_max;
        if !self.leads() {
            return;
        }
        let mut groups: Vec<Name> = Vec::new();
        let changes = match message {
            PeerMessage::Register(said) if said.check(limit).is_ok() => {
                groups.extend(said.consumers.iter().map(|consumer| consumer.group.clone()));
                self.clients.registry.lock().register(from, said, clock_ms())
            }
            PeerMessage::Unregister(leave) => self.leave(from, &leave),
            PeerMessage::Closed { connection, stopping } => self.ended(from, connection, stopping),
            _ => return,
        };
        self.found_groups(&groups);
        self.group_changed(changes);
    }

    /// A member tells this leader of all its clients. Answers what a young one should know.
    pub(crate) fn reported(self: &Arc<Self>, from: NodeId, report: Report) -> Bytes {
        let limit = self.settings().registrations_max;
        let mut all = report.clients;
        all.retain(|said| said.check(limit).is_ok());
        let consumers = all.iter().flat_map(|said| &said.consumers);
        let groups: Vec<Name> = consumers.map(|consumer| consumer.group.clone()).collect();
        let changes = self
            .clients
            .registry
            .lock()
            .report(from, report.boot_ms, all, clock_ms());
        self.clients.reports.lock().from.insert(from);
        self.found_groups(&groups);
        self.group_changed(changes);
        self.check_complete();
        match report.young {
            true => self.clients.with(|registry| registry.known(clock_ms())).encode(),
            false => Bytes::new(),
        }
    }

    fn leave(&self, member: NodeId, leave: &Leave) -> Changes {
        let id = ConnectionId {
            member,
            number: leave.connection,
        };
        let (producer, consumer) = (leave.producer.as_deref(), leave.consumer.as_deref());
        self.clients
            .registry
            .lock()
            .unregister(id, &leave.client_id, producer, consumer)
    }

    fn tell_leader(&self, message: impl FnOnce() -> PeerMessage) {
        if let (Leader::There { node, .. }, Some(group)) = (self.gate.standing.leader(self.own_id()), self.group()) {
            let _ = group.cast(node, message().encode()); // lost: the next report repeats it
        }
    }

    /// The leader tells the clients of changed groups, on all members.
    fn group_changed(&self, changes: Changes) {
        if changes.groups.is_empty() {
            return;
        }
        if !*self.clients.complete.borrow() {
            self.clients.reports.lock().changed.extend(changes.groups);
            return;
        }
        self.notify_everywhere(changes.groups);
    }

    fn notify_everywhere(&self, groups: Vec<Name>) {
        let settings = self.settings();
        if groups.is_empty() || !settings.notify_consumer_ids_changed {
            return;
        }
        let state = self.view.state();
        let wanted = |name: &Name| {
            state
                .groups
                .get(name)
                .is_none_or(|g| g.notify_consumer_ids_changed_enable)
        };
        let groups: Vec<Name> = groups.into_iter().filter(wanted).collect();
        drop(state);
        self.notify_here(&groups);
        let Some(group) = self.group() else { return };
        let message = PeerMessage::Notify(groups).encode();
        for member in self.other_members() {
            let _ = group.cast(member, message.clone()); // a member that is gone has no clients
        }
    }

    /// Consumer groups that clients name get a configuration and a retry topic, in the background: a heartbeat must be
    /// answered quickly.
    fn found_groups<'a>(&self, named: impl IntoIterator<Item = &'a Name>) {
        let settings = self.settings();
        for name in named {
            let state = self.view.state();
            let (known, groups) = (state.groups.get(name).cloned(), state.groups.len());
            let has_retry_topic = state.topics.get(&topic::retry(name)).is_some();
            drop(state);
            let may_create = settings.auto_create_subscription_group || topic::is_system_group(name);
            let skip = match &known {
                Some(config) => has_retry_topic || config.retry_queues == 0,
                None => !may_create || groups >= settings.groups_max,
            };
            if skip {
                continue;
            }
            let config = known.unwrap_or_else(|| GroupConfig::new(name.clone()));
            let retry = TopicConfig::new(topic::retry(name), config.retry_queues.max(1));
            let retry_topic = (config.retry_queues > 0).then(|| Box::new(retry));
            let wanted = UpsertGroup {
                config,
                only_if_absent: true,
                retry_topic,
            };
            self.ask(Ask::UpsertGroup(wanted, Reply::none()));
        }
    }

    fn other_members(&self) -> Vec<NodeId> {
        let Some(group) = self.group() else { return Vec::new() };
        let own = group.id();
        group
            .status()
            .members
            .into_iter()
            .map(|member| member.member.id)
            .filter(|id| *id != own)
            .collect()
    }

    /// Client ids of a consumer group once the list is complete; `None` if nobody is registered.
    pub async fn consumer_ids(&self, group: &str) -> Option<Vec<Name>> {
        let mut complete = self.clients.complete.subscribe();
        let _ = clock::timeout(REPORTS_WAIT, complete.wait_for(|complete| *complete)).await;
        self.clients
            .registry
            .lock()
            .consumers(group)
            .map(super::ConsumerGroup::client_ids)
    }

    /// Ends the wait for reports when nobody is missing.
    fn check_complete(&self) {
        if *self.clients.complete.borrow() || !self.leads() {
            return;
        }
        let others = self.other_members();
        let mut reports = self.clients.reports.lock();
        if others.iter().all(|member| reports.from.contains(member)) {
            let changed = reports.changed.drain().collect();
            drop(reports);
            self.clients.complete.send_replace(true);
            self.notify_everywhere(changed);
        }
    }

    /// The wait for reports is over, whoever is missing.
    fn complete_anyway(&self, term: Term) {
        let mut reports = self.clients.reports.lock();
        if reports.term != Some(term) || !self.leads() {
            return;
        }
        let changed = reports.changed.drain().collect();
        drop(reports);
        if !self.clients.complete.send_replace(true) {
            self.notify_everywhere(changed);
        }
    }

    /// Follows leadership: collects reports as leader, sends them as follower. Runs as long as the broker.
    pub(crate) async fn keep_clients(self: Arc<Self>) {
        let mut watch = self.gate.standing.watch();
        loop {
            let leadership = watch.borrow_and_update().clone();
            if leadership.ready {
                self.lead_clients(leadership.term);
            } else {
                self.follow_clients();
                if let Leader::There { node, .. } = self.gate.standing.leader(self.own_id()) {
                    self.report_to(node).await;
                }
            }
            let every = if self.clients.is_young() {
                YOUNG_EVERY
            } else {
                REPORT_EVERY
            };
            // Ends early on a change of leadership.
            if let Ok(Err(_)) = clock::timeout(every, watch.changed()).await {
                return;
            }
        }
    }

    fn lead_clients(self: &Arc<Self>, term: Term) {
        let mut reports = self.clients.reports.lock();
        if reports.term == Some(term) {
            return;
        }
        *reports = super::Reports {
            term: Some(term),
            ..Default::default()
        };
        drop(reports);
        // Members that told us before may have told of groups that nobody created since.
        let all: Vec<Name> = self
            .clients
            .with(|registry| registry.all_consumers().map(|(name, _)| name.clone()).collect());
        self.found_groups(&all);
        self.check_complete();
        let broker = self.clone();
        drop(self.spawner.spawn("reports of members", async move {
            let deadline = clock::now() + REPORTS_WAIT;
            while clock::now() < deadline && !*broker.clients.complete.borrow() {
                clock::sleep(LIVE_WITHIN).await;
                if broker.live_members_reported() {
                    break;
                }
            }
            broker.complete_anyway(term);
        }));
    }

    /// Whether all members that this leader has heard of lately have reported. Asked only some time after the election:
    /// by then those that live have answered a heartbeat.
    fn live_members_reported(&self) -> bool {
        let Some(group) = self.group() else { return false };
        let own = group.id();
        let reports = self.clients.reports.lock();
        let lives = |heard: Option<u64>| heard.is_some_and(|ms| ms < LIVE_WITHIN.as_millis() as u64);
        let mut live = group
            .status()
            .members
            .into_iter()
            .filter(|member| lives(member.heard_ms_ago));
        live.all(|member| member.member.id == own || reports.from.contains(&member.member.id))
    }

    /// A member that does not lead knows its own clients only.
    fn follow_clients(&self) {
        self.clients.complete.send_replace(false);
        self.clients.reports.lock().term = None;
        let mut registry = self.clients.registry.lock();
        let others: Vec<NodeId> = registry
            .members()
            .into_iter()
            .filter(|member| ![HERE, LOST].contains(member))
            .collect();
        for member in others {
            registry.forget_member(member);
        }
    }

    async fn report_to(&self, leader: NodeId) {
        let Some(group) = self.group() else { return };
        let mut watch = self.gate.standing.watch();
        watch.mark_unchanged();
        loop {
            let report = Report {
                boot_ms: self.identity.boot_ms,
                young: self.clients.is_young(),
                clients: self.clients.registry.lock().of_member(HERE),
            };
            let answer = group
                .call(leader, PeerMessage::Report(report).encode(), REPORT_TIMEOUT)
                .await;
            match answer.as_ref().map(Known::decode) {
                Ok(Ok(known)) if !self.leads() => {
                    self.clients.registry.lock().inherit(known, clock_ms());
                    return;
                }
                // An empty answer is a leader's; one that is not ready says so and is asked again.
                _ if answer.as_ref().is_ok_and(|answer| answer.is_empty()) || watch.has_changed().unwrap_or(true) => {
                    return;
                }
                _ => {}
            }
            if clock::timeout(Duration::from_millis(50), watch.changed()).await.is_ok() {
                watch.mark_changed();
                return;
            }
        }
    }

    /// Closes the connections of clients that have been silent too long. Runs as long as the broker.
    pub(crate) async fn forget_silent_clients(self: Arc<Self>) {
        loop {
            clock::sleep(SCAN_EVERY).await;
            let limit = clock_ms() - self.settings().channel_expired_ms as i64;
            let silent = self.clients.registry.lock().silent(HERE, limit);
            for id in silent {
                if let Some(connection) = self.clients.connection(id.number) {
                    connection.close(CloseReason::Local("its client has been silent too long"));
                }
                self.connection_closed(id.number, false);
            }
            self.forget_lost();
        }
    }

    /// Lets go of clients that were expected back and did not come. The leader no longer counts on what a member that is
    /// gone had told.
    fn forget_lost(self: &Arc<Self>) {
        let gone = self.members_gone();
        let mut registry = self.clients.registry.lock();
        let now_ms = clock_ms();
        let mut changes = Changes::default();
        for member in gone {
            changes.merge(registry.orphan_member(member, now_ms));
        }
        for orphan in registry.overdue(now_ms) {
            changes.merge(registry.closed(orphan));
        }
        drop(registry);
        if self.leads() {
            self.group_changed(changes);
        }
    }

    fn members_gone(&self) -> Vec<NodeId> {
        let Some(group) = self.group().filter(|_| self.leads()) else {
            return Vec::new();
        };
        let silent = |heard: Option<u64>| heard.is_none_or(|ms| ms > MEMBER_GONE.as_millis() as u64);
        let members = group.status().members.into_iter();
        members
            .filter(|member| member.member.id != group.id() && silent(member.heard_ms_ago))
            .map(|member| member.member.id)
            .collect()
    }
}

/// Milliseconds on the wall clock; only differences of it are used here, and a jump costs a heartbeat at most.
fn clock_ms() -> i64 {
    clock::wall_ms()
}
