//! Bodies of the frames between members: hello, appends, votes, snapshots, election notices, joining.

use bytes::Bytes;
use mq_store::{LogId, NodeId, Tail};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use crate::codec::{Malformed, Put, Take};
use crate::group::Member;
use crate::types::{LogEntry, SnapshotMeta, TypeConfig, Vote, from_raft, to_raft};

type Result<T> = std::result::Result<T, Malformed>;
/// Result of one append: the last matching log id, or why not.
pub type Appended = std::result::Result<Option<crate::types::RaftLogId>, StreamAppendError<TypeConfig>>;

/// Version of this protocol. Members of another version refuse each other.
pub const VERSION: u16 = 1;
const MAGIC: u32 = 0x4642_5031; // "FBP1"

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Appends and heartbeats of a leader; each kind on a connection of its own.
    Append = 1,
    /// Votes, election notices, joining, leadership transfer.
    Control = 2,
    /// Snapshots.
    Snapshot = 3,
    /// Messages of the broker.
    App = 4,
    /// Only asks who is there.
    Probe = 5,
    /// Fetches what is damaged in the own log. Answered even by a member that cannot take part yet.
    Repair = 6,
}

/// Who is on the other side, said first on each connection, in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for.
    pub purpose: Purpose,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the group.
    pub group: String,
    /// The sender.
    pub member: Member,
    /// Whom the sender expects (0: anybody).
    pub to: NodeId,
    /// Random per process: another one means that the process before has died.
    pub boot: u64,
    /// Of two connections of one process the later has the greater number.
    pub number: u64,
    /// The sender's data folder has never held a log.
    pub empty: bool,
    /// Group state that must be equal everywhere.
    pub segment_bytes: u64,
}

impl Hello {
    /// To bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(160);
        out.u32(MAGIC);
        out.u16(VERSION);
        out.u8(self.purpose as u8);
        out.text(&self.cluster);
        out.text(&self.group);
        out.member(&self.member);
        out.u64(self.to.0);
        out.u64(self.boot);
        out.u64(self.number);
        out.u8(self.empty as u8);
        out.u64(self.segment_bytes);
        out.into()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Hello> {
        let mut take = Take(bytes);
        if take.u32()? != MAGIC {
            return Err(Malformed("hello: not a member's connection"));
        }
        if take.u16()? != VERSION {
            return Err(Malformed("hello: other protocol version"));
        }
        use Purpose::*;
        let purpose = take.u8()?;
        let hello = Hello {
            purpose: [Append, Control, Snapshot, App, Probe, Repair]
                .into_iter()
                .find(|p| *p as u8 == purpose)
                .ok_or(Malformed("hello: purpose"))?,
            cluster: take.text()?,
            group: take.text()?,
            member: take.member()?,
            to: NodeId(take.u64()?),
            boot: take.u64()?,
            number: take.u64()?,
            empty: take.flag()?,
            segment_bytes: take.u64()?,
        };
        take.end()?;
        Ok(hello)
    }
}

/// Head of an append frame's body; the entries' stored bytes follow it.
pub fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.vote(&request.vote);
    out.log_id(request.prev_log_id.as_ref().map(from_raft));
    out.log_id(request.leader_commit.as_ref().map(from_raft));
    out.u32(request.entries.len() as u32);
    out
}

/// Reads an append frame; the entries share its buffer.
pub fn decode_append(mut body: Bytes) -> Result<AppendEntriesRequest<TypeConfig>> {
    let mut take = Take(&body);
    let vote = take.vote()?;
    let prev = take.log_id()?;
    let commit = take.log_id()?;
    let count = take.u32()? as usize;
    let head = body.len() - take.0.len();
    bytes::Buf::advance(&mut body, head);
    let mut entries = Vec::with_capacity(count.min(4096));
    let mut last = prev;
    for _ in 0..count {
        let entry = mq_store::Entry::split_from(&mut body)
            .map_err(|_| Malformed("append: entry"))?
            .ok_or(Malformed("append: fewer entries than said"))?;
        if last.is_some_and(|last| entry.index() != last.index.next()) {
            return Err(Malformed("append: gap between entries"));
        }
        last = Some(entry.id());
        entries.push(LogEntry::stored(entry));
    }
    Take(&body).end()?;
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id: prev.map(to_raft),
        entries,
        leader_commit: commit.map(to_raft),
    })
}

