//! Putting a member together: recover the log, start Raft, open the listener, start the tasks.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mq_base::env::bug::{self, Bug};
use mq_base::env::disk::Disk;
use mq_base::env::net::TcpListener;
use mq_base::env::{clock, random, task};
use mq_base::stop::{Stop, StopSource};
use mq_store::{Log, LogOptions, NodeId};
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::application::{Application, Decide};
use crate::bootstrap::{Admission, Newcomer};
use crate::caution::{Caution, Trust};
use crate::checkpoint::Files;
use crate::config::{GroupConfig, JoinAs};
use crate::control::Control;
use crate::election_driver::Driver;
use crate::group::{Leadership, Member, Parts, PeerService, Planned, Raft, StartError};
use crate::leadership;
use crate::log_adapter::LogStore;
use crate::peer::dial::Local;
use crate::peer::incoming::Incoming;
use crate::peer::message::Ask;
use crate::peer::network::{Factory, Network};
use crate::peer::server::{Service, Up, serve};
use crate::proposer::{Proposer, Queue};
use crate::repair::{Mender, Source};
use crate::state_machine::{Rhythm, StateMachine};

fn io(doing: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Io { doing, source }
}

fn check(config: &GroupConfig) -> Result<(), StartError> {
    let wrong = |name, reason: &str| {
        Err(StartError::Setting {
            name,
            reason: reason.to_owned(),
        })
    };
    if config.join_as == JoinAs::Voter && !config.peers.iter().any(|peer| peer.slot == config.slot) {
        return wrong("peers", "this member's own slot is missing");
    }
    let mut slots: Vec<_> = config.peers.iter().map(|peer| &peer.slot).collect();
    slots.sort();
    if slots.windows(2).any(|pair| pair[0] == pair[1]) {
        return wrong("peers", "a slot is named twice");
    }
    if config.election <= config.heartbeat * 2 {
        return wrong("election", "must be more than two heartbeats");
    }
    Ok(())
}

/// openraft's settings. Why each one differs from the default is measured; see the ADR on Raft.
pub(crate) fn raft_config(config: &GroupConfig) -> Result<openraft::Config, StartError> {
    let election_min = config.election.as_millis() as u64;
    let raft = openraft::Config {
        cluster_name: format!("{}/{}", config.cluster, config.group),
        heartbeat_interval: config.heartbeat.as_millis() as u64,
        election_timeout_min: election_min,
        election_timeout_max: election_min * 2,
        enable_pre_vote: Some(true),
        // With it a restarted leader goes on under its old vote, with a log that may lack entries its followers have
        // already committed: members diverge silently. Never enable it while flushing is asynchronous.
        enable_leader_restore: Some(bug::is_back(Bug::LeaderRestore)),
        // A member that lost its unsynced tail may be told to forget that it had it; never when everything is synced.
        allow_log_reversion: (!config.sync).then_some(true),
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        max_payload_entries: 4096,
        max_append_entries: Some(4096),
        api_channel_size: Some(4096),
        api_batch_linger_ms: 0,
        backoff: "20ms 40ms 80ms 160ms 320ms 500ms".into(),
        ..openraft::Config::default()
    };
    raft.validate().map_err(|e| StartError::Setting {
        name: "raft",
        reason: e.to_string(),
    })
}

/// Opens the log, which may be interrupted by damage, and says whether entries may be missing that were acknowledged.
fn open_log(config: &GroupConfig, disk: Arc<dyn Disk>, files: &Files) -> Result<(Log, bool), StartError> {
    let options = LogOptions {
        cluster: config.cluster.clone(),
        group: config.group.clone(),
        segment_bytes: config.segment_bytes,
        window_bytes: config.window_bytes,
        cached_bytes: config.cached_bytes,
        sync: config.sync,
        ..LogOptions::default()
    };
    let from = files.recent().map(|checkpoint| checkpoint.known);
    let (log, recovered) =
        Log::open(disk, &config.dir, options, from).map_err(|e| io("open the log")(io::Error::other(e)))?;
    if let Some(cut) = &recovered.cut {
        tracing::warn!(offset = %cut.offset, what = %cut.what, "a torn tail of the log was cut off");
    }
    if recovered.mark_lost {
        tracing::error!("the flush mark is damaged: it is not known how much of the log was synced");
    }
    let lost = !config.sync && recovered.unclean_machine || recovered.mark_lost;
    Ok((log, lost))
}

/// What stands on a log that is whole.
struct Opened {
    store: LogStore,
    machine: StateMachine,
    caution: Caution,
}

