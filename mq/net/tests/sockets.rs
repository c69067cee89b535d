//! Real sockets on port 0: what a server and a client do with well and badly behaved peers.
#![allow(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mq_base::env::net::TcpListener;
use mq_base::stop::StopSource;
use mq_net::{
    ClientOptions, ClientTls, CloseReason, Connection, Cork, Inbound, InvokeError, Limits, Remoting, Server,
    ServerOptions, ServerTls, Service, TlsMode,
};
use mq_remoting::code::response;
use mq_remoting::{Command, Decoder, version};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ECHO: i32 = 1;
/// Never answered by the service itself: the test answers.
const HOLD: i32 = 2;
/// Answered with a body of that many bytes, in slices of 64 KiB.
const BULK: i32 = 3;
/// Answered by another task.
const LATER: i32 = 4;
const WAIT: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Echo {
    held: Mutex<Vec<(Arc<Connection>, Command)>>,
    batches: AtomicUsize,
    opened: Mutex<Vec<Arc<Connection>>>,
    closed: Mutex<Vec<CloseReason>>,
}

impl Service for Echo {
    fn call(&self, connection: &Arc<Connection>, command: Command) {
        match command.code {
            ECHO if command.is_oneway() => {}
            ECHO => {
                let body = command.body.clone();
                connection.respond(Command::response(&command, 0).with_body(body));
            }
            BULK => {
                let len: usize = std::str::from_utf8(&command.body).unwrap().parse().unwrap();
                let slice = Bytes::from(vec![7; 64 << 10]);
                let parts = vec![slice; len / (64 << 10)];
                connection.respond_parts(&Command::response(&command, 0), parts);
            }
            LATER => {
                let connection = connection.clone();
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    connection.respond(Command::response(&command, 0).with_body(command.body.clone()));
                });
            }
            _ => self.held.lock().push((connection.clone(), command)),
        }
    }

    fn batch_end(&self, _: &Arc<Connection>) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    fn opened(&self, connection: &Arc<Connection>) {
        self.opened.lock().push(connection.clone());
    }

    fn closed(&self, _: &Arc<Connection>, reason: CloseReason) {
        self.closed.lock().push(reason);
    }
}

struct Running {
    addr: SocketAddr,
    echo: Arc<Echo>,
    server: Arc<Server>,
    stop: StopSource,
    task: tokio::task::JoinHandle<()>,
}

