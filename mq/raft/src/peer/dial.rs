//! Opening a connection to a member, and the hello both sides say first.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mq_base::env::net::{self, OwnedWriteHalf, TcpStream};
use mq_base::env::{clock, random};
use mq_store::{Log, NodeId};

use super::frame::{self, Frame, HELLO_MAX, Kind, Reader};
use super::message::{Hello, Purpose};
use crate::group::Member;

/// Who this member is, as it says in each hello.
#[derive(Debug)]
pub struct Local {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the group.
    pub group: String,
    /// This member.
    pub member: Member,
    /// Random per process.
    pub boot: u64,
    /// Size of a segment, equal everywhere.
    pub segment_bytes: u64,
    /// Own log.
    pub log: Log,
    /// Takes part in the group. Before, its log is being opened and repaired, and it answers probes and fetches only.
    pub up: AtomicBool,
}

impl Local {
    /// The hello for a connection.
    pub fn hello(&self, purpose: Purpose, to: NodeId) -> Hello {
        Hello {
            purpose,
            cluster: self.cluster.clone(),
            group: self.group.clone(),
            member: self.member.clone(),
            to,
            boot: self.boot,
            number: random::serial(),
            empty: self.is_empty(),
            segment_bytes: self.segment_bytes,
        }
    }

    /// Never held an entry or gave a vote. From the first of either on, whoever founds a group must know.
    pub fn is_empty(&self) -> bool {
        self.log.tail().last.is_none() && self.log.vote().is_none() && self.log.damage().is_none()
    }

    /// Why a connection from `hello` is not taken.
    pub fn refusal(&self, hello: &Hello) -> Option<String> {
        if hello.cluster != self.cluster || hello.group != self.group {
            return Some(format!(
                "this is group {} of cluster {}, not group {} of cluster {}",
                self.group, self.cluster, hello.group, hello.cluster
            ));
        }
        if hello.segment_bytes != self.segment_bytes {
            return Some(format!(
                "segment size differs: {} here, {} there; it is equal in the whole group",
                self.segment_bytes, hello.segment_bytes
            ));
        }
        if hello.to != NodeId(0) && hello.to != self.member.id {
            return Some(format!("this is member {:x}, not {:x}", self.member.id.0, hello.to.0));
        }
        let same_seat = hello.member.slot == self.member.slot;
        if hello.member.id != self.member.id && same_seat && hello.purpose != Purpose::Probe {
            return Some(format!("slot {} is mine", self.member.slot));
        }
        let always = matches!(hello.purpose, Purpose::Probe | Purpose::Repair);
        if !always && !self.up.load(Ordering::Acquire) {
            return Some(NOT_UP.to_owned());
        }
        None
    }
}

const NOT_UP: &str = "this member is opening its log";

/// An open connection after the hellos.
#[derive(Debug)]
pub struct Dialed {
    /// Frames from there.
    pub reader: Reader,
    /// Frames to there.
    pub writer: OwnedWriteHalf,
    /// Who answered.
    pub peer: Hello,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens there: the process is gone.
    #[error("connection refused")]
    Refused,
    /// Accepted or half open, then cut: perhaps a dying process.
    #[error("connection cut")]
    Cut,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Not tried: it failed a moment ago.
    #[error("connection failed a moment ago")]
    Lately,
    /// A member that does not want us.
    #[error("refused: {0}")]
    Unwelcome(String),
    /// Something else.
    #[error("connect")]
    Io(#[source] io::Error),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => DialError::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe => DialError::Cut,
            io::ErrorKind::TimedOut => DialError::TimedOut,
            _ => DialError::Io(error),
        }
    }
}

/// Connects to `addr` and says hello, all within `timeout`.
pub async fn dial(
    local: &Local,
    addr: &str,
    purpose: Purpose,
    to: NodeId,
    timeout: Duration,
) -> Result<Dialed, DialError> {
    let greeting = async {
        let stream = net::connect(addr, timeout).await?;
        let (read, mut writer) = stream.into_split();
        let hello = local.hello(purpose, to).encode();
        frame::write(&mut writer, frame::encode(Kind::Hello, 0, [hello])).await?;
        let mut reader = Reader::new(read, HELLO_MAX);
        let Some(frame) = reader.next().await? else {
            return Err(DialError::Cut);
        };
        match frame.kind {
            Kind::Welcome => {
                let peer = Hello::decode(&frame.body).map_err(|e| DialError::Io(io::Error::other(e)))?;
                Ok(Dialed { reader, writer, peer })
            }
            Kind::Refuse => Err(DialError::Unwelcome(String::from_utf8_lossy(&frame.body).into_owned())),
            _ => Err(DialError::Io(io::Error::other("unexpected answer to hello"))),
        }
    };
    clock::timeout(timeout, greeting)
        .await
        .unwrap_or(Err(DialError::TimedOut))
}