/// The result of an append.
pub fn encode_appended(result: &Appended) -> Bytes {
    let mut out = Vec::with_capacity(32);
    match result {
        Ok(matching) => {
            out.u8(0);
            out.log_id(matching.as_ref().map(from_raft));
        }
        Err(StreamAppendError::Conflict(at)) => {
            out.u8(1);
            out.log_id(Some(from_raft(at)));
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            out.u8(2);
            out.vote(vote);
        }
    }
    out.into()
}

/// See [`encode_appended`].
pub fn decode_appended(bytes: &[u8]) -> Result<Appended> {
    let mut take = Take(bytes);
    let result = match take.u8()? {
        0 => Ok(take.log_id()?.map(to_raft)),
        1 => {
            let at = take.log_id()?.ok_or(Malformed("appended: conflict without place"))?;
            Err(StreamAppendError::Conflict(to_raft(at)))
        }
        2 => Err(StreamAppendError::HigherVote(take.vote()?)),
        _ => return Err(Malformed("appended: result")),
    };
    take.end()?;
    Ok(result)
}

/// Questions on control, snapshot and app connections: one byte of subject, then this.
#[derive(Debug)]
pub enum Ask {
    /// Would you vote for me?
    PreVote(VoteRequest<TypeConfig>),
    /// Vote for me.
    Vote(VoteRequest<TypeConfig>),
    /// Planned transfer of leadership.
    Transfer(TransferLeaderRequest<TypeConfig>),
    /// I have proof that the leader of this vote is dead.
    Lost(Lost),
    /// Admit me to the group.
    Join(Join),
    /// How far is your log? (Voting after loss.)
    LastLog,
    /// Install this checkpoint; the state follows the head.
    Snapshot(Vote, SnapshotMeta, Bytes),
    /// A message of the broker.
    App(Bytes),
    /// Give me what follows a place in the log.
    Fetch(Fetch),
}

/// A member whose log is damaged asks for entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Those after this place.
    pub after: Tail,
    /// Places of its log behind the damage: which one does the other log have, too? At most [`Fetch::ANCHORS_MAX`].
    pub anchors: Vec<Tail>,
}

impl Fetch {
    /// Most anchors of a question.
    pub const ANCHORS_MAX: usize = 4;
}

/// Whether the answering log has the place that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// Yes, and entries behind it (if none are in the answer, it ends there).
    Here = 1,
    /// It has another entry there.
    Other = 2,
    /// It does not reach that far.
    Beyond = 3,
    /// It begins later: that part was deleted.
    Purged = 4,
    /// It is damaged at the same place.
    Damaged = 5,
}

/// The answer to [`Ask::Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// See [`Place`].
    pub place: Place,
    /// Last entry that the answering member knows to be committed.
    pub committed: Option<LogId>,
    /// The first of the anchors that its log has.
    pub anchor: Option<u8>,
    /// Entries behind the place: a mebibyte, or one that is longer.
    pub entries: Vec<mq_store::Entry>,
}

impl Fetched {
    /// To bytes.
    pub fn encode(&self) -> Bytes {
        let bytes = self.entries.iter().map(mq_store::Entry::len).sum::<usize>();
        let mut out = Vec::with_capacity(64 + bytes);
        out.u8(self.place as u8);
        out.log_id(self.committed);
        out.u8(self.anchor.unwrap_or(u8::MAX));
        out.u32(self.entries.len() as u32);
        self.entries
            .iter()
            .for_each(|entry| out.extend_from_slice(entry.bytes()));
        out.into()
    }

