//! What a round found, for people and as JSON.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::MqArgs;
use super::consume::Consumed;
use super::produce::Produced;
use crate::servers::Used;

/// Percentiles of a latency, milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub p50: f64,
    /// 90 of 100 are faster.
    pub p90: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// 999 of 1,000 are faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(micros: &Histogram<u64>) -> Self {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros.max() as f64 / 1_000.0,
        }
    }
}

/// One round.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages a second that were asked for; absent in a closed loop.
    pub offered: Option<u64>,
    /// Messages a second that were acknowledged.
    pub rate: f64,
    /// Messages acknowledged while measuring.
    pub acknowledged: u64,
    /// Requests that failed while measuring.
    pub failed: u64,
    /// From the intended send time to the answer.
    pub send: Latency,
    /// From the intended send time to the consumer; absent without consumers.
    pub end_to_end: Option<Latency>,
    /// Messages a second that were consumed; absent without consumers.
    pub consumed_rate: Option<f64>,
    /// Acknowledged in the round and never consumed.
    pub lost: u64,
    /// Consumed more than once.
    pub duplicated: u64,
    /// CPU seconds of all servers a million messages; absent when no server was measured.
    pub cpu_s_per_million: Option<f64>,
    /// Greatest anonymous memory of a server, bytes.
    pub anon_bytes: Option<u64>,
    /// Bytes that one server wrote to storage for each byte of body.
    pub written_per_byte: Option<f64>,
    /// The last error of a send.
    pub error: Option<String>,
}

impl Report {
    pub(super) fn new(
        args: &MqArgs,
        produced: Produced,
        consumed: Option<Consumed>,
        used: Used,
        servers: usize,
    ) -> Self {
        let seconds = produced.took.as_secs_f64();
        let messages = produced.acknowledged.max(1) as f64;
        let measured = servers > 0;
        let bytes = messages * args.size.max(crate::body::HEAD) as f64 * servers as f64;
        Self {
            offered: args.rate,
            rate: produced.acknowledged as f64 / seconds,
            acknowledged: produced.acknowledged,
            failed: produced.failed,
            send: Latency::from(&produced.latency),
            end_to_end: consumed.as_ref().map(|c| Latency::from(&c.latency)),
            consumed_rate: consumed.as_ref().map(|c| c.rate),
            lost: consumed.as_ref().map_or(0, |c| c.lost),
            duplicated: consumed.as_ref().map_or(0, |c| c.duplicated),
            cpu_s_per_million: measured.then_some(used.cpu_s / messages * 1e6),
            anon_bytes: measured.then_some(used.anon_bytes),
            written_per_byte: measured.then_some(used.written_bytes as f64 / bytes),
            error: produced.error,
        }
    }

    /// One line of a table, or one JSON object.
    pub fn print(&self, json: bool, head: bool) {
        if json {
            println!("{}", serde_json::to_string(self).expect("numbers and texts"));
            return;
        }
        if head {
            println!(
                "{:>10} {:>7} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>6} {:>5} {:>9} {:>9} {:>9}",
                "msg/s",
                "failed",
                "p50 ms",
                "p90",
                "p99",
                "p99.9",
                "max",
                "e2e p99",
                "lost",
                "twice",
                "CPU-s/M",
                "anon MB",
                "disk/byte"
            );
        }
        let or_dash = |value: Option<f64>, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}"));
        println!(
            "{:>10.0} {:>7} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>9.2} {:>9} {:>6} {:>5} {:>9} {:>9} {:>9}",
            self.rate,
            self.failed,
            self.send.p50,
            self.send.p90,
            self.send.p99,
            self.send.p999,
            self.send.max,
            or_dash(self.end_to_end.as_ref().map(|l| l.p99), 2),
            self.lost,
            self.duplicated,
            or_dash(self.cpu_s_per_million, 2),
            or_dash(self.anon_bytes.map(|bytes| bytes as f64 / 1e6), 0),
            or_dash(self.written_per_byte, 2),
        );
        if let Some(error) = &self.error {
            println!("           last error: {error}");
        }
    }
}

/// The medians of several rounds.
pub fn print_median(reports: &[Report]) {
    let median = |value: fn(&Report) -> Option<f64>| {
        let mut values: Vec<f64> = reports.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let show = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.2}"));
    println!(
        "median of {}: {} msg/s, p50 {} ms, p99 {} ms, {} CPU-s per million, {} bytes written a byte and server",
        reports.len(),
        show(median(|r| Some(r.rate))),
        show(median(|r| Some(r.send.p50))),
        show(median(|r| Some(r.send.p99))),
        show(median(|r| r.cpu_s_per_million)),
        show(median(|r| r.written_per_byte)),
    );
}
