//! What members tell each other besides Raft: one message is a kind byte and its fields.
//!
//! | kind | message | answer |
//! |---|---|---|
//! | 1 | [`PeerMessage::Serve`]: a client's request, its frame untouched | [`Served`] |
//! | 2 | [`PeerMessage::Push`]: a request for a client whose connection you hold | [`Pushed`] |
//! | 3 | [`PeerMessage::Register`]: a client of mine sent a heartbeat | none |
//! | 4 | [`PeerMessage::Unregister`]: a client of mine left a group | none |
//! | 5 | [`PeerMessage::Closed`]: a connection of mine is gone | none |
//! | 6 | [`PeerMessage::Report`]: all clients of mine | empty, or [`Known`](crate::clients::Known) |
//! | 7 | [`PeerMessage::Notify`]: tell your consumers of these groups that the membership changed | none |
//! | 8 | [`PeerMessage::Leaving`]: I am about to stop | none |
//!
//! Numbers are varints, texts carry their length (see `state::codec`); a frame comes last and fills the rest.

use crate::clients::Registration;
use crate::state::Name;
use crate::state::codec::{CodecError, Reader, Writer};
use bytes::Bytes;
use mq_store::Term;
use std::net::SocketAddr;

/// A message between members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Serve this request of a client as if it had come to you (ADR 008).
    Serve(Serve),
    /// Send this to a client.
    Push {
        /// Number of its connection at the receiver.
        connection: u64,
        /// How long to wait for the client's answer, milliseconds; 0 sends one-way.
        timeout_ms: u64,
        /// The request's frame.
        frame: Bytes,
    },
    /// A heartbeat.
    Register(Registration),
    /// A client leaves groups.
    Unregister(Leave),
    /// A connection is closed.
    Closed {
        /// Its number at the sender.
        connection: u64,
        /// By the sender, which is about to stop: its clients are expected back.
        stopping: bool,
    },
    /// All clients of the sender.
    Report(Report),
    /// NOTIFY_CONSUMER_IDS_CHANGED to the receiver's own consumers of these groups.
    Notify(Vec<Name>),
    /// The sender is about to stop.
    Leaving,
}

/// A forwarded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The leadership it is meant for. A late copy must not be served under another one: the request may have been
    /// repeated and overtaken meanwhile.
    pub term: Term,
    /// Number of the client's connection at the sender.
    pub connection: u64,
    /// The client's address.
    pub address: SocketAddr,
    /// An earlier attempt may have been applied: deduplicate sends by their unique key.
    pub retried: bool,
    /// The frame as the client sent it.
    pub frame: Bytes,
}

/// All clients of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// When its process was started.
    pub boot_ms: i64,
    /// It was started so recently that it has not heard all clients: it wants to know what the leader knows.
    pub young: bool,
    /// Those on its connections.
    pub clients: Vec<Registration>,
}

/// A client that leaves groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// Number of its connection at the sender.
    pub connection: u64,
    /// Client id.
    pub client_id: Name,
    /// Producer group.
    pub producer: Option<Name>,
    /// Consumer group.
    pub consumer: Option<Name>,
}

/// Answer to [`PeerMessage::Serve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// The response's frame.
    Answer(Bytes),
    /// Not served and not in the log: the receiver does not lead.
    NotLeader,
    /// Leadership was lost on the way: the request may still be applied.
    Unknown,
    /// A one-way request has been taken.
    Taken,
}

/// Answer to [`PeerMessage::Push`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The client's response.
    Answer(Bytes),
    /// Sent one-way.
    Sent,
    /// No such connection any more.
    Gone,
    /// The client did not answer in time.
    TimedOut,
}

