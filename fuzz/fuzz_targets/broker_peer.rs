//! What brokers of a group tell each other, effects in the log, and the checkpoint of the broker's state; the first byte
//! chooses. What members say of their clients goes into a registry.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mq_broker::clients::{ConnectionId, Known, Registration, Registry};
use mq_broker::forward::{PeerMessage, Pushed, Served};
use mq_broker::state::codec::{Reader, Writer};
use mq_broker::state::{Effect, State};
use mq_store::NodeId;

const NOW_MS: i64 = 1_700_000_000_000;
const MEMBER: NodeId = NodeId(7);

fuzz_target!(|data: &[u8]| {
    let Some((what, bytes)) = data.split_first() else {
        return;
    };
    let bytes = &Bytes::copy_from_slice(bytes);
    match what % 7 {
        0 => {
            if let Ok(message) = PeerMessage::decode(bytes) {
                assert_eq!(PeerMessage::decode(&message.encode()).as_ref(), Ok(&message));
                hear(message);
            }
        }
        1 => {
            if let Ok(served) = Served::decode(bytes) {
                assert_eq!(Served::decode(&served.encode()), Ok(served));
            }
        }
        2 => {
            if let Ok(pushed) = Pushed::decode(bytes) {
                assert_eq!(Pushed::decode(&pushed.encode()), Ok(pushed));
            }
        }
        3 => {
            if let Ok(effect) = Effect::decode(bytes) {
                let mut w = Writer::new();
                effect.encode(&mut w);
                assert_eq!(Effect::decode(w.bytes()), Ok(effect));
            }
        }
        4 => {
            if let Ok(state) = State::decode(bytes) {
                assert_eq!(State::decode(&state.encode()), Ok(state));
            }
        }
        5 => {
            if let Ok(said) = Registration::decode(&mut Reader::new(bytes)) {
                let mut w = Writer::new();
                said.encode(&mut w);
                assert_eq!(Registration::decode(&mut Reader::new(w.bytes())), Ok(said));
            }
        }
        _ => {
            if let Ok(known) = Known::decode(bytes) {
                assert_eq!(Known::decode(&known.encode()).as_ref(), Ok(&known));
                let mut registry = Registry::default();
                registry.inherit(known, NOW_MS);
                look(&registry);
            }
        }
    }
});

fn hear(message: PeerMessage) {
    let mut registry = Registry::default();
    match message {
        PeerMessage::Register(said) => {
            let _ = said.check(1_000);
            let connection = ConnectionId {
                member: MEMBER,
                number: said.connection,
            };
            registry.register(MEMBER, said.clone(), NOW_MS);
            registry.register(MEMBER, said, NOW_MS);
            registry.orphan(connection, NOW_MS);
        }
        PeerMessage::Report(report) => {
            registry.report(MEMBER, report.boot_ms, report.clients, NOW_MS);
            look(&registry);
            registry.orphan_member(MEMBER, NOW_MS);
        }
        _ => {}
    }
    look(&registry);
}

fn look(registry: &Registry) {
    let _ = registry.overdue(NOW_MS);
    let known = registry.known(NOW_MS);
    assert_eq!(Known::decode(&known.encode()), Ok(known));
}