    /// From bytes; the entries share them. Their item checksums are not looked at here.
    pub fn decode(mut body: Bytes) -> Result<Fetched> {
        let mut take = Take(&body);
        let place = take.u8()?;
        use Place::*;
        let place = [Here, Other, Beyond, Purged, Damaged]
            .into_iter()
            .find(|p| *p as u8 == place)
            .ok_or(Malformed("fetched: place"))?;
        let committed = take.log_id()?;
        let anchor = Some(take.u8()?).filter(|anchor| *anchor != u8::MAX);
        let count = take.u32()? as usize;
        let head = body.len() - take.0.len();
        bytes::Buf::advance(&mut body, head);
        let mut entries = Vec::with_capacity(count.min(4096));
        for _ in 0..count {
            let entry = mq_store::Entry::split_from(&mut body)
                .map_err(|_| Malformed("fetched: entry"))?
                .ok_or(Malformed("fetched: fewer entries than said"))?;
            entries.push(entry);
        }
        Take(&body).end()?;
        Ok(Fetched {
            place,
            committed,
            anchor,
            entries,
        })
    }
}

/// One member's proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Vote of the dead leader, committed.
    pub vote: Vote,
    /// End of the sender's log.
    pub last: Option<LogId>,
}

/// A member without a place in the group asks for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Who.
    pub member: Member,
    /// With a vote, replacing any older id of its slot.
    pub voter: bool,
}

impl Ask {
    /// To the pieces of a body.
    pub fn encode(self) -> [Bytes; 2] {
        let mut out = Vec::with_capacity(64);
        let mut rest = Bytes::new();
        match self {
            Ask::PreVote(r) => {
                out.u8(1);
                put_vote_request(&mut out, &r);
            }
            Ask::Vote(r) => {
                out.u8(2);
                put_vote_request(&mut out, &r);
            }
            Ask::Transfer(r) => {
                out.u8(3);
                out.vote(r.from_leader());
                out.u64(*r.to_node_id());
                out.log_id(r.last_log_id().map(from_raft));
            }
            Ask::Lost(lost) => {
                out.u8(4);
                out.vote(&lost.vote);
                out.log_id(lost.last);
            }
            Ask::Join(join) => {
                out.u8(5);
                out.member(&join.member);
                out.u8(join.voter as u8);
            }
            Ask::LastLog => out.u8(6),
            Ask::Snapshot(vote, meta, state) => {
                out.u8(7);
                out.vote(&vote);
                put_meta(&mut out, &meta);
                rest = state;
            }
            Ask::App(message) => {
                out.u8(8);
                rest = message;
            }
            Ask::Fetch(fetch) => {
                out.u8(9);
                out.extend_from_slice(&fetch.after.encode());
                out.u8(fetch.anchors.len() as u8);
                fetch.anchors.iter().for_each(|a| out.extend_from_slice(&a.encode()));
            }
        }
        [out.into(), rest]
    }

    /// From a body.
    pub fn decode(body: Bytes) -> Result<Ask> {
        let mut take = Take(&body);
        let ask = match take.u8()? {
            1 => Ask::PreVote(take_vote_request(&mut take)?),
            2 => Ask::Vote(take_vote_request(&mut take)?),
            3 => Ask::Transfer(TransferLeaderRequest::new(
                take.vote()?,
                take.u64()?,
                take.log_id()?.map(to_raft),
            )),
            4 => Ask::Lost(Lost {
                vote: take.vote()?,
                last: take.log_id()?,
            }),
            5 => Ask::Join(Join {
                member: take.member()?,
                voter: take.flag()?,
            }),
            6 => Ask::LastLog,
            7 => {
                let (vote, meta) = (take.vote()?, take_meta(&mut take)?);
                return Ok(Ask::Snapshot(vote, meta, body.slice_ref(take.0)));
            }
            8 => return Ok(Ask::App(body.slice(1..))),
            9 => {
                let after = take_tail(&mut take)?;
                let count = usize::from(take.u8()?);
                if count > Fetch::ANCHORS_MAX {
                    return Err(Malformed("fetch: too many anchors"));
                }
                let anchors = (0..count).map(|_| take_tail(&mut take)).collect::<Result<_>>()?;
                Ask::Fetch(Fetch { after, anchors })
            }
            _ => return Err(Malformed("question: subject")),
        };
        take.end()?;
        Ok(ask)
    }
}