async fn start(options: ServerOptions) -> Running {
    let echo = Arc::new(Echo::default());
    let server = Server::new(options, echo.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (source, stop) = StopSource::new();
    let task = tokio::spawn({
        let server = server.clone();
        async move { server.serve(listener, stop).await }
    });
    Running {
        addr,
        echo,
        server,
        stop: source,
        task,
    }
}

fn limits(change: impl FnOnce(&mut Limits)) -> ServerOptions {
    let mut options = ServerOptions::default();
    change(&mut options.limits);
    options
}

fn request(code: i32, opaque: i32, body: impl Into<Bytes>) -> Command {
    let mut command = Command::bare_request(code).with_body(body);
    command.opaque = opaque;
    command
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}

async fn read_commands(stream: &mut TcpStream, count: usize) -> Vec<Command> {
    let (decoder, mut buffer, mut commands) = (Decoder::default(), BytesMut::new(), Vec::new());
    while commands.len() < count {
        while let Some(command) = decoder.decode(&mut buffer).unwrap() {
            commands.push(command);
        }
        if commands.len() < count {
            let read = tokio::time::timeout(WAIT, stream.read_buf(&mut buffer)).await;
            assert!(
                read.expect("in time").unwrap() > 0,
                "closed after {} commands",
                commands.len()
            );
        }
    }
    commands
}

async fn assert_closed(stream: &mut TcpStream) {
    let mut rest = vec![0; 64 << 10];
    let read = async { while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {} };
    tokio::time::timeout(WAIT, read)
        .await
        .expect("the server closes the connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order_and_in_batches() {
    let running = start(ServerOptions::default()).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let mut bytes = BytesMut::new();
    for opaque in 0..1000 {
        request(ECHO, opaque, format!("body {opaque}")).encode_into(&mut bytes);
    }
    // In two halves that cut a frame, so that the decoder has to wait.
    let second = bytes.split_off(bytes.len() / 2 + 3);
    stream.write_all(&bytes).await.unwrap();
    stream.write_all(&second).await.unwrap();
    for (n, answer) in read_commands(&mut stream, 1000).await.into_iter().enumerate() {
        assert_eq!((answer.opaque, answer.is_response()), (n as i32, true));
        assert_eq!(answer.body, format!("body {n}"));
    }
    let counts = running.server.counts();
    assert_eq!(
        (counts.requests, counts.opened, counts.wakes),
        (1000, 1, 0),
        "inline answers wake nobody"
    );
    assert!(running.echo.batches.load(Ordering::Relaxed) < 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_a_cork_wake_a_connection_once() {
    let running = start(ServerOptions::default()).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    for opaque in 0..100 {
        stream.write_all(&request(HOLD, opaque, "x").encode()).await.unwrap();
    }
    until("all are held", || running.echo.held.lock().len() == 100).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut cork = Cork::new();
    for (connection, command) in running.echo.held.lock().drain(..) {
        cork.respond(&connection, Command::response(&command, 0));
    }
    drop(cork);
    assert_eq!(read_commands(&mut stream, 100).await.len(), 100);
    assert_eq!(running.server.counts().wakes, 1);
}

#[tokio::test]
async fn large_bodies_arrive_whole_between_small_ones() {
    let running = start(ServerOptions::default()).await;
    let client = Remoting::new(ClientOptions::default(), Arc::new(())).unwrap();
    let addr = running.addr.to_string();
    let body: Bytes = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect::<Vec<u8>>().into();
    for size in [0, 1, 4095, 4096, 4097, 70_000, 3_000_000] {
        let sent = request(ECHO, 0, body.slice(..size));
        assert_eq!(client.invoke(&addr, sent, WAIT).await.unwrap().body, body[..size]);
    }
    let bulk = client
        .invoke(&addr, request(BULK, 0, (10 << 20).to_string()), WAIT)
        .await
        .unwrap();
    assert!(bulk.body.len() == 10 << 20 && bulk.body.iter().all(|b| *b == 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_frame_closes_its_own_connection_only() {
    let running = start(limits(|l| l.frame_bytes_max = 1 << 20)).await;
    let mut good = TcpStream::connect(running.addr).await.unwrap();
    let bad: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
        &[0x16, 3, 1, 0, 0xa5, 1, 0, 0],         // a TLS handshake, but TLS is off
        &[0, 0, 0, 8, 0, 0, 0, 200, 1, 2, 3, 4], // header longer than the frame
        &[0, 0, 0, 8, 9, 0, 0, 4, 1, 2, 3, 4],   // unknown form
        &[0, 0, 0, 8, 0, 0, 0, 4, b'{', b'{', b'{', b'{'],
    ];
    for bytes in bad {
        let mut stream = TcpStream::connect(running.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_closed(&mut stream).await;
    }
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let large = request(ECHO, 1, vec![0; 1 << 20]).encode();
    let _ = stream.write_all(&large).await;
    assert_closed(&mut stream).await;
    until("all are counted", || running.server.counts().bad_frames == 6).await;
    good.write_all(&request(ECHO, 5, "still here").encode()).await.unwrap();
    assert_eq!(read_commands(&mut good, 1).await[0].body, "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_before_a_bad_frame_are_answered_or_not_but_the_server_lives() {
    let running = start(ServerOptions::default()).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let mut bytes = BytesMut::from(&request(ECHO, 1, "a").encode()[..]);
    bytes.extend_from_slice(&[0xff; 64]);
    stream.write_all(&bytes).await.unwrap();
    assert_closed(&mut stream).await;
    until("closed", || *running.echo.closed.lock() == [CloseReason::BadFrame]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_is_closed() {
    let running = start(limits(|l| {
        l.outbound_bytes_max = 1 << 20;
        l.outbound_bytes_pause = 1 << 20;
    }))
    .await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    for opaque in 0..8 {
        stream.write_all(&request(HOLD, opaque, "").encode()).await.unwrap();
    }
    until("held", || running.echo.held.lock().len() == 8).await;
    for (connection, command) in running.echo.held.lock().drain(..) {
        let body = Bytes::from(vec![1; 4 << 20]);
        connection.respond(Command::response(&command, 0).with_body(body));
    }
    until("closed", || *running.echo.closed.lock() == [CloseReason::SlowReader]).await;
    assert_eq!(running.server.counts().slow_readers, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_writer_is_closed_in_time() {
    let running = start(limits(|l| l.write_stall_timeout = Duration::from_millis(300))).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    stream
        .write_all(&request(BULK, 0, (32 << 20).to_string()).encode())
        .await
        .unwrap();
    until("closed", || *running.echo.closed.lock() == [CloseReason::SlowReader]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_bulk_requests_pause_instead_of_piling_up() {
    let running = start(limits(|l| l.outbound_bytes_pause = 1 << 20)).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    // 400 MiB of answers, more than the connection may ever hold.
    let (mut read, mut write) = stream.split();
    let sending = async {
        for opaque in 0..400 {
            write
                .write_all(&request(BULK, opaque, (1 << 20).to_string()).encode())
                .await
                .unwrap();
            if opaque % 16 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let reading = async {
        let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
        tokio::time::sleep(Duration::from_millis(200)).await;
        while total < 400 << 20 {
            let n = read.read(&mut buffer).await.unwrap();
            assert!(n > 0, "closed after {total}");
            total += n;
        }
    };
    tokio::join!(sending, reading);
    assert!(running.server.counts().pauses > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unanswered_requests_stop_the_reading_and_answers_resume_it() {
    for limit in [
        limits(|l| l.in_flight_requests_max = 4),
        limits(|l| l.in_flight_bytes_max = 4 * 1100),
    ] {
        let running = start(limit).await;
        let mut stream = TcpStream::connect(running.addr).await.unwrap();
        for opaque in 0..200 {
            stream
                .write_all(&request(HOLD, opaque, vec![0; 1000]).encode())
                .await
                .unwrap();
        }
        until("some are held", || running.echo.held.lock().len() >= 4).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let first = running.echo.held.lock().len();
        assert!(first < 200, "reading stopped after {first}");
        let mut answered = 0;
        while answered < 200 {
            let held = std::mem::take(&mut *running.echo.held.lock());
            answered += held.len();
            for (connection, command) in held {
                connection.respond(Command::response(&command, 0));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(read_commands(&mut stream, 200).await.len(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_connection_gets_its_answers_and_ends() {
    let running = start(ServerOptions::default()).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    stream
        .write_all(&request(ECHO, 9, "last words").encode())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_commands(&mut stream, 1).await[0].body, "last words");
    assert_closed(&mut stream).await;
    until("closed", || *running.echo.closed.lock() == [CloseReason::Peer]).await;
    until("forgotten", || running.server.connections().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_connection_is_closed() {
    let running = start(limits(|l| l.idle_timeout = Duration::from_millis(200))).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(&request(ECHO, 1, "").encode()).await.unwrap();
        read_commands(&mut stream, 1).await;
    }
    assert_closed(&mut stream).await;
    until("counted", || running.server.counts().idle == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_are_refused() {
    let running = start(ServerOptions {
        connections_max: 2,
        ..ServerOptions::default()
    })
    .await;
    let first = TcpStream::connect(running.addr).await.unwrap();
    let _second = TcpStream::connect(running.addr).await.unwrap();
    until("two are open", || running.server.connections().len() == 2).await;
    assert_closed(&mut TcpStream::connect(running.addr).await.unwrap()).await;
    drop(first);
    until("one is gone", || running.server.connections().len() == 1).await;
    let mut third = TcpStream::connect(running.addr).await.unwrap();
    third.write_all(&request(ECHO, 1, "in").encode()).await.unwrap();
    read_commands(&mut third, 1).await;
    assert_eq!(running.server.counts().refused, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_plain_share_a_port() {
    for mode in [TlsMode::Disabled, TlsMode::Permissive, TlsMode::Enforcing] {
        let running = start(ServerOptions {
            tls: ServerTls { mode, files: None },
            ..ServerOptions::default()
        })
        .await;
        let addr = running.addr.to_string();
        for tls in [ClientTls::Off, ClientTls::TrustAny] {
            let allowed = !matches!(
                (mode, &tls),
                (TlsMode::Disabled, ClientTls::TrustAny) | (TlsMode::Enforcing, ClientTls::Off)
            );
            let options = ClientOptions {
                tls: tls.clone(),
                ..ClientOptions::default()
            };
            let client = Remoting::new(options, Arc::new(())).unwrap();
            let body = vec![5; 100_000];
            let answer = client.invoke(&addr, request(ECHO, 0, body.clone()), WAIT).await;
            assert_eq!(answer.is_ok_and(|a| a.body == body), allowed, "{mode:?} {tls:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_come_from_files_and_are_checked() {
    let dir = std::env::temp_dir().join(format!("mq-net-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();

    let with = |files| ServerOptions {
        tls: ServerTls {
            mode: TlsMode::Enforcing,
            files,
        },
        ..ServerOptions::default()
    };
    let known = start(with(Some((cert.clone(), key)))).await;
    let unknown = start(with(None)).await;
    let options = ClientOptions {
        tls: ClientTls::CaFile(cert.clone()),
        ..ClientOptions::default()
    };
    let client = Remoting::new(options, Arc::new(())).unwrap();
    client
        .invoke(&known.addr.to_string(), request(ECHO, 0, ""), WAIT)
        .await
        .unwrap();
    let refused = client
        .invoke(&unknown.addr.to_string(), request(ECHO, 0, ""), WAIT)
        .await
        .unwrap_err();
    assert!(matches!(refused, InvokeError::Connect { .. }), "{refused:?}");
    let missing = with(Some((dir.join("none.pem"), cert)));
    assert!(Server::new(missing, Arc::new(Echo::default())).is_err());
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Answers what the server asks, and remembers which connections ended.
#[derive(Default)]
struct Pushed {
    closed: Mutex<Vec<String>>,
}

impl Inbound for Pushed {
    fn call(&self, _: &str, connection: &Arc<Connection>, command: Command) {
        if command.code == ECHO {
            connection.respond(Command::response(&command, 0).with_body(command.body.clone()));
        }
    }

    fn closed(&self, addr: &str, _: CloseReason) {
        self.closed.lock().push(addr.to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_asks_its_clients() {
    let running = start(ServerOptions::default()).await;
    let client = Remoting::new(ClientOptions::default(), Arc::new(Pushed::default())).unwrap();
    let addr = running.addr.to_string();
    client.invoke(&addr, request(ECHO, 0, ""), WAIT).await.unwrap();
    let connection = running.echo.opened.lock()[0].clone();
    for n in 0..50 {
        let answer = connection
            .request(request(ECHO, 0, format!("push {n}")), WAIT)
            .await
            .unwrap();
        assert_eq!(answer.body, format!("push {n}"));
    }
    let silent = connection
        .request(request(HOLD, 0, ""), Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(matches!(silent, InvokeError::TimedOut { sent: true }), "{silent:?}");
    connection.oneway(request(ECHO, 0, "no answer wanted"));
    let asking = tokio::spawn({
        let connection = connection.clone();
        async move { connection.request(request(HOLD, 0, ""), WAIT).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.shutdown();
    let lost = asking.await.unwrap().unwrap_err();
    assert!(matches!(lost, InvokeError::Lost), "{lost:?}");
    assert!(
        connection
            .request(request(ECHO, 0, ""), WAIT)
            .await
            .unwrap_err()
            .certainly_not_sent()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_fails_its_calls_at_once_and_the_next_call_connects_anew() {
    let running = start(ServerOptions::default()).await;
    let inbound = Arc::new(Pushed::default());
    let client = Remoting::new(ClientOptions::default(), inbound.clone()).unwrap();
    let addr = running.addr.to_string();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let (client, addr) = (client.clone(), addr.clone());
            tokio::spawn(async move {
                client
                    .invoke(&addr, request(HOLD, 0, ""), Duration::from_secs(60))
                    .await
            })
        })
        .collect();
    until("held", || running.echo.held.lock().len() == 10).await;
    assert_eq!(client.addresses(), std::slice::from_ref(&addr));
    running.echo.opened.lock()[0].close(CloseReason::Local("test"));
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(
            matches!(error, InvokeError::Lost) && !error.certainly_not_sent(),
            "{error:?}"
        );
    }
    assert_eq!(*inbound.closed.lock(), std::slice::from_ref(&addr));
    client.invoke(&addr, request(ECHO, 0, ""), WAIT).await.unwrap();
    assert_eq!((running.server.counts().opened, client.counts().opened), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_one_connection() {
    let running = start(ServerOptions::default()).await;
    let client = Remoting::new(ClientOptions::default(), Arc::new(())).unwrap();
    let addr = running.addr.to_string();
    let calls: Vec<_> = (0..500)
        .map(|n| {
            let (client, addr) = (client.clone(), addr.clone());
            let code = if n % 2 == 0 { ECHO } else { LATER };
            tokio::spawn(async move { client.invoke(&addr, request(code, 0, n.to_string()), WAIT).await })
        })
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap().body, n.to_string());
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    client.send_async(&addr, request(ECHO, 0, "callback"), WAIT, move |answer| {
        drop(sender.send(answer))
    });
    assert_eq!(receiver.await.unwrap().unwrap().body, "callback");
    client.oneway(&addr, request(ECHO, 0, "oneway"), WAIT).await.unwrap();
    until("all came", || running.server.counts().requests == 502).await;
    assert_eq!(running.server.counts().opened, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_nobody_fail_with_the_reason() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let client = Remoting::new(ClientOptions::default(), Arc::new(())).unwrap();
    let error = client.invoke(&free, request(ECHO, 0, ""), WAIT).await.unwrap_err();
    assert!(matches!(&error, InvokeError::Connect { .. }) && error.certainly_not_sent());
    assert!(client.invoke("no port", request(ECHO, 0, ""), WAIT).await.is_err());

    let running = start(ServerOptions::default()).await;
    let addr = running.addr.to_string();
    let started = std::time::Instant::now();
    let error = client
        .invoke(&addr, request(HOLD, 0, ""), Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(matches!(error, InvokeError::TimedOut { sent: true }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(2));
    // The answer that comes too late is dropped, and the connection lives.
    let (connection, command) = running.echo.held.lock().pop().unwrap();
    connection.respond(Command::response(&command, 0));
    client.invoke(&addr, request(ECHO, 0, ""), WAIT).await.unwrap();
    assert_eq!(client.counts().opened, 1);
    client.shutdown();
    assert!(client.invoke(&addr, request(ECHO, 0, ""), WAIT).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_finishes_what_is_in_flight() {
    let running = start(ServerOptions::default()).await;
    let client = Remoting::new(ClientOptions::default(), Arc::new(())).unwrap();
    let addr = running.addr.to_string();
    let idle = TcpStream::connect(running.addr).await.unwrap();
    let call = tokio::spawn({
        let (client, addr) = (client.clone(), addr.clone());
        async move { client.invoke(&addr, request(HOLD, 0, ""), WAIT).await }
    });
    until("held", || running.echo.held.lock().len() == 1).await;
    running.stop.stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!running.task.is_finished());
    assert!(TcpStream::connect(running.addr).await.is_err(), "no new connections");
    let (connection, command) = running.echo.held.lock().pop().unwrap();
    connection.respond(Command::response(&command, 0).with_body("in time"));
    assert_eq!(call.await.unwrap().unwrap().body, "in time");
    tokio::time::timeout(Duration::from_secs(2), running.task)
        .await
        .unwrap()
        .unwrap();
    drop(idle);
    assert!(
        running
            .echo
            .closed
            .lock()
            .iter()
            .all(|r| matches!(r, CloseReason::Stopped | CloseReason::Peer))
    );
}

/// Stops a server that holds a request of a client of this version; answers what that client gets for a later request, and
/// how its connection ends.
async fn late_request(version: i32) -> (Vec<i32>, std::io::Result<usize>) {
    let running = start(ServerOptions::default()).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    stream.write_all(&request(HOLD, 1, "").encode()).await.unwrap();
    until("held", || running.echo.held.lock().len() == 1).await;
    running.stop.stop();
    until("no new connections", || {
        std::net::TcpStream::connect(running.addr).is_err()
    })
    .await;
    let mut late = request(ECHO, 2, "");
    late.version = version;
    stream.write_all(&late.encode()).await.unwrap();
    // One-way requests are served to the end, and in order: once this one is, the late one was looked at.
    stream.write_all(&request(HOLD, 3, "").oneway().encode()).await.unwrap();
    until("the late request was read", || running.echo.held.lock().len() == 2).await;
    running.echo.held.lock().pop();
    let (connection, command) = running.echo.held.lock().pop().unwrap();
    connection.respond(Command::response(&command, 0));
    let (decoder, mut buffer) = (Decoder::default(), BytesMut::new());
    let end = loop {
        let read = tokio::time::timeout(WAIT, stream.read_buf(&mut buffer)).await;
        match read.expect("in time") {
            Ok(n) if n > 0 => {}
            end => break end,
        }
    };
    let mut codes = Vec::new();
    while let Some(command) = decoder.decode(&mut buffer).unwrap() {
        codes.push(command.code);
    }
    (codes, end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_sends_newer_clients_away_and_lets_older_ones_notice() {
    let (codes, end) = late_request(version::CURRENT).await;
    assert_eq!(codes, [response::GO_AWAY, 0], "what was in flight is answered as well");
    assert!(
        end.is_err(),
        "an orderly end is not noticed by Java clients before 5.0: {end:?}"
    );
    let (codes, end) = late_request(version::V4_9_4).await;
    assert_eq!(codes, [0], "never served, so that it may be tried again");
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_ever() {
    let running = start(ServerOptions {
        drain_timeout: Duration::from_millis(100),
        ..ServerOptions::default()
    })
    .await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    stream.write_all(&request(HOLD, 0, "").encode()).await.unwrap();
    until("held", || running.echo.held.lock().len() == 1).await;
    running.stop.stop();
    tokio::time::timeout(Duration::from_secs(2), running.task)
        .await
        .unwrap()
        .unwrap();
    assert_closed(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_those_who_never_spoke() {
    let tls = ServerTls {
        mode: TlsMode::Permissive,
        files: None,
    };
    let running = start(ServerOptions {
        tls,
        drain_timeout: WAIT,
        ..ServerOptions::default()
    })
    .await;
    let mut silent = TcpStream::connect(running.addr).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.stop.stop();
    tokio::time::timeout(Duration::from_secs(1), running.task)
        .await
        .unwrap()
        .unwrap();
    assert_closed(&mut silent).await;
}

#[tokio::test]
async fn an_extension_is_set_once() {
    let running = start(ServerOptions::default()).await;
    let _stream = TcpStream::connect(running.addr).await.unwrap();
    until("open", || running.echo.opened.lock().len() == 1).await;
    let connection = running.echo.opened.lock()[0].clone();
    assert!(connection.extension::<String>().is_none());
    assert!(connection.set_extension(Arc::new("client a".to_owned())));
    assert!(!connection.set_extension(Arc::new("client b".to_owned())));
    assert_eq!(connection.extension::<String>().unwrap(), "client a");
    assert!(connection.extension::<u32>().is_none());
}