fn open_state(
    config: &GroupConfig,
    disk: Arc<dyn Disk>,
    files: Files,
    app: Box<dyn Application>,
    log: Log,
    mender: Arc<Mender>,
    lost: bool,
) -> Result<Opened, StartError> {
    let last = log.tail().last.filter(|last| log.base().last != Some(*last));
    let last = last.map(|last| log.header(last.index)).transpose();
    let log_time_ms = last
        .map_err(io("read the last entry"))?
        .map_or(0, |header| header.log_time_ms);
    let store = LogStore::new(log.clone(), log_time_ms, Some(mender));
    let rhythm = Rhythm {
        bytes: config.checkpoint_bytes,
        every: config.checkpoint_every,
    };
    let machine = StateMachine::open(app, log, files, rhythm, store.installed())
        .map_err(io("restore the state from its checkpoint"))?;
    store.raise_log_time(machine.log_time_ms());
    let caution = Caution::open(disk, &config.dir, lost).map_err(io("note the unclean restart"))?;
    Ok(Opened {
        store,
        machine,
        caution,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let done = task::spawn_blocking("open group", work).await;
    done.map_err(|e| io("open the log")(io::Error::other(e)))?
}

pub(crate) async fn start<D: Decide>(
    config: GroupConfig,
    disk: Arc<dyn Disk>,
    app: Box<dyn Application>,
    decide: D,
    service: Arc<dyn PeerService>,
) -> Result<Parts<D::Request>, StartError> {
    check(&config)?;
    let raft_config = Arc::new(raft_config(&config)?);
    let files = Files::new(disk.clone(), &config.dir);
    let (opening, on, of) = (config.clone(), disk.clone(), files.clone());
    let (log, lost) = blocking(move || open_log(&opening, on, &of)).await?;
    let id = log.node();
    let local = Arc::new(Local {
        cluster: config.cluster.clone(),
        group: config.group.clone(),
        member: Member {
            id,
            slot: config.slot.clone(),
            peer_addr: config.peer_addr.clone(),
            client_addr: config.client_addr.clone(),
        },
        boot: random::u64(),
        segment_bytes: log.segment_bytes(),
        log: log.clone(),
        up: AtomicBool::new(false),
    });
    let listener = listen(&config.peer_addr).await.map_err(io("open the peer listener"))?;
    let (stop, stopped) = StopSource::new();
    let (stop_listener, listener_stopped) = StopSource::new();
    let (incoming, connections) = Incoming::new();
    let incoming = Arc::new(incoming);
    let serving = Arc::new(Service {
        local: local.clone(),
        incoming: incoming.clone(),
        source: Source::new(log.clone()),
        up: OnceLock::new(),
    });
    // Before anything else: other members may need this one's bytes to get so far themselves.
    let server = task::spawn("peer listener", serve(serving.clone(), listener, listener_stopped));

    let mender = Mender::new(local.clone(), log.clone(), config.peers.clone());
    mender.make_whole().await?;
    let (opening, on, whole, with) = (config.clone(), disk, log.clone(), mender.clone());
    let opened = blocking(move || open_state(&opening, on, files, app, whole, with, lost)).await?;
    let Opened {
        store,
        machine,
        caution,
    } = opened;
    let shared = machine.shared();
    let _ = serving.source.machine.set(shared.clone());
    task::spawn("mender", mender.clone().run(stopped.clone()));
    let network = Network::new(local.clone(), config.heartbeat.mul_f64(0.8));
    let raft = Raft::new(id.0, raft_config, Factory(network.clone()), store.clone(), machine)
        .await
        .map_err(|e| match mender.hopeless() {
            Some(why) => StartError::Damaged(why),
            None => io("start Raft")(io::Error::other(e.to_string())),
        })?;

    let _ = mender.raft.set(raft.clone());
    let caution = Arc::new(caution);
    let planned = Arc::new(Planned::default());
    let admission = Admission::new(raft.clone());
    let (tell, told) = mpsc::channel(64);

    let control = Arc::new(Control {
        raft: raft.clone(),
        log: log.clone(),
        caution: caution.clone(),
        planned: planned.clone(),
        admission: admission.clone(),
        told: tell,
    });
    let up = Up {
        raft: raft.clone(),
        app: service,
        control,
        buffers: log.buffers().clone(),
    };
    let _ = serving.up.set(Arc::new(up));
    local.up.store(true, Ordering::Release);

    let (leadership_out, leadership_in) = watch::channel(Leadership::default());
    let (ready_out, ready_in) = watch::channel(None);
    let (failed_out, failed_in) = watch::channel(None);
    let applied = shared.applied.subscribe();
    let watching = leadership::watch(raft.clone(), applied, leadership_out, ready_out);
    let (poisoned, unsynced, ending) = (log.poisoned(), shared.unsynced(), stopped.clone());
    task::spawn("leadership", async move {
        let reason = tokio::select! {
            biased;
            reason = watching => reason,
            () = poisoned.wait() => "a write or sync of the log failed".to_owned(),
            () = unsynced.wait() => "a sync of the consume queues or the index failed".to_owned(),
        };
        if !ending.is_stopped() {
            tracing::error!(%reason, "this member cannot go on");
            failed_out.send_replace(Some(reason));
        }
        // Keeps the channel open: a receiver must not take its end for a failure.
        ending.wait().await;
    });

    let queue = Arc::new(Queue::new(config.queue_bytes_max));
    let proposer = Proposer::new(
        decide,
        raft.clone(),
        store,
        queue.clone(),
        ready_in,
        shared.applied.subscribe(),
        stopped.clone(),
    );
    let proposer = task::spawn("proposer", proposer.run());

    let driver = Driver {
        local: local.clone(),
        raft: raft.clone(),
        log: log.clone(),
        sync: config.sync,
        network: network.clone(),
        incoming: incoming.clone(),
        caution: caution.clone(),
    };
    task::spawn("election driver", driver.run(connections, told, stopped.clone()));
    let newcomer = Newcomer {
        local,
        raft: raft.clone(),
        network: network.clone(),
        peers: config.peers.clone(),
        join_as: config.join_as,
    };
    task::spawn("newcomer", newcomer.run(stopped.clone()));
    if caution.trust() != Trust::Full {
        task::spawn(
            "caution",
            regain_trust(caution, raft.clone(), log.clone(), network.clone(), stopped.clone()),
        );
    }

    Ok(Parts {
        raft,
        log,
        id,
        queue,
        leadership: leadership_in,
        failed: failed_in,
        network,
        incoming,
        machine: shared,
        admission,
        planned,
        stop,
        stop_listener,
        proposer: Mutex::new(Some(proposer)),
        server: Mutex::new(Some(server)),
    })
}

/// See [`GroupConfig::peer_addr`].
async fn listen(peer_addr: &str) -> io::Result<TcpListener> {
    if peer_addr.parse::<SocketAddr>().is_ok() {
        match TcpListener::bind(peer_addr).await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            bound => return bound,
        }
    }
    let port = peer_addr.rsplit_once(':').map_or("0", |(_, port)| port);
    TcpListener::bind(&format!("0.0.0.0:{port}")).await
}

const LAST_LOG_WITHIN: Duration = Duration::from_millis(500);

/// After an unclean restart of the machine: see [`Caution`].
async fn regain_trust(caution: Arc<Caution>, raft: Raft, log: Log, network: Arc<Network>, stop: Stop) {
    tracing::warn!("acknowledged entries may be missing here: no vote until the other members' logs are known");
    let mut target = None;
    while !stop.is_stopped() {
        let server = raft.server_metrics().borrow_watched().clone();
        let membership = server.membership_config.membership();
        let me = server.id;
        let mut greatest = log.tail().last;
        // A log that lost even its membership knows nobody to ask: that is no agreement.
        let mut all = membership.voter_ids().next().is_some();
        for id in membership.voter_ids().filter(|id| *id != me) {
            let Some(member) = membership.get_node(&id) else {
                continue;
            };
            let peer = network.peer(NodeId(id), &member.peer_addr);
            let answer = peer.control.ask(Ask::LastLog, LAST_LOG_WITHIN).await.ok();
            match answer.and_then(|bytes| crate::codec::Take(&bytes).log_id().ok()) {
                Some(last) => greatest = greatest.max(last),
                None => all = false,
            }
        }
        if all {
            caution.floor(greatest);
        }
        // A leader's commit, seen now, covers whatever was acknowledged before the power went. Of its own term only: until
        // then a new leader does not know itself how much was committed before it.
        if server.current_leader.is_some_and(|leader| leader != me) && target.is_none() {
            let metrics = raft.metrics().borrow_watched().clone();
            let own = metrics
                .cluster_committed
                .filter(|id| id.leader_id == metrics.vote.leader_id);
            target = own.map(|id| id.index);
        }
        // Elected by members that knew the floor: nothing is missing here.
        let leads = server.state == openraft::ServerState::Leader && server.vote.committed;
        let floor_reached = matches!(caution.trust(), Trust::From(floor) if log.tail().last >= floor);
        let caught_up = target.is_some_and(|target| log.tail().last.is_some_and(|last| last.index.0 >= target));
        raft.runtime_config().elect(floor_reached || caught_up);
        if caught_up || leads {
            let noted = task::spawn_blocking("caution", move || caution.caught_up().map(|()| caution));
            match noted.await {
                Ok(Ok(_)) => tracing::info!("caught up with the leader: votes again"),
                _ => tracing::error!("could not remove the mark of the unclean restart; it is tried at the next start"),
            }
            return;
        }
        tokio::select! { biased; () = stop.wait() => return, () = clock::sleep(Duration::from_millis(100)) => {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tests/traps.rs` cannot see from outside.
    #[test]
    fn the_settings_that_keep_the_log_safe() {
        for sync in [true, false] {
            let config = GroupConfig {
                sync,
                ..GroupConfig::new("c", "g", "/nowhere")
            };
            let raft = raft_config(&config).unwrap();
            assert_eq!(
                raft.enable_leader_restore,
                Some(false),
                "members diverge silently with it"
            );
            assert_eq!(
                raft.allow_log_reversion,
                (!sync).then_some(true),
                "a synced log never goes back"
            );
            assert_eq!(raft.enable_pre_vote, Some(true));
            assert_eq!(
                raft.snapshot_policy,
                openraft::SnapshotPolicy::Never,
                "the broker decides what is purged"
            );
            assert_eq!(
                raft.max_in_snapshot_log_to_keep, 0,
                "the log begins exactly at the anchor"
            );
        }
    }
}
