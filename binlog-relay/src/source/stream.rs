//! The stream of binlog events, asked for by GTID.

use super::SourceError;
use crate::gtid::{GtidSet, write_uuid};
use crate::mysql;
use futures_util::{FutureExt, StreamExt};
use mq_base::env::clock;
use mysql_async::binlog::BinlogChecksumAlg;
use mysql_async::binlog::events::Event;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, GnoInterval, Sid};
use std::time::Duration;

/// An idle server says that it lives so often.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Silence after which a connection is given up.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// One event, its checksum verified.
pub struct RawEvent(Event);

impl RawEvent {
    /// Kind of event, as in its header.
    pub fn kind(&self) -> u8 {
        self.0.header().event_type_raw()
    }

    /// What follows the header; the checksum is cut off.
    pub fn body(&self) -> &[u8] {
        self.0.data()
    }

    /// When it was written, seconds.
    pub fn timestamp_s(&self) -> u32 {
        self.0.header().timestamp()
    }
}

/// An open stream.
pub struct EventStream {
    stream: BinlogStream,
    /// Events that the library inflated out of a compressed transaction, which we read ourselves.
    skip: usize,
    /// When the last event came, heartbeats included.
    last: clock::Instant,
}

impl EventStream {
    /// Asks the server for everything that is not in `have`.
    ///
    /// # Errors
    /// The server does not answer, refuses the account, or no longer has what is asked for.
    pub async fn open(url: &str, server_id: u32, name: &str, have: &GtidSet) -> Result<EventStream, SourceError> {
        let connected = clock::timeout(Duration::from_secs(5), mysql::connect(url)).await;
        let mut conn = match connected {
            Ok(Ok(conn)) => conn,
            Ok(Err(error)) => return Err(mysql::source_error(error)),
            Err(_) => return Err(SourceError::Lost("no answer within 5 s".to_owned())),
        };
        // The server ends an older connection of the same replica id: a relay that was superseded stops reading too.
        let uuid = uuid_of(name);
        let nanos = HEARTBEAT.as_nanos();
        conn.query_drop(format!(
            "SET @source_heartbeat_period = {nanos}, @master_heartbeat_period = {nanos}, @replica_uuid = '{uuid}', @slave_uuid = '{uuid}'"
        ))
        .await?;
        let mut sids = Vec::new();
        for (uuid, tag, intervals) in have.origins() {
            let sid = match tag.is_empty() {
                // Ends are exclusive on the wire.
                true => Sid::new(*uuid).with_intervals(
                    intervals
                        .iter()
                        .map(|(first, last)| GnoInterval::new(*first, last + 1))
                        .collect(),
                ),
                // The library makes tagged ones from text only.
                false => tagged(uuid, tag, intervals).ok_or_else(|| {
                    SourceError::stop(
                        format!("tag '{tag}' of a GTID is malformed"),
                        "Please report this as a defect",
                    )
                })?,
            };
            sids.push(sid);
        }
        let request = BinlogStreamRequest::new(server_id).with_gtid().with_gtid_set(sids);
        Ok(EventStream {
            stream: conn.get_binlog_stream(request).await?,
            skip: 0,
            last: clock::now(),
        })
    }

    /// The next event.
    ///
    /// # Errors
    /// The connection is lost or silent, the server refuses to go on, or a checksum is wrong.
    pub async fn next(&mut self) -> Result<RawEvent, SourceError> {
        loop {
            // Counted from the last event, not from this call: the caller may give up waiting and call again.
            let left = SILENCE_MAX.saturating_sub(self.last.elapsed());
            let next = clock::timeout(left, self.stream.next()).await;
            let item = next.map_err(|_| SourceError::Lost(format!("silent for {SILENCE_MAX:?}")))?;
            if let Some(event) = self.take(item)? {
                return Ok(event);
            }
        }
    }

    /// The next event, if it has come already.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_now(&mut self) -> Result<Option<RawEvent>, SourceError> {
        loop {
            match self.stream.next().now_or_never() {
                None => return Ok(None),
                Some(item) => {
                    if let Some(event) = self.take(item)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// Leaves out the next `count` events: the library repeats what is in a compressed transaction.
    pub fn skip(&mut self, count: usize) {
        self.skip = count;
    }

    fn take(&mut self, item: Option<mysql_async::Result<Event>>) -> Result<Option<RawEvent>, SourceError> {
        let event = item.ok_or_else(|| SourceError::Lost("the server ended the stream".to_owned()))??;
        self.last = clock::now();
        if self.skip > 0 {
            // What was in a compressed transaction has no position of its own.
            if event.header().log_pos() != 0 {
                return Err(SourceError::stop(
                    format!(
                        "the client library repeated {} events too few of a compressed transaction",
                        self.skip
                    ),
                    "Please report this as a defect. Nothing was skipped; switch binlog_transaction_compression off to go on",
                ));
            }
            self.skip -= 1;
            return Ok(None);
        }
        verify(&event)?;
        Ok(Some(RawEvent(event)))
    }
}

fn tagged(uuid: &[u8; 16], tag: &str, intervals: &[(u64, u64)]) -> Option<Sid<'static>> {
    let mut text = String::new();
    write_uuid(&mut text, uuid).ok()?;
    text.push_str(&format!(":{tag}"));
    for (first, last) in intervals {
        text.push_str(&format!(":{first}-{last}"));
    }
    text.parse().ok()
}

/// The library cuts the checksum off and does not look at it.
fn verify(event: &Event) -> Result<(), SourceError> {
    let algorithm = event.footer().get_checksum_alg().ok().flatten();
    // Artificial events at the start (rotate, format description) carry none that could be trusted.
    let is_real = event.header().log_pos() != 0;
    if is_real
        && algorithm == Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32)
        && let Some(sum) = event.checksum()
        && event.calc_checksum(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32) != u32::from_le_bytes(sum)
    {
        let place = event.header().log_pos();
        return Err(SourceError::Lost(format!(
            "an event before position {place} arrived damaged (checksum)"
        )));
    }
    Ok(())
}

/// A uuid made of the relay's name: the same for each instance of it.
fn uuid_of(name: &str) -> String {
    let high = xxhash_rust::xxh64::xxh64(name.as_bytes(), 1);
    let low = xxhash_rust::xxh64::xxh64(name.as_bytes(), 2);
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}