fn take_tail(take: &mut Take<'_>) -> Result<Tail> {
    Tail::decode(take.bytes(Tail::ENCODED_LEN)?).ok_or(Malformed("fetch: place"))
}

fn put_vote_request(out: &mut Vec<u8>, r: &VoteRequest<TypeConfig>) {
    out.vote(&r.vote);
    out.log_id(r.last_log_id.as_ref().map(from_raft));
    out.u8(r.leadership_transfer as u8);
}

fn take_vote_request(take: &mut Take<'_>) -> Result<VoteRequest<TypeConfig>> {
    let mut request = VoteRequest::new(take.vote()?, take.log_id()?.map(to_raft));
    request.leadership_transfer = take.flag()?;
    Ok(request)
}

/// Meta of a snapshot or checkpoint.
pub fn put_meta(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    out.log_id(meta.last_log_id.as_ref().map(from_raft));
    out.stored_membership(&meta.last_membership);
}

/// See [`put_meta`].
pub fn take_meta(take: &mut Take<'_>) -> Result<SnapshotMeta> {
    Ok(SnapshotMeta {
        last_log_id: take.log_id()?.map(to_raft),
        last_membership: take.stored_membership()?,
    })
}

/// The answer to a vote or pre-vote.
pub fn encode_vote_response(r: &VoteResponse<TypeConfig>) -> Bytes {
    let mut out = Vec::with_capacity(48);
    out.vote(&r.vote);
    out.u8(r.vote_granted as u8);
    out.log_id(r.last_log_id.as_ref().map(from_raft));
    out.into()
}

/// See [`encode_vote_response`].
pub fn decode_vote_response(bytes: &[u8]) -> Result<VoteResponse<TypeConfig>> {
    let mut take = Take(bytes);
    let (vote, granted, last) = (take.vote()?, take.flag()?, take.log_id()?);
    take.end()?;
    Ok(VoteResponse::new(vote, last.map(to_raft), granted))
}

/// The answer to a transfer.
pub fn encode_transfer_response(r: &TransferLeaderResponse<TypeConfig>) -> Bytes {
    let mut out = Vec::with_capacity(64);
    match r {
        Ok(()) => out.u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.u8(1);
            out.vote(expected);
            out.vote(actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.u8(2);
            out.log_id(expected.as_ref().map(from_raft));
            out.log_id(actual.as_ref().map(from_raft));
        }
    }
    out.into()
}

/// See [`encode_transfer_response`].
pub fn decode_transfer_response(bytes: &[u8]) -> Result<TransferLeaderResponse<TypeConfig>> {
    let mut take = Take(bytes);
    let result = match take.u8()? {
        0 => Ok(()),
        1 => Err(TransferLeaderError::VoteChanged {
            expected: take.vote()?,
            actual: take.vote()?,
        }),
        2 => Err(TransferLeaderError::LogNotFlushed {
            expected: take.log_id()?.map(to_raft),
            actual: take.log_id()?.map(to_raft),
        }),
        _ => return Err(Malformed("transfer: result")),
    };
    take.end()?;
    Ok(result)
}

/// The answer to [`Ask::Lost`]: have I lost the same leader, and how far is my log?
pub fn encode_lost_answer(lost: bool, last: Option<LogId>) -> Bytes {
    let mut out = Vec::with_capacity(32);
    out.u8(lost as u8);
    out.log_id(last);
    out.into()
}

