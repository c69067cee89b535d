//! Messages looked up: by the id an answer gave, by the client's unique key, by key.

use crate::Admin;
use crate::text;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use mq_message::msg_id::{offset_id, parse_offset_id};
use mq_message::record::{RecordView, records};
use mq_message::{property, sys_flag};
use mq_remoting::code::{request, response};
use mq_remoting::header::{QueryMessage, ViewMessage};
use mq_remoting::{ByteStr, Command};
use std::fmt::Write;
use std::io::Read;

/// How much of a body is printed.
const BODY_BYTES_SHOWN: usize = 4096;
/// Largest body that is unpacked.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Flags.
#[derive(Args)]
pub struct QueryMsgById {
    /// Id from the answer of a send: the offset id, or the client's unique key
    #[arg(short = 'i', long = "msgId")]
    id: String,
    /// Topic (needed for a unique key)
    #[arg(short = 't', long = "topic")]
    topic: Option<String>,
}

pub async fn by_id(admin: &Admin, flags: &QueryMsgById) -> Result<String> {
    if let Some(found) = by_offset_id(admin, &flags.id).await? {
        return describe_all(&found);
    }
    let topic = flags
        .topic
        .as_deref()
        .context("this is not an id of a broker of this cluster; for a client's key add -t TOPIC")?;
    let found = query(admin, topic, &flags.id, 32, 0, i64::MAX, true).await?;
    ensure!(!found.is_empty(), "no message of {topic} has the id {}", flags.id);
    found.iter().map(|bytes| describe_all(bytes)).collect()
}

/// An offset id names a broker's address; it is asked only if it is one of the cluster's.
async fn by_offset_id(admin: &Admin, id: &str) -> Result<Option<Bytes>> {
    let Ok((host, offset)) = parse_offset_id(id) else {
        return Ok(None);
    };
    let addr = host.to_string();
    let info = admin.clusters().await?;
    if !info
        .broker_addr_table
        .values()
        .any(|group| group.broker_addrs.values().any(|known| *known == addr))
    {
        return Ok(None);
    }
    let offset = i64::try_from(offset.get())?;
    let header = ViewMessage {
        offset,
        topic: None,
        broker_name: None,
    };
    Ok(Some(
        admin
            .call(&addr, Command::request(request::VIEW_MESSAGE_BY_ID, &header))
            .await?
            .body,
    ))
}

/// Flags.
#[derive(Args)]
pub struct QueryMsgByKey {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Key
    #[arg(short = 'k', long = "msgKey")]
    key: String,
    /// Stored at this time or later, milliseconds
    #[arg(short = 'b', long = "beginTimestamp", default_value_t = 0)]
    begin: i64,
    /// Stored at this time or earlier, milliseconds
    #[arg(short = 'e', long = "endTimestamp", default_value_t = i64::MAX)]
    end: i64,
    /// Most messages of one broker
    #[arg(short = 'm', long = "maxNum", default_value_t = 64)]
    count: i32,
}

pub async fn by_key(admin: &Admin, flags: &QueryMsgByKey) -> Result<String> {
    let mut text = format!("{:<50} {:>4} {:>40}\n", "#Message ID", "#QID", "#Offset");
    for bytes in query(
        admin,
        &flags.topic,
        &flags.key,
        flags.count,
        flags.begin,
        flags.end,
        false,
    )
    .await?
    {
        for record in records(&bytes) {
            let record = record.context("read a message")?;
            let named = property::keys(record.properties()).any(|key| key == flags.key);
            // The index compares hashes only.
            if named && record.topic() == flags.topic {
                let _ = writeln!(
                    text,
                    "{:<50} {:>4} {:>40}",
                    id_of(&record),
                    record.queue_id(),
                    record.queue_offset()
                );
            }
        }
    }
    Ok(text)
}

async fn query(
    admin: &Admin,
    topic: &str,
    key: &str,
    max_num: i32,
    begin: i64,
    end: i64,
    unique: bool,
) -> Result<Vec<Bytes>> {
    let mut found = Vec::new();
    for (_, addr) in admin.leaders_of(topic).await? {
        let header = QueryMessage {
            topic: ByteStr::from(topic),
            key: ByteStr::from(key),
            max_num,
            begin_timestamp: begin,
            end_timestamp: end,
            unique_key_query: Some(unique),
        };
        let answer = admin
            .ask(&addr, Command::request(request::QUERY_MESSAGE, &header))
            .await?;
        match answer.code {
            response::SUCCESS => found.push(answer.body),
            response::QUERY_NOT_FOUND => {}
            code => anyhow::bail!(
                "{addr} refused with code {code}: {}",
                answer.remark.as_deref().unwrap_or_default()
            ),
        }
    }
    Ok(found)
}

/// What clients call the message's id: its unique key if it has one.
fn id_of(record: &RecordView<'_>) -> String {
    match record.property("UNIQ_KEY") {
        Some(key) => key.to_owned(),
        None => offset_id(record.store_host(), record.physical_offset()),
    }
}

fn describe_all(bytes: &[u8]) -> Result<String> {
    records(bytes)
        .map(|record| Ok(describe(&record.context("read a message")?)))
        .collect()
}

fn describe(record: &RecordView<'_>) -> String {
    let properties: Vec<String> = property::iter(record.properties())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let rows = [
        ("OffsetID:", offset_id(record.store_host(), record.physical_offset())),
        ("Topic:", record.topic().to_owned()),
        ("Tags:", format!("[{}]", record.property("TAGS").unwrap_or("null"))),
        ("Keys:", format!("[{}]", record.property("KEYS").unwrap_or("null"))),
        ("Queue ID:", record.queue_id().to_string()),
        ("Queue Offset:", record.queue_offset().to_string()),
        ("CommitLog Offset:", record.physical_offset().to_string()),
        ("Reconsume Times:", record.reconsume_times().to_string()),
        ("Born Timestamp:", text::time_ms(record.born_timestamp())),
        ("Store Timestamp:", text::time_ms(record.store_timestamp())),
        ("Born Host:", record.born_host().to_string()),
        ("Store Host:", record.store_host().to_string()),
        ("System Flag:", record.sys_flag().to_string()),
        ("Properties:", format!("{{{}}}", properties.join(", "))),
        ("Message Body:", body_of(record)),
    ];
    rows.iter()
        .map(|(name, value)| format!("{name:<20} {value}\n"))
        .collect()
}

fn body_of(record: &RecordView<'_>) -> String {
    let flag = record.sys_flag();
    let zlib = matches!(flag & sys_flag::COMPRESSION_TYPE, 0 | sys_flag::COMPRESSION_ZLIB);
    let mut unpacked = Vec::new();
    let body = if flag & sys_flag::COMPRESSED == 0 {
        record.body()
    } else if zlib
        && flate2::read::ZlibDecoder::new(record.body())
            .take(BODY_BYTES_MAX)
            .read_to_end(&mut unpacked)
            .is_ok()
    {
        &unpacked[..]
    } else {
        return format!("{} bytes, compressed", record.body().len());
    };
    let shown = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_SHOWN)]).into_owned();
    if body.len() > BODY_BYTES_SHOWN {
        format!("{shown}... ({} bytes)", body.len())
    } else {
        shown
    }
}