impl PeerMessage {
    /// Writes it.
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        let mut rest: &[u8] = &[];
        match self {
            Self::Serve(serve) => {
                w.byte(1);
                w.varint(serve.term.0);
                w.varint(serve.connection);
                w.text(&serve.address.to_string());
                w.flag(serve.retried);
                rest = &serve.frame;
            }
            Self::Push {
                connection,
                timeout_ms,
                frame,
            } => {
                w.byte(2);
                w.varint(*connection);
                w.varint(*timeout_ms);
                rest = frame;
            }
            Self::Register(said) => {
                w.byte(3);
                said.encode(&mut w);
            }
            Self::Unregister(leave) => {
                w.byte(4);
                w.varint(leave.connection);
                w.text(&leave.client_id);
                for group in [&leave.producer, &leave.consumer] {
                    w.text(group.as_deref().unwrap_or_default());
                }
            }
            Self::Closed { connection, stopping } => {
                w.byte(5);
                w.varint(*connection);
                w.flag(*stopping);
            }
            Self::Report(report) => {
                w.byte(6);
                w.signed(report.boot_ms);
                w.flag(report.young);
                w.varint(report.clients.len() as u64);
                report.clients.iter().for_each(|said| said.encode(&mut w));
            }
            Self::Notify(groups) => {
                w.byte(7);
                w.varint(groups.len() as u64);
                groups.iter().for_each(|group| w.text(group));
            }
            Self::Leaving => w.byte(8),
        }
        joined(w, rest)
    }

    /// Reads what another member wrote.
    pub fn decode(message: &Bytes) -> Result<Self, CodecError> {
        let r = &mut Reader::new(message);
        let decoded = match r.byte()? {
            1 => {
                let (term, connection) = (Term(r.varint()?), r.varint()?);
                let address = r.text()?.parse().map_err(|_| CodecError::Malformed("address"))?;
                let retried = r.flag()?;
                return Ok(Self::Serve(Serve {
                    term,
                    connection,
                    address,
                    retried,
                    frame: tail(message, r),
                }));
            }
            2 => {
                let (connection, timeout_ms) = (r.varint()?, r.varint()?);
                return Ok(Self::Push {
                    connection,
                    timeout_ms,
                    frame: tail(message, r),
                });
            }
            3 => Self::Register(Registration::decode(r)?),
            4 => Self::Unregister(Leave {
                connection: r.varint()?,
                client_id: r.text()?.into(),
                producer: optional(r.text()?),
                consumer: optional(r.text()?),
            }),
            5 => Self::Closed {
                connection: r.varint()?,
                stopping: r.flag()?,
            },
            6 => Self::Report(Report {
                boot_ms: r.signed()?,
                young: r.flag()?,
                clients: (0..r.count()?)
                    .map(|_| Registration::decode(r))
                    .collect::<Result<_, _>>()?,
            }),
            7 => Self::Notify(
                (0..r.count()?)
                    .map(|_| Ok(r.text()?.into()))
                    .collect::<Result<_, CodecError>>()?,
            ),
            8 => Self::Leaving,
            kind => {
                return Err(CodecError::Unknown {
                    what: "message between members",
                    value: kind.into(),
                });
            }
        };
        if r.is_empty() {
            Ok(decoded)
        } else {
            Err(CodecError::Malformed("message: bytes left over"))
        }
    }
}

impl Served {
    /// Writes it.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Answer(frame) => tagged(0, frame),
            Self::NotLeader => Bytes::from_static(&[1]),
            Self::Unknown => Bytes::from_static(&[2]),
            Self::Taken => Bytes::from_static(&[3]),
        }
    }

    /// Reads what another member wrote.
    pub fn decode(message: &Bytes) -> Result<Self, CodecError> {
        let r = &mut Reader::new(message);
        Ok(match r.byte()? {
            0 => Self::Answer(tail(message, r)),
            1 => Self::NotLeader,
            2 => Self::Unknown,
            3 => Self::Taken,
            kind => {
                return Err(CodecError::Unknown {
                    what: "answer to a forwarded request",
                    value: kind.into(),
                });
            }
        })
    }
}

