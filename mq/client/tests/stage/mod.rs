//! A stage for clients: a name server and the members of one broker group on real sockets, which do as they are told. What they
//! store is shared, as if replication were perfect.
#![allow(dead_code)] // Each test uses some of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mq_base::env::net::TcpListener;
use mq_base::env::{clock, task};
use mq_base::stop::StopSource;
use mq_client::{ClientConfig, ClientInstance};
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordSpec, msg_id, property};
use mq_net::{CloseReason, Connection, Server, ServerOptions, Service};
use mq_remoting::code::{request as c, response as r};
use mq_remoting::{Command, HeaderFormat, body};

pub const GROUP: &str = "broker-a";
pub const QUEUES: u32 = 4;

/// What a member does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    /// As it should.
    Serve,
    /// Answers with this code.
    Refuse(i32),
    /// Nothing, ever.
    Hang,
    /// Closes the connection instead of answering; the request has no effect.
    Close,
    /// Carries it out, then closes the connection instead of answering.
    ServeAndClose,
}

#[derive(Default)]
pub struct World {
    /// Addresses of members by number.
    pub members: Vec<String>,
    /// Which of them has id 0.
    pub leader: usize,
    /// The name server knows no topic.
    pub no_routes: bool,
    /// Records by topic and queue.
    pub queues: BTreeMap<(String, u32), Vec<Bytes>>,
    /// Offsets by group, topic, queue.
    pub offsets: BTreeMap<(String, String, u32), i64>,
    /// What comes next for (member, code); then `Serve`.
    pub script: HashMap<(usize, i32), VecDeque<Act>>,
    /// Every send seen: member, unique key.
    pub sends: Vec<(usize, String)>,
    /// For every send seen, whether it said that it had been sent before.
    pub resent: Vec<bool>,
    /// Every request seen: member, code.
    pub seen: Vec<(usize, i32)>,
    /// Ids of consumers in the group, besides those that sent heartbeats.
    pub others: Vec<String>,
    heard: Vec<String>,
    /// Whether queue locks are granted.
    pub grant: bool,
    /// Messages given back: offset and delay level.
    pub given_back: Vec<(i64, i64)>,
    /// Bodies of atomic batches seen.
    pub batches: Vec<Bytes>,
    pub epoch: u64,
    connections: Vec<Arc<Connection>>,
}

pub struct Stage {
    pub world: Arc<Mutex<World>>,
    pub namesrv: String,
    members: Vec<Option<Member>>,
    _namesrv: StopSource,
}

struct Member {
    stop: StopSource,
    server: Arc<Server>,
}

struct Play {
    world: Arc<Mutex<World>>,
    number: usize,
}

