//! What a relay says of itself: numbers for metrics, and the place it has reached.

use mq_base::env::clock;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Counters and places. Written by the relay, read by whoever asks.
#[derive(Debug, Default)]
pub struct Status {
    /// Rows appended.
    pub rows: AtomicU64,
    /// Bytes of message bodies appended.
    pub bytes: AtomicU64,
    /// Atomic batches appended.
    pub batches: AtomicU64,
    /// Transactions read.
    pub transactions: AtomicU64,
    /// Times the source was connected to.
    pub connects: AtomicU64,
    /// Rows that copies of tables have written.
    pub copied: AtomicU64,
    /// Rows of all captured tables, as the server estimated them at the start.
    pub estimated: AtomicU64,
    /// Tables that are still to be copied.
    pub copying: AtomicU64,
    /// Transactions that the source has and the queue has not, as counted every other second.
    pub lag_transactions: AtomicU64,
    /// When the source last had nothing more to give, ms.
    pub caught_up_ms: AtomicI64,
    es: AtomicI64,
    appended_ms: AtomicI64,
    // Replaced with each batch, read seldom.
    text: Mutex<Texts>,
}

#[derive(Debug, Default, Clone)]
struct Texts {
    state: String,
    gtids: String,
    snapshot: Vec<(String, String)>,
}

impl Status {
    /// Says what the relay is doing: `active`, `stand-by`, `connecting` …
    pub fn state(&self, state: &str) {
        let mut text = self.text.lock();
        if text.state != state {
            tracing::info!(state, "relay");
            text.state = state.to_owned();
        }
    }

    /// Notes that a batch is in the queue.
    pub fn appended(&self, gtids: String, es: i64) {
        self.appended_ms.store(clock::wall_ms(), Relaxed);
        if es > 0 {
            self.es.store(es, Relaxed);
        }
        self.text.lock().gtids = gtids;
    }

    /// Text of the complete transactions in the queue.
    pub fn gtids(&self) -> String {
        self.text.lock().gtids.clone()
    }

    /// Notes how far the copy of a table is.
    pub fn snapshot(&self, tables: Vec<(String, String)>) {
        self.text.lock().snapshot = tables;
    }

    /// Milliseconds between the newest appended commit and now; 0 when the source has nothing more.
    pub fn lag_ms(&self) -> i64 {
        let now = clock::wall_ms();
        if now - self.caught_up_ms.load(Relaxed) < 1000 {
            return 0;
        }
        match self.es.load(Relaxed) {
            0 => 0,
            es => (now - es).max(0),
        }
    }

    /// All of it as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let text = self.text.lock().clone();
        serde_json::json!({
            "state": text.state,
            "gtids": text.gtids,
            "rows": self.rows.load(Relaxed),
            "bytes": self.bytes.load(Relaxed),
            "batches": self.batches.load(Relaxed),
            "transactions": self.transactions.load(Relaxed),
            "connects": self.connects.load(Relaxed),
            "lag_ms": self.lag_ms(),
            "copied": self.copied.load(Relaxed),
            "estimated": self.estimated.load(Relaxed),
            "copying": self.copying.load(Relaxed),
            "lag_transactions": self.lag_transactions.load(Relaxed),
            "appended_ms": self.appended_ms.load(Relaxed),
            "snapshot": text.snapshot.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    /// All of it in Prometheus' text format.
    pub fn to_prometheus(&self) -> String {
        let numbers = [
            (
                "relay_rows_total",
                "Rows appended",
                "counter",
                self.rows.load(Relaxed) as i64,
            ),
            (
                "relay_bytes_total",
                "Bytes of message bodies appended",
                "counter",
                self.bytes.load(Relaxed) as i64,
            ),
            (
                "relay_batches_total",
                "Atomic batches appended",
                "counter",
                self.batches.load(Relaxed) as i64,
            ),
            (
                "relay_transactions_total",
                "Transactions read",
                "counter",
                self.transactions.load(Relaxed) as i64,
            ),
            (
                "relay_connects_total",
                "Times the source was connected to",
                "counter",
                self.connects.load(Relaxed) as i64,
            ),
            (
                "relay_lag_ms",
                "Milliseconds from commit to now of the newest appended row; 0 when nothing is waiting",
                "gauge",
                self.lag_ms(),
            ),
        ];
        let mut out = String::new();
        for (name, help, kind, value) in numbers {
            out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        }
        out
    }
}