impl Pushed {
    /// Writes it.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Answer(frame) => tagged(0, frame),
            Self::Sent => Bytes::from_static(&[1]),
            Self::Gone => Bytes::from_static(&[2]),
            Self::TimedOut => Bytes::from_static(&[3]),
        }
    }

    /// Reads what another member wrote.
    pub fn decode(message: &Bytes) -> Result<Self, CodecError> {
        let r = &mut Reader::new(message);
        Ok(match r.byte()? {
            0 => Self::Answer(tail(message, r)),
            1 => Self::Sent,
            2 => Self::Gone,
            3 => Self::TimedOut,
            kind => {
                return Err(CodecError::Unknown {
                    what: "answer to a push",
                    value: kind.into(),
                });
            }
        })
    }
}

fn optional(text: &str) -> Option<Name> {
    (!text.is_empty()).then(|| text.into())
}

/// What `r` has not read, without copying it.
fn tail(message: &Bytes, r: &Reader<'_>) -> Bytes {
    message.slice(message.len() - r.remaining()..)
}

fn tagged(kind: u8, frame: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(1 + frame.len());
    out.push(kind);
    out.extend_from_slice(frame);
    out.into()
}

fn joined(w: Writer, rest: &[u8]) -> Bytes {
    let mut out = w.into_bytes();
    out.extend_from_slice(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<PeerMessage> {
        let serve = Serve {
            term: Term(5),
            connection: 300,
            address: "[::1]:5".parse().unwrap(),
            retried: true,
            frame: Bytes::from_static(b"\0\0\0\x05hello"),
        };
        let leave = Leave {
            connection: 1,
            client_id: "c".into(),
            producer: None,
            consumer: Some("G".into()),
        };
        vec![
            PeerMessage::Serve(serve),
            PeerMessage::Push {
                connection: 7,
                timeout_ms: 10_000,
                frame: Bytes::from_static(b"frame"),
            },
            PeerMessage::Unregister(leave),
            PeerMessage::Closed {
                connection: 9,
                stopping: true,
            },
            PeerMessage::Leaving,
            PeerMessage::Report(Report {
                boot_ms: 1_700_000_000_000,
                young: true,
                clients: vec![],
            }),
            PeerMessage::Notify(vec!["G".into(), "H".into()]),
        ]
    }

    #[test]
    fn members_understand_each_other() {
        for message in messages() {
            let bytes = message.encode();
            assert_eq!(PeerMessage::decode(&bytes), Ok(message.clone()));
            let ends_with_frame = matches!(message, PeerMessage::Serve(_) | PeerMessage::Push { .. });
            let head = bytes.len() - if ends_with_frame { 9.min(bytes.len()) } else { 0 };
            for end in 0..head.max(1) {
                let cut = PeerMessage::decode(&bytes.slice(..end));
                assert!(cut.as_ref() != Ok(&message), "{message:?} cut at {end}");
            }
        }
        for served in [
            Served::Answer(Bytes::from_static(b"x")),
            Served::NotLeader,
            Served::Unknown,
            Served::Taken,
        ] {
            assert_eq!(Served::decode(&served.encode()), Ok(served));
        }
        for pushed in [
            Pushed::Answer(Bytes::from_static(b"x")),
            Pushed::Sent,
            Pushed::Gone,
            Pushed::TimedOut,
        ] {
            assert_eq!(Pushed::decode(&pushed.encode()), Ok(pushed));
        }
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in [
            &b""[..],
            b"\xff",
            b"\x05",
            b"\x05\x01\x01\x01",
            b"\x06\x00\x00\xff\xff\xff\xff\x0f",
            b"\x01\x01\x01x\x00",
        ] {
            assert!(
                PeerMessage::decode(&Bytes::copy_from_slice(garbage)).is_err(),
                "{garbage:?}"
            );
        }
        assert!(Served::decode(&Bytes::new()).is_err());
        assert!(Pushed::decode(&Bytes::from_static(b"\x09")).is_err());
    }
}