/// A connection must say who it is within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// The accepting side of [`dial`]. `None` when the connection was refused or nonsense; it is closed then.
pub async fn greet(local: &Local, stream: TcpStream) -> io::Result<Option<Dialed>> {
    let (read, mut writer) = stream.into_split();
    let mut reader = Reader::new(read, HELLO_MAX);
    let first = clock::timeout(HELLO_WITHIN, reader.next())
        .await
        .unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
    let Some(Frame {
        kind: Kind::Hello,
        body,
        ..
    }) = first
    else {
        return Ok(None);
    };
    let refusal = match Hello::decode(&body) {
        Ok(hello) => match local.refusal(&hello) {
            None => {
                let mine = local.hello(hello.purpose, hello.member.id).encode();
                frame::write(&mut writer, frame::encode(Kind::Welcome, 0, [mine])).await?;
                return Ok(Some(Dialed {
                    reader,
                    writer,
                    peer: hello,
                }));
            }
            Some(reason) => reason,
        },
        Err(malformed) => malformed.to_string(),
    };
    if refusal == NOT_UP {
        tracing::debug!(reason = %refusal, "peer connection refused");
    } else {
        tracing::warn!(reason = %refusal, "peer connection refused");
    }
    frame::write(&mut writer, frame::encode(Kind::Refuse, 0, [Bytes::from(refusal)])).await?;
    Ok(None)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use mq_base::env::{disk, task};
    use mq_store::{EntryBuilder, EntryKind, LogOptions, promise};

    pub fn local(dir: &tempfile::TempDir, up: bool) -> Local {
        let (log, _) = Log::open(disk::real(), dir.path(), LogOptions::default(), None).unwrap();
        Local {
            cluster: "c".into(),
            group: "g".into(),
            member: Member {
                id: NodeId(1),
                slot: "n0".into(),
                ..Member::default()
            },
            boot: 1,
            segment_bytes: log.segment_bytes(),
            log,
            up: AtomicBool::new(up),
        }
    }

    /// A member, and one that it may dial at `addr`: that takes a first connection and answers nothing on it, as after packets were
    /// lost, and on the second answers every frame with this one.
    pub struct Deaf {
        pub asking: std::sync::Arc<Local>,
        pub addr: String,
        pub serving: task::TaskHandle,
        _dirs: [tempfile::TempDir; 2],
    }

    impl Deaf {
        pub async fn start(kind: Kind, answer: Bytes) -> Deaf {
            let dirs = [0, 1].map(|_| tempfile::tempdir().unwrap());
            let mut asking = local(&dirs[0], true);
            asking.member.id = NodeId(2);
            asking.member.slot = "n1".into();
            let member = local(&dirs[1], true);
            let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap().to_string();
            let serving = task::spawn("deaf member", async move {
                let mut taken = Vec::new();
                for _ in 0..2 {
                    let stream = listener.accept().await.unwrap().0;
                    taken.extend(greet(&member, stream).await.unwrap());
                }
                let second = &mut taken[1];
                second.reader.set_max(frame::MESSAGE_MAX);
                while let Ok(Some(asked)) = second.reader.next().await {
                    let frame = frame::encode(kind, asked.id, [answer.clone()]);
                    frame::write(&mut second.writer, frame).await.unwrap();
                }
            });
            Deaf {
                asking: std::sync::Arc::new(asking),
                addr,
                serving,
                _dirs: dirs,
            }
        }
    }

    /// Whoever founds a group asks all others first; one that has promised anything must say so at once.
    #[test]
    fn a_member_is_not_empty_from_its_first_vote_or_entry_on() {
        let dir = tempfile::tempdir().unwrap();
        let voted = local(&dir, true);
        assert!(voted.hello(Purpose::Probe, NodeId(0)).empty);
        let (done, saved) = promise();
        voted.log.save_vote(Bytes::from_static(b"vote"), done);
        saved.wait().unwrap();
        assert!(!voted.hello(Purpose::Probe, NodeId(0)).empty);

        let dir = tempfile::tempdir().unwrap();
        let holds = local(&dir, true);
        let entry = EntryBuilder::new(0).finish(Default::default(), 0.into(), 0, 0, EntryKind::Blank);
        holds.log.append(vec![entry], Box::new(drop));
        assert!(!holds.hello(Purpose::Probe, NodeId(0)).empty);
    }

    #[test]
    fn a_member_that_opens_its_log_answers_probes_and_fetches_of_its_group_only() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let opening = local(&dir, false);
        let mut peer = local(&other, true);
        peer.member.id = NodeId(2);
        peer.member.slot = "n1".into();
        use Purpose::*;
        for purpose in [Append, Control, Snapshot, App, Probe, Repair] {
            let taken = opening.refusal(&peer.hello(purpose, NodeId(0))).is_none();
            assert_eq!(taken, matches!(purpose, Probe | Repair), "{purpose:?}");
        }
        opening.up.store(true, Ordering::Release);
        assert_eq!(opening.refusal(&peer.hello(Append, NodeId(1))), None);
        peer.cluster = "other".into();
        assert!(opening.refusal(&peer.hello(Repair, NodeId(0))).is_some());
    }
}