impl Stage {
    pub async fn new(members: usize) -> Stage {
        let world = Arc::new(Mutex::new(World {
            grant: true,
            ..World::default()
        }));
        let (namesrv, stop, _) = serve(NameServer(world.clone()), "127.0.0.1:0").await;
        let mut stage = Stage {
            world,
            namesrv,
            members: Vec::new(),
            _namesrv: stop,
        };
        for number in 0..members {
            let world = stage.world.clone();
            let (addr, stop, server) = serve(Play { world, number }, "127.0.0.1:0").await;
            stage.world().members.push(addr);
            stage.members.push(Some(Member { stop, server }));
        }
        stage
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn config(&self) -> ClientConfig {
        ClientConfig::new(&self.namesrv)
    }

    pub fn instance(&self) -> ClientInstance {
        ClientInstance::start(self.config()).unwrap()
    }

    /// The next acts of a member for a request code.
    pub fn script(&self, member: usize, code: i32, acts: &[Act]) {
        let mut world = self.world();
        world.script.entry((member, code)).or_default().extend(acts);
    }

    /// Kills a member: its connections close, new ones are refused.
    pub fn kill(&mut self, member: usize) {
        if let Some(member) = self.members[member].take() {
            member.stop.stop();
            for connection in member.server.connections() {
                connection.close(CloseReason::Local("killed"));
            }
        }
    }

    /// Puts a message in a queue.
    pub fn put(&self, topic: &str, queue: u32, body: &str, properties: &[(&str, &str)]) {
        let mut text = property::Properties::new();
        for (name, value) in properties {
            text.push(name, value);
        }
        self.world().store(topic, queue, body.as_bytes(), text.as_str(), 0);
    }

    /// Waits until `ready`.
    pub async fn until(&self, what: &str, ready: impl Fn(&World) -> bool) {
        let deadline = clock::now() + Duration::from_secs(10);
        while !ready(&self.world()) {
            assert!(clock::now() < deadline, "waited too long until {what}");
            clock::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks the client at the other end of the last open connection.
    pub async fn ask_client(&self, command: Command) -> Command {
        let connection = {
            let world = self.world();
            world.connections.iter().rev().find(|c| !c.is_closed()).cloned()
        };
        let timeout = Duration::from_secs(5);
        connection.unwrap().request(command, timeout).await.unwrap()
    }

    /// Sends a one-way request down all client connections.
    pub fn push(&self, command: &Command) {
        for connection in &self.world().connections {
            connection.oneway(command.clone());
        }
    }
}

async fn serve(service: impl Service, addr: &str) -> (String, StopSource, Arc<Server>) {
    let listener = TcpListener::bind(addr).await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let options = ServerOptions {
        drain_timeout: Duration::ZERO,
        ..ServerOptions::default()
    };
    let server = Server::new(options, Arc::new(service)).unwrap();
    let (source, stop) = StopSource::new();
    let running = server.clone();
    task::spawn("server", async move { running.serve(listener, stop).await });
    (addr, source, server)
}

struct NameServer(Arc<Mutex<World>>);

impl Service for NameServer {
    fn call(&self, connection: &Arc<Connection>, command: Command) {
        let world = self.0.lock().unwrap();
        if world.no_routes {
            return connection.respond(Command::error(&command, r::TOPIC_NOT_EXIST, "no route"));
        }
        let mut others = 1..;
        let ids: Vec<String> = world
            .members
            .iter()
            .enumerate()
            .map(|(i, addr)| {
                let id = if i == world.leader {
                    0
                } else {
                    others.next().unwrap_or(9)
                };
                format!("\"{id}\":\"{addr}\"")
            })
            .collect();
        let body = format!(
            r#"{{"brokerDatas":[{{"brokerAddrs":{{{}}},"brokerName":"{GROUP}","cluster":"c"}}],"queueDatas":[{{"brokerName":"{GROUP}","perm":6,"readQueueNums":{QUEUES},"writeQueueNums":{QUEUES},"topicSysFlag":0}}]}}"#,
            ids.join(",")
        );
        connection.respond(Command::response(&command, 0).with_body(body));
    }
}

impl World {
    fn store(&mut self, topic: &str, queue: u32, body: &[u8], properties: &str, flags: i32) -> u64 {
        let all: usize = self.queues.values().map(Vec::len).sum();
        let queue_records = self.queues.entry((topic.to_owned(), queue)).or_default();
        let offset = queue_records.len() as u64;
        let host = "127.0.0.1:10911".parse().unwrap();
        let spec = RecordSpec {
            topic,
            queue_id: QueueId(queue),
            flag: 0,
            sys_flag: flags,
            born_timestamp: 1,
            born_host: host,
            store_host: host,
            store_timestamp: clock::wall_ms(),
            reconsume_times: 0,
            prepared_transaction_offset: CommitLogOffset(0),
            body,
            properties,
            queue_offset: QueueOffset(offset),
            physical_offset: CommitLogOffset(all as u64 * 1_000),
        };
        let mut record = BytesMut::new();
        spec.encode_into(&mut record).unwrap();
        queue_records.push(record.freeze());
        offset
    }

    fn act(&mut self, member: usize, code: i32) -> Act {
        let script = self.script.get_mut(&(member, code));
        script.and_then(VecDeque::pop_front).unwrap_or(Act::Serve)
    }
}

impl Service for Play {
    fn opened(&self, connection: &Arc<Connection>) {
        self.world.lock().unwrap().connections.push(connection.clone());
    }

    fn call(&self, connection: &Arc<Connection>, command: Command) {
        let mut world = self.world.lock().unwrap();
        world.seen.push((self.number, command.code));
        let act = world.act(self.number, command.code);
        let answer = match act {
            Act::Hang | Act::Close => None,
            Act::Refuse(code) => Some(Command::error(&command, code, "as told")),
            Act::Serve | Act::ServeAndClose => match command.code {
                c::PULL_MESSAGE | c::LITE_PULL_MESSAGE => {
                    drop(world);
                    return self.pull(connection, command);
                }
                _ => Some(self.answer(&mut world, &command)),
            },
        };
        match act {
            Act::Close | Act::ServeAndClose => connection.close(CloseReason::Local("as told")),
            _ => match answer {
                Some(answer) if !command.is_oneway() => connection.respond(answer),
                _ => {}
            },
        }
    }
}

impl Play {
    fn answer(&self, world: &mut World, command: &Command) -> Command {
        let text = |key: &str| command.ext.get(key).unwrap_or_default().into_owned();
        let number = |key: &str| command.ext.value(key).and_then(|v| v.integer()).unwrap_or(0);
        let ok = Command::response(command, r::SUCCESS);
        match command.code {
            c::SEND_MESSAGE_V2 => self.send(world, command),
            c::QUERY_CONSUMER_OFFSET => {
                let key = (text("consumerGroup"), text("topic"), number("queueId") as u32);
                match world.offsets.get(&key) {
                    Some(offset) => with(ok, &[("offset", offset)]),
                    None => Command::error(command, r::QUERY_NOT_FOUND, "none"),
                }
            }
            c::UPDATE_CONSUMER_OFFSET => {
                let key = (text("consumerGroup"), text("topic"), number("queueId") as u32);
                world.offsets.insert(key, number("commitOffset"));
                ok
            }
            c::GET_MAX_OFFSET | c::GET_MIN_OFFSET => {
                let records = world.queues.get(&(text("topic"), number("queueId") as u32));
                let max = records.map_or(0, Vec::len) as i64;
                with(
                    ok,
                    &[("offset", &if command.code == c::GET_MAX_OFFSET { max } else { 0 })],
                )
            }
            c::HEART_BEAT => {
                let beat: body::HeartbeatData = body::from_slice(&command.body).unwrap();
                if !beat.consumer_data_set.is_empty() && !world.heard.contains(&beat.client_id) {
                    world.heard.push(beat.client_id);
                }
                ok
            }
            c::UNREGISTER_CLIENT => {
                let id = text("clientID");
                world.heard.retain(|known| *known != id);
                ok
            }
            c::GET_CONSUMER_LIST_BY_GROUP => {
                let ids = world.heard.iter().chain(&world.others).cloned();
                let ids = body::ConsumerIds {
                    consumer_id_list: ids.collect(),
                };
                ok.with_body(body::to_standard(&ids))
            }
            c::LOCK_BATCH_MQ => {
                let asked: body::LockBatchBody = body::from_slice(&command.body).unwrap();
                let locked = if world.grant { asked.mq_set } else { Vec::new() };
                let locked = body::LockBatchResponseBody { lock_ok_mq_set: locked };
                ok.with_body(body::to_standard(&locked))
            }
            c::CONSUMER_SEND_MSG_BACK => {
                world.given_back.push((number("offset"), number("delayLevel")));
                ok
            }
            c::OPEN_PRODUCER => {
                world.epoch += 1;
                let mut out = BytesMut::new();
                let opened = mq_message::atomic::ProducerOpened {
                    epoch: world.epoch,
                    last: None,
                };
                opened.encode_into(&mut out).unwrap();
                ok.with_body(out.freeze())
            }
            c::ATOMIC_BATCH => {
                let repeat = world.batches.contains(&command.body);
                world.batches.push(command.body.clone());
                let batch = mq_message::atomic::AtomicBatch::decode(&command.body).unwrap();
                if batch.epoch < world.epoch {
                    return Command::error(command, r::PRODUCER_FENCED, "fenced");
                }
                let applied = mq_message::atomic::BatchApplied {
                    duplicate: repeat,
                    base: CommitLogOffset(7),
                    queue_offsets: vec![QueueOffset(batch.sequence); batch.messages.len()],
                };
                let mut out = BytesMut::new();
                applied.encode_into(&mut out).unwrap();
                ok.with_body(out.freeze())
            }
            _ => ok,
        }
    }

    fn send(&self, world: &mut World, command: &Command) -> Command {
        let text = |key: &str| command.ext.get(key).unwrap_or_default().into_owned();
        let number = |key: &str| command.ext.value(key).and_then(|v| v.integer()).unwrap_or(0);
        let (topic, properties, queue) = (text("b"), text("i"), number("e") as u32);
        let key = property::get(&properties, property::UNIQ_KEY).unwrap_or_default();
        world.sends.push((self.number, key.to_owned()));
        world.resent.push(command.is_resent());
        let offset = world.store(&topic, queue, &command.body, &properties, number("f") as i32);
        let id = msg_id::offset_id("127.0.0.1:10911".parse().unwrap(), CommitLogOffset(offset));
        let ok = Command::response(command, r::SUCCESS).with_field("msgId", &id);
        with(ok, &[("queueId", &i64::from(queue)), ("queueOffset", &(offset as i64))])
    }

    /// Answers at once if there is something, else looks again until the time is up.
    fn pull(&self, connection: &Arc<Connection>, command: Command) {
        let (world, connection) = (self.world.clone(), connection.clone());
        task::spawn("pull", async move {
            let number = |key: &str| command.ext.value(key).and_then(|v| v.integer()).unwrap_or(0);
            let topic = command.ext.get("topic").unwrap_or_default().into_owned();
            let (queue, from) = (number("queueId") as u32, number("queueOffset"));
            let deadline = clock::now() + Duration::from_millis(number("suspendTimeoutMillis") as u64);
            loop {
                let (body, max) = {
                    let world = world.lock().unwrap();
                    let records = world.queues.get(&(topic.clone(), queue));
                    let records = records.map_or(&[][..], Vec::as_slice);
                    let from = (from as usize).min(records.len());
                    let found = records[from..].iter().take(32);
                    let body: BytesMut = found.flat_map(|record| record.iter().copied()).collect();
                    (body.freeze(), records.len() as i64)
                };
                let code = match (from > max, body.is_empty()) {
                    (true, _) => r::PULL_OFFSET_MOVED,
                    (false, true) if clock::now() < deadline && !connection.is_closed() => {
                        clock::sleep(Duration::from_millis(10)).await;
                        continue;
                    }
                    (false, true) => r::PULL_NOT_FOUND,
                    (false, false) => r::SUCCESS,
                };
                let next = max.min(from + 32);
                let answer = Command::response(&command, code).with_body(body);
                let fields = [
                    ("suggestWhichBrokerId", &0),
                    ("nextBeginOffset", &next),
                    ("minOffset", &0),
                    ("maxOffset", &max),
                ];
                return connection.respond(with(answer, &fields));
            }
        });
    }
}

fn with(command: Command, fields: &[(&str, &i64)]) -> Command {
    let mut command = command;
    let format: HeaderFormat = command.format;
    command.ext.write(format, |out| {
        for (key, value) in fields {
            out.integer(key, **value);
        }
    });
    command
}
