//! Damaged bytes of the own log come back from another member.
//!
//! *At start*, when the chain is broken below the flush mark, nothing else happens before it is whole again: Raft is not
//! started, so this member neither votes nor serves. *While running*, reads report what they come upon; it is repaired
//! in the background, and who needs those entries (apply, replication) waits.
//!
//! `verdict` says what an answer proves, `source` gives the answers; the store writes.

mod source;
mod verdict;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mq_base::env::{clock, task};
use mq_base::stop::Stop;
use mq_store::{Damage, Entry, Gap, Log, NodeId, Proof, Tail, promise};
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::Peer;
use crate::group::{Raft, StartError};
use crate::peer::channel::Channel;
use crate::peer::dial::Local;
use crate::peer::message::{Ask, Fetch, Fetched, Place, Purpose};
pub use source::Source;
use verdict::judge;

const CONNECT_WITHIN: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two rounds of asking everybody; doubled while nobody can help ...
const PAUSE: Duration = Duration::from_millis(125);
/// ... up to this.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A start is given up when everybody said so many times that it cannot help: they may need this member's bytes, too.
const HOPELESS_ROUNDS: u32 = 10;
/// How often a member that waits for bytes says so.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Most damaged places that are being repaired; the next read finds the others again.
const OPEN_MAX: usize = 64;

/// See the module.
pub struct Mender {
    local: Arc<Local>,
    log: Log,
    peers: Vec<Peer>,
    /// Once it runs: its membership names members that the settings do not.
    pub raft: OnceLock<Raft>,
    repaired: Notify,
    hopeless: Mutex<Option<String>>,
}

/// What one round came to.
enum Round {
    /// Nothing is damaged there (any more).
    Whole,
    /// Something was put back behind this place.
    Progress(Tail),
    /// What everybody said.
    Stuck(Vec<Said>),
}

/// Why a member was no help.
struct Said {
    who: String,
    what: String,
    /// It will say the same tomorrow.
    final_word: bool,
}

impl Mender {
    /// Asks these, and whoever is a member.
    pub fn new(local: Arc<Local>, log: Log, peers: Vec<Peer>) -> Arc<Self> {
        Arc::new(Self {
            local,
            log,
            peers,
            raft: OnceLock::new(),
            repaired: Notify::new(),
            hopeless: Mutex::default(),
        })
    }

