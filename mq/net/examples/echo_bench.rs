//! Requests per second and server CPU per request over loopback.
//!
//! `cargo run --release -p mq-net --example echo_bench -- [in flight] [seconds] [body bytes] [connections]`
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mq_base::env::net::TcpListener;
use mq_base::stop::StopSource;
use mq_net::{ClientOptions, Connection, Remoting, Server, ServerOptions, Service};
use mq_remoting::{Command, HeaderFormat};

struct Echo;

impl Service for Echo {
    fn call(&self, connection: &Arc<Connection>, command: Command) {
        connection.respond(Command::response(&command, 0).with_body(command.body.clone()));
    }
}

/// CPU time of a thread of this process whose name is `name`, in microseconds (ticks of 10 ms).
fn cpu_us(name: &str) -> u64 {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        let Some((head, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        if head.ends_with(&format!("({name}")) {
            ticks += rest
                .split(' ')
                .skip(12)
                .take(2)
                .filter_map(|n| n.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    ticks * 10_000
}

fn on_thread<F: Future<Output = ()>>(name: &str, start: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(start())
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).unwrap();
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let argument = |n: usize, default| arguments.get(n).copied().unwrap_or(default);
    let (in_flight, seconds, body, connections) = (argument(0, 1024), argument(1, 5), argument(2, 128), argument(3, 1));
    let (ready, addr) = std::sync::mpsc::channel();
    on_thread("server", move || async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        ready.send(listener.local_addr().unwrap().to_string()).unwrap();
        let (_source, stop) = StopSource::new();
        Server::new(ServerOptions::default(), Arc::new(Echo))
            .unwrap()
            .serve(listener, stop)
            .await;
    });
    let addr = addr.recv().unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let counted = done.clone();
    on_thread("client", move || async move {
        for _ in 0..connections {
            let client = Remoting::new(ClientOptions::default(), Arc::new(())).unwrap();
            for _ in 0..in_flight / connections {
                again(
                    client.clone(),
                    addr.clone(),
                    vec![b'x'; body as usize].into(),
                    counted.clone(),
                );
            }
        }
        std::future::pending::<()>().await;
    });
    std::thread::sleep(Duration::from_millis(500));
    let (from, server, client, started) = (
        done.load(Ordering::Relaxed),
        cpu_us("server"),
        cpu_us("client"),
        Instant::now(),
    );
    std::thread::sleep(Duration::from_secs(seconds));
    let requests = (done.load(Ordering::Relaxed) - from) as f64;
    println!(
        "{:.0} requests/s, CPU per request: server {:.2} µs, client {:.2} µs",
        requests / started.elapsed().as_secs_f64(),
        (cpu_us("server") - server) as f64 / requests,
        (cpu_us("client") - client) as f64 / requests,
    );
}

/// Sends a request, and another when it is answered.
fn again(client: Remoting, addr: String, body: bytes::Bytes, done: Arc<AtomicU64>) {
    let command = Command::bare_request(10)
        .with_body(body.clone())
        .in_format(HeaderFormat::Json);
    let next = client.clone();
    let to = addr.clone();
    client.send_async(&to, command, Duration::from_secs(10), move |answer| {
        answer.expect("an answer");
        done.fetch_add(1, Ordering::Relaxed);
        again(next, addr, body, done);
    });
}