/// See [`encode_lost_answer`].
pub fn decode_lost_answer(bytes: &[u8]) -> Result<(bool, Option<LogId>)> {
    let mut take = Take(bytes);
    let answer = (take.flag()?, take.log_id()?);
    take.end()?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mq_store::{EntryBuilder, EntryKind, RaftIndex, Term};
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello {
            purpose: Purpose::Append,
            cluster: "c".into(),
            group: "broker-a".into(),
            member: Member {
                id: NodeId(7),
                slot: "n0".into(),
                peer_addr: "h:1".into(),
                client_addr: "h:2".into(),
            },
            to: NodeId(9),
            boot: 11,
            number: 3,
            empty: true,
            segment_bytes: 1 << 30,
        }
    }

    #[test]
    fn hello_survives_and_every_cut_of_it_is_an_error() {
        let bytes = hello().encode();
        assert_eq!(Hello::decode(&bytes), Ok(hello()));
        for cut in 0..bytes.len() {
            assert!(Hello::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut bytes = hello().encode().to_vec();
        bytes[5] = 99;
        assert_eq!(Hello::decode(&bytes), Err(Malformed("hello: other protocol version")));
    }

    fn entry(index: u64, body: &[u8]) -> mq_store::Entry {
        let mut builder = EntryBuilder::new(64);
        builder.push_effect(body);
        let id = LogId {
            term: Term(1),
            node: NodeId(1),
            index: RaftIndex(index),
        };
        builder.finish(id, (index * 1000).into(), 5, 9, EntryKind::Batch)
    }

    #[test]
    fn entries_come_out_of_an_append_as_they_were_stored() {
        let entries = [entry(4, b"one"), entry(5, b"two")];
        let id = |i| {
            to_raft(LogId {
                term: Term(1),
                node: NodeId(1),
                index: RaftIndex(i),
            })
        };
        let request = AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(3)),
            leader_commit: None,
            entries: entries.iter().cloned().map(LogEntry::stored).collect(),
        };
        let mut wire = encode_append(&request);
        entries.iter().for_each(|e| wire.extend_from_slice(e.bytes()));
        let got = decode_append(wire.clone().into()).unwrap();
        assert_eq!(
            (got.vote, got.prev_log_id, got.leader_commit),
            (request.vote, request.prev_log_id, None)
        );
        let got: Vec<_> = got
            .entries
            .into_iter()
            .map(|e| match e.body {
                crate::types::Body::Stored(e) => e,
                crate::types::Body::Made(_) => panic!("an entry from a peer is stored"),
            })
            .collect();
        assert_eq!(got, entries);
        for cut in 0..wire.len() {
            assert!(
                decode_append(Bytes::copy_from_slice(&wire[..cut])).is_err(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_fetch_and_its_answer_survive_and_every_cut_is_an_error() {
        let place = Tail::after(&entry(3, b"x"));
        let fetch = Fetch {
            after: place,
            anchors: vec![Tail::default(), place],
        };
        let asked = Ask::Fetch(fetch.clone()).encode().concat();
        assert!(matches!(Ask::decode(asked.clone().into()), Ok(Ask::Fetch(got)) if got == fetch));
        let fetched = Fetched {
            place: Place::Here,
            committed: place.last,
            anchor: Some(1),
            entries: vec![entry(4, b"one"), entry(5, b"two")],
        };
        let answer = fetched.encode();
        assert_eq!(Fetched::decode(answer.clone()), Ok(fetched));
        for cut in 0..answer.len() {
            assert!(Fetched::decode(answer.slice(..cut)).is_err(), "cut at {cut}");
        }
        for cut in 1..asked.len() {
            assert!(
                Ask::decode(Bytes::copy_from_slice(&asked[..cut])).is_err(),
                "cut at {cut}"
            );
        }
        let many = Fetch {
            after: place,
            anchors: vec![place; Fetch::ANCHORS_MAX + 1],
        };
        assert!(Ask::decode(Ask::Fetch(many).encode().concat().into()).is_err());
    }

    #[test]
    fn a_gap_between_entries_is_refused() {
        let mut wire = Vec::new();
        wire.vote(&Vote::new_committed(1, 1));
        wire.log_id(None);
        wire.log_id(None);
        wire.u32(2);
        wire.extend_from_slice(entry(1, b"a").bytes());
        wire.extend_from_slice(entry(3, b"b").bytes());
        assert!(matches!(
            decode_append(wire.into()),
            Err(Malformed("append: gap between entries"))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Hello::decode(&bytes);
            let _ = decode_append(Bytes::from(bytes.clone()));
            let _ = decode_appended(&bytes);
            let _ = Ask::decode(Bytes::from(bytes.clone()));
            let _ = decode_vote_response(&bytes);
            let _ = decode_transfer_response(&bytes);
            let _ = decode_lost_answer(&bytes);
            let _ = Fetched::decode(Bytes::from(bytes.clone()));
        }
    }
}