    /// Makes an interrupted log whole. Waits for members that cannot be reached; fails when there are none, or when all
    /// of them say that they cannot help.
    pub async fn make_whole(&self) -> Result<(), StartError> {
        let Some(damage) = self.log.damage() else { return Ok(()) };
        tracing::error!(segment = %self.segment(&damage), %damage, "no vote and no service before the other members have repaired this");
        let (mut hopeless, mut said_at, mut pause) = (0, clock::now(), PAUSE);
        while let Some(damage) = self.log.damage() {
            let round = self.round(None).await.map_err(|source| StartError::Io {
                doing: "repair the log",
                source,
            })?;
            let said = match round {
                Round::Whole => break,
                Round::Progress(_) => {
                    (hopeless, pause) = (0, PAUSE);
                    continue;
                }
                Round::Stuck(said) => said,
            };
            hopeless = if said.iter().all(|said| said.final_word) {
                hopeless + 1
            } else {
                0
            };
            if said.is_empty() || hopeless >= HOPELESS_ROUNDS {
                return Err(StartError::Damaged(self.refusal(&damage, &said)));
            }
            if said_at.elapsed() >= SAY_EVERY {
                said_at = clock::now();
                tracing::error!(segment = %self.segment(&damage), %damage, members = %list(&said), "still waiting for a repair");
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let (done, flushed) = promise();
        self.log.flush(done);
        flushed.await.map_err(|source| StartError::Io {
            doing: "flush the repaired log",
            source,
        })?;
        tracing::info!(tail = ?self.log.tail().last, "the log is whole again");
        Ok(())
    }

    /// Repairs what reads come upon, until stopped.
    pub async fn run(self: Arc<Self>, stop: Stop) {
        let mut open: Vec<Damage> = Vec::new();
        let mut said_at: Option<clock::Instant> = None;
        let mut pause = PAUSE;
        let mut next_try = clock::now();
        loop {
            let found = async {
                if open.is_empty() {
                    return Some(self.log.next_damage().await);
                }
                let left = next_try.saturating_duration_since(clock::now());
                clock::timeout(left, self.log.next_damage()).await.ok()
            };
            let found = tokio::select! { biased; () = stop.wait() => return, found = found => found };
            if let Some(damage) = found {
                if open.len() >= OPEN_MAX || open.iter().any(|known| known.offset == damage.offset) {
                    continue; // Known, and reading it again brings no repair nearer.
                }
                tracing::error!(segment = %self.segment(&damage), %damage, "read; it is not served before it is repaired");
                open.push(damage);
            }
            let mut left = Vec::new();
            for damage in open {
                let mended =
                    tokio::select! { biased; () = stop.wait() => return, mended = self.mend(&damage) => mended };
                match mended {
                    Ok(None) => self.repaired.notify_waiters(),
                    Ok(Some(said)) => {
                        if said_at.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                            said_at = Some(clock::now());
                            tracing::error!("{}", self.refusal(&damage, &said));
                        }
                        left.push(damage);
                    }
                    Err(error) => {
                        tracing::error!(%damage, %error, "repair the log");
                        left.push(damage);
                    }
                }
            }
            open = left;
            next_try = clock::now() + pause;
            pause = if open.is_empty() {
                PAUSE
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
        }
    }

    /// For who cannot go on without what `error` says is damaged: true when it is worth trying again.
    pub async fn wait(&self, error: &io::Error) -> bool {
        let Some(damage) = Damage::of(error) else { return false };
        if self.others().is_empty() {
            *self.hopeless.lock() = Some(self.refusal(damage, &[]));
            return false;
        }
        let _ = clock::timeout(PAUSE, self.repaired.notified()).await;
        true
    }

    /// Why a read had to fail: there is nobody to repair what it came upon.
    pub fn hopeless(&self) -> Option<String> {
        self.hopeless.lock().clone()
    }

    /// `None` when it is whole, else what everybody said.
    async fn mend(&self, damage: &Damage) -> io::Result<Option<Vec<Said>>> {
        let mut last = None;
        loop {
            match self.round(Some(damage)).await? {
                Round::Whole => return Ok(None),
                Round::Progress(after) => {
                    tracing::info!(%damage, "repaired from another member");
                    // A sector that reads badly even after it was written would be written for ever.
                    if last.replace(after) == Some(after) {
                        clock::sleep(PAUSE_MAX).await;
                    }
                }
                Round::Stuck(said) => return Ok(Some(said)),
            }
        }
    }

    /// Asks one member after the other until one could help.
    async fn round(&self, found: Option<&Damage>) -> io::Result<Round> {
        let Some(gap) = self.gap(found).await? else {
            return Ok(Round::Whole);
        };
        let mut said = Vec::new();
        for (who, addr) in self.others() {
            let (what, final_word) = match self.ask(&addr, &gap).await {
                Ok(answer) => {
                    let place = answer.place;
                    if self.act(&gap, answer).await? {
                        return Ok(Round::Progress(gap.after));
                    }
                    let last = matches!(place, Place::Purged | Place::Damaged);
                    (describe(place).to_owned(), last)
                }
                Err(reason) => (reason, false),
            };
            said.push(Said { who, what, final_word });
        }
        Ok(Round::Stuck(said))
    }

    async fn gap(&self, found: Option<&Damage>) -> io::Result<Option<Gap>> {
        let (log, found) = (self.log.clone(), found.cloned());
        let look = task::spawn_blocking("look at damage", move || log.gap(found.as_ref()));
        look.await.map_err(io::Error::other)?
    }

    async fn ask(&self, addr: &str, gap: &Gap) -> Result<Fetched, String> {
        let anybody = NodeId(0);
        let channel = Channel::new(
            self.local.clone(),
            Purpose::Repair,
            anybody,
            addr.to_owned(),
            CONNECT_WITHIN,
        );
        let fetch = Fetch {
            after: gap.after,
            anchors: gap.anchors.iter().copied().take(Fetch::ANCHORS_MAX).collect(),
        };
        let answer = channel.ask(Ask::Fetch(fetch), ANSWER_WITHIN).await;
        let answer = answer.map_err(|error| error.to_string())?;
        Fetched::decode(answer).map_err(|error| error.to_string())
    }

    /// Does what the answer allows; whether that changed anything.
    async fn act(&self, gap: &Gap, answer: Fetched) -> io::Result<bool> {
        let verdict = judge(gap, self.log.damage().is_some(), &answer);
        let mut entries = answer.entries;
        if !entries.is_empty() && self.put_back(entries.clone(), Proof::Chain).await? {
            return Ok(true);
        }
        entries.truncate(verdict.vouched);
        if !entries.is_empty() {
            return self.put_back(entries, Proof::Vouched(gap.generation)).await;
        }
        match verdict.dead {
            true => self.end().await,
            false => Ok(false),
        }
    }

    /// Whether the log took them.
    async fn put_back(&self, entries: Vec<Entry>, proof: Proof) -> io::Result<bool> {
        let (done, repaired) = promise();
        let (first, count) = (entries.first().map(Entry::id), entries.len());
        self.log.repair(entries, proof, done);
        match repaired.await {
            Ok(()) => {
                tracing::info!(?first, offered = count, ?proof, "put entries back");
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                tracing::debug!(?first, offered = count, ?proof, %error, "not put back");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn end(&self) -> io::Result<bool> {
        tracing::warn!(
            last = ?self.log.tail().last,
            "what was lost here was never committed and never can be: the log ends before it"
        );
        let (done, ended) = promise();
        self.log.end_at_damage(done);
        ended.await?;
        Ok(true)
    }

    /// Seat and address of the other members, by the settings and by the membership.
    fn others(&self) -> Vec<(String, String)> {
        let me = &self.local.member;
        let configured = self.peers.iter().filter(|peer| peer.slot != me.slot);
        let mut others: Vec<_> = configured
            .map(|peer| (peer.slot.clone(), peer.peer_addr.clone()))
            .collect();
        let membership = self.raft.get().map(|raft| {
            let metrics = raft.server_metrics().borrow_watched().clone();
            metrics.membership_config.membership().clone()
        });
        for (id, member) in membership.iter().flat_map(|membership| membership.nodes()) {
            let known = others.iter().any(|(_, addr)| *addr == member.peer_addr);
            if *id != me.id.0 && member.slot != me.slot && !known {
                others.push((member.slot.clone(), member.peer_addr.clone()));
            }
        }
        others
    }

    fn segment(&self, damage: &Damage) -> String {
        let offset = damage.offset.get();
        format!("commitlog/{:020}", offset - offset % self.local.segment_bytes)
    }

    /// The sentence for who has to help.
    fn refusal(&self, damage: &Damage, said: &[Said]) -> String {
        let who = match said.is_empty() {
            true => "there is no other member to repair it from".to_owned(),
            false => format!("no other member can repair it now ({})", list(said)),
        };
        format!(
            "{damage}, in segment {}; {who}. `mqstore inspect` on the folder shows what is intact. Restore the folder from a \
             copy; or, if a majority of the group is sound, empty it, and it is fetched from them",
            self.segment(damage)
        )
    }
}

fn list(said: &[Said]) -> String {
    let all: Vec<_> = said.iter().map(|said| format!("{}: {}", said.who, said.what)).collect();
    all.join("; ")
}

fn describe(place: Place) -> &'static str {
    match place {
        Place::Here => "has that part, but nothing proves yet that it is the same",
        Place::Other => "has other entries before it",
        Place::Beyond => "its log ends before it",
        Place::Purged => "has deleted that part",
        Place::Damaged => "is damaged there, too",
    }
}

#[cfg(test)]
mod tests;
