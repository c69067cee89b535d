//! Counters and gauges for Prometheus. Their text is served on `metricsPort`.

use crate::broker::Broker;
use mq_base::env::clock;
use mq_base::env::net::{TcpListener, TcpStream};
use mq_base::env::task;
use mq_net::Server;
use mq_remoting::code::request;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// So far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Codes below this have a counter of their own; others share one.
const CODES: usize = 1_024;

/// Requests by code.
#[derive(Debug)]
pub struct ByCode {
    direct: Box<[AtomicU64]>,
    others: Mutex<BTreeMap<i32, u64>>,
}

impl Default for ByCode {
    fn default() -> Self {
        Self {
            direct: (0..CODES).map(|_| AtomicU64::new(0)).collect(),
            others: Mutex::default(),
        }
    }
}

impl ByCode {
    /// One more request of a code in the table.
    pub fn count(&self, code: i32) {
        match usize::try_from(code).ok().and_then(|code| self.direct.get(code)) {
            Some(counter) => drop(counter.fetch_add(1, Relaxed)),
            None => *self.others.lock().entry(code).or_default() += 1,
        }
    }

    /// All that were ever counted.
    pub fn all(&self) -> Vec<(i32, u64)> {
        let direct = self
            .direct
            .iter()
            .enumerate()
            .map(|(code, count)| (code as i32, count.load(Relaxed)));
        let mut all: Vec<(i32, u64)> = direct.filter(|(_, count)| *count > 0).collect();
        all.extend(self.others.lock().iter().map(|(code, count)| (*code, *count)));
        all
    }
}

/// What happened since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests served, by code.
    pub requests: ByCode,
    /// Requests of codes nobody knows.
    pub unknown_codes: Counter,
    /// Heartbeats refused because of illegal names or sizes.
    pub bad_heartbeats: Counter,
    /// Registrations with a name server that failed.
    pub register_failures: Counter,
}

/// Reads the broker's numbers at the moment they are asked for.
struct Scrape(Arc<Broker>, Arc<Server>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Scrape(broker, server) = self;
        let (counts, stats, forwarding) = (server.counts(), &broker.stats, &broker.forwarding);
        let (topics, groups, log_time) = {
            let state = broker.view.state();
            (state.topics.len(), state.groups.len(), state.log_time_ms)
        };
        let leadership = broker.gate.standing.leadership();
        let counters: &[(&str, &str, u64)] = &[
            (
                "mq_messages_stored",
                "Messages stored through this member",
                stats.put.total(),
            ),
            (
                "mq_bytes_stored",
                "Bytes of messages stored through this member",
                stats.put_bytes.load(Relaxed),
            ),
            ("mq_sends_failed", "Sends that failed", stats.put_failed.load(Relaxed)),
            (
                "mq_messages_handed_out",
                "Messages handed out to consumers",
                stats.transferred.total(),
            ),
            ("mq_pulls_found", "Pulls that found messages", stats.found.total()),
            ("mq_pulls_missed", "Pulls that found none", stats.missed.total()),
            ("mq_connections_opened", "Client connections accepted", counts.opened),
            ("mq_connections_closed", "Client connections ended", counts.closed),
            (
                "mq_connections_refused",
                "Client connections refused because there are too many",
                counts.refused,
            ),
            (
                "mq_slow_readers",
                "Client connections closed because they were not read from",
                counts.slow_readers,
            ),
            (
                "mq_bad_frames",
                "Client connections closed because of a bad frame",
                counts.bad_frames,
            ),
            (
                "mq_read_pauses",
                "Times a connection was not read from to push back",
                counts.pauses,
            ),
            ("mq_network_bytes_in", "Bytes received from clients", counts.bytes_in),
            ("mq_network_bytes_out", "Bytes sent to clients", counts.bytes_out),
            (
                "mq_unknown_codes",
                "Requests of unknown codes",
                broker.metrics.unknown_codes.get(),
            ),
            (
                "mq_bad_heartbeats",
                "Heartbeats refused",
                broker.metrics.bad_heartbeats.get(),
            ),
            (
                "mq_register_failures",
                "Registrations with a name server that failed",
                broker.metrics.register_failures.get(),
            ),
            (
                "mq_forwarded",
                "Requests forwarded to the leader",
                forwarding.forwarded.load(Relaxed),
            ),
            (
                "mq_held",
                "Requests that waited for a leader",
                forwarding.held.load(Relaxed),
            ),
            (
                "mq_retried",
                "Requests tried again because their outcome was unknown",
                forwarding.retried.load(Relaxed),
            ),
            (
                "mq_expired",
                "Requests refused for want of a leader",
                forwarding.expired.load(Relaxed),
            ),
            (
                "mq_overloaded",
                "Requests refused because too many bytes were waiting",
                forwarding.overloaded.load(Relaxed),
            ),
        ];
        for (name, help, value) in counters {
            metric(&mut out, name, help, &ConstCounter::new(*value))?;
        }
        let gauges: &[(&str, &str, i64)] = &[
            (
                "mq_leader",
                "1 while this member leads its group",
                i64::from(leadership.ready),
            ),
            ("mq_term", "Raft term", leadership.term.0 as i64),
            (
                "mq_connections",
                "Client connections",
                counts.opened as i64 - counts.closed as i64,
            ),
            (
                "mq_forwarding_bytes",
                "Bytes of requests on their way to the leader",
                forwarding.bytes() as i64,
            ),
            ("mq_topics", "Topics", topics as i64),
            ("mq_groups", "Consumer groups", groups as i64),
            ("mq_log_time_ms", "Log time, Unix milliseconds", log_time),
        ];
        for (name, help, value) in gauges {
            metric(&mut out, name, help, &ConstGauge::new(*value))?;
        }
        let by_code = broker.metrics.requests.all();
        let counter = ConstCounter::new(0u64);
        let mut family =
            out.encode_descriptor("mq_requests", "Requests served, by code", None, counter.metric_type())?;
        for (code, count) in by_code {
            let labels = [("code", code.to_string()), ("name", request::name(code).to_owned())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn metric(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    value.encode(out.encode_descriptor(name, help, None, value.metric_type())?)
}

/// The text that Prometheus reads.
pub fn text(broker: &Arc<Broker>, server: &Arc<Server>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(broker.clone(), server.clone())));
    let mut out = String::new();
    match text::encode(&mut out, &registry) {
        Ok(()) => out,
        Err(fmt::Error) => String::new(),
    }
}

/// Longest request that is read; what is asked for does not matter, there is one page.
const REQUEST_BYTES_MAX: usize = 8_192;
/// How long one reader may take.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the page on a listener for as long as it runs: one reader at a time.
pub async fn serve(listener: TcpListener, broker: Arc<Broker>, server: Arc<Server>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = text(&broker, &server);
                let answered = task::spawn("scrape", async move {
                    clock::timeout(SCRAPE_TIMEOUT, answer(stream, page)).await
                });
                let _ = answered.await;
            }
            Err(_) => clock::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, page: String) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        page.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(page.as_bytes()).await?;
    stream.shutdown().await
}
