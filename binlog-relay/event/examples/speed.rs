//! How fast row events become Canal's JSON objects, on one core, without a network or a queue.
//!
//!   cargo run --release -p binlog-relay-event --example speed [THOUSANDS OF ROWS]     1,600 unless told otherwise
//!
//! So many inserts and so many updates of a table of ten columns, all columns in every image, in events of 8 KiB as a server
//! cuts them. Of an insert comes an object of its cells, of an update one of the cells after and one of the changed cells
//! before. The events are made once and read again and again; they do not fit into the processor's caches.
#![allow(clippy::disallowed_methods)]

use binlog_relay_event::Error;
use binlog_relay_event::header;
use binlog_relay_event::rows::{Plan, Row, RowReader, RowsEvent, TextPolicy, Value};
use binlog_relay_event::table::TableMap;
use std::hint::black_box;
use std::iter::Cycle;
use std::slice::Iter;
use std::time::Instant;

const ROWS_OF_AN_EVENT: usize = 60;
const DISTINCT_ROWS: u64 = 300_000;
const PASSES: u64 = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let thousands: u64 = std::env::args().nth(1).map_or(Ok(1600), |text| text.parse())?;
    let map = TableMap::parse(&table_map())?;
    let types: Vec<String> = map.columns.iter().map(|column| column.mysql_type()).collect();
    println!("{}", types.join(", "));
    let plan = Plan::new(&map, &TextPolicy::default())?;
    let keys: Vec<Vec<u8>> = map
        .columns
        .iter()
        .map(|column| format!("\"{}\":", column.name).into_bytes())
        .collect();
    for (name, kind) in [("inserts", header::WRITE_ROWS), ("updates", header::UPDATE_ROWS)] {
        let events = events(kind);
        let mut passes: Vec<Pass> = Vec::new();
        // Each pass goes on where the last one ended.
        let mut source = events.iter().cycle();
        for _ in 0..PASSES {
            passes.push(pass(&plan, &keys, kind, &mut source, 1000 * thousands / PASSES)?);
        }
        passes.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
        // On a machine that does other things too the best pass is nearest to the truth.
        for (word, at) in [("best", 0), ("median", passes.len() / 2)] {
            let pass = &passes[at];
            println!(
                "{name}, {word} of {PASSES} passes: {:.2} M rows/s, {:.0} MB/s of binlog, {:.0} MB/s of JSON",
                pass.rows as f64 / pass.seconds / 1e6,
                pass.read as f64 / pass.seconds / 1e6,
                pass.written as f64 / pass.seconds / 1e6,
            );
        }
    }
    Ok(())
}

struct Pass {
    seconds: f64,
    rows: u64,
    /// Bytes of binlog, bytes of JSON.
    read: usize,
    written: usize,
}

fn pass(
    plan: &Plan,
    keys: &[Vec<u8>],
    kind: u8,
    events: &mut Cycle<Iter<'_, Vec<u8>>>,
    rows_wanted: u64,
) -> Result<Pass, Error> {
    let (mut rows, mut read, mut written) = (0, 0, 0);
    let mut out = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    for event in events {
        if rows >= rows_wanted {
            break;
        }
        out.clear();
        rows += write(plan, keys, kind, event, &mut out)?;
        read += event.len() + 23; // header and checksum
        written += black_box(&out).len();
    }
    Ok(Pass {
        seconds: start.elapsed().as_secs_f64(),
        rows,
        read,
        written,
    })
}

/// Answers the number of rows.
fn write(plan: &Plan, keys: &[Vec<u8>], kind: u8, body: &[u8], out: &mut Vec<u8>) -> Result<u64, Error> {
    let event = RowsEvent::parse(kind, body)?;
    let mut reader = RowReader::new(plan, &event)?;
    let (mut before, mut after) = (Row::default(), Row::default());
    let mut rows = 0;
    while reader.next(&mut before, &mut after)? {
        object(plan, keys, &after, |_| true, out)?;
        if kind == header::UPDATE_ROWS {
            object(plan, keys, &before, |at| before.raw(at) != after.raw(at), out)?;
        }
        rows += 1;
    }
    Ok(rows)
}

fn object(
    plan: &Plan,
    keys: &[Vec<u8>],
    row: &Row<'_>,
    shown: impl Fn(usize) -> bool,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut separator = b'{';
    for (at, (column, key)) in plan.columns().iter().zip(keys).enumerate() {
        if !shown(at) {
            continue;
        }
        out.push(separator);
        separator = b',';
        out.extend_from_slice(key);
        match row.raw(at) {
            Value::Raw(raw) => drop(column.write_json(raw, out)?),
            Value::Null | Value::Absent => out.extend_from_slice(b"null"),
        }
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn table_map() -> Vec<u8> {
    let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0, 4];
    body.extend(b"shop\0\x06orders\0");
    body.extend([10, 8, 3, 3, 3, 15, 15, 246, 18, 17, 5]);
    body.extend([9, 128, 0, 144, 1, 10, 2, 3, 6, 8]); // metadata: varchar(32), varchar(100), decimal(10,2), 3, 6, double
    body.extend([0xfe, 0x03]);
    body.extend([1, 1, 0b1000_0000]); // the first number is unsigned
    body.extend([2, 1, 45]);
    let names = [
        "id", "buyer", "shop", "state", "code", "title", "amount", "created", "changed", "weight",
    ];
    let list: Vec<u8> = names
        .iter()
        .flat_map(|name| [&[name.len() as u8], name.as_bytes()].concat())
        .collect();
    body.extend([4, list.len() as u8]);
    body.extend(list);
    body.extend([8, 1, 0]);
    body
}

/// Bodies of row events.
fn events(kind: u8) -> Vec<Vec<u8>> {
    let numbers: Vec<u64> = (0..DISTINCT_ROWS).collect();
    let event = |numbers: &[u64]| {
        let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 10, 0xff, 0x03];
        if kind == header::UPDATE_ROWS {
            body.extend([0xff, 0x03]);
        }
        for number in numbers {
            image(*number, 0, &mut body);
            if kind == header::UPDATE_ROWS {
                image(*number, 1, &mut body);
            }
        }
        body
    };
    numbers.chunks(ROWS_OF_AN_EVENT).map(event).collect()
}

fn image(number: u64, version: u64, body: &mut Vec<u8>) {
    // Any numbers will do; these have all lengths.
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    body.extend([0, 0]);
    body.extend((1_000_000_000 + number).to_le_bytes());
    body.extend(((mixed >> 40) as u32).to_le_bytes());
    body.extend(((mixed >> 50) as u32).to_le_bytes());
    body.extend((version as u32).to_le_bytes());
    let code = format!("SKU-{:020}", mixed);
    body.push(code.len() as u8);
    body.extend(code.as_bytes());
    let title = format!(
        "Order {number} of a customer who likes \"long\" titles, {}",
        mixed >> 44
    );
    body.extend((title.len() as u16).to_le_bytes());
    body.extend(title.as_bytes());
    let cents = mixed % 100_000_000;
    body.extend(&(0x8000_0000 | (cents / 100) as u32).to_be_bytes());
    body.push((cents % 100) as u8);
    let time = (2026 * 13 + 11) << 22 | 28u64 << 17 | (number % 24) << 12 | (number % 60) << 6 | (number % 59);
    body.extend(&((1 << 39) | time).to_be_bytes()[3..]);
    body.extend(&((number % 1000 * 10) as u16).to_be_bytes());
    body.extend(&(1_795_000_000 + number as u32 + version as u32).to_be_bytes());
    body.extend(&((mixed % 1_000_000) as u32).to_be_bytes()[1..]);
    body.extend(((mixed >> 32) as f64 / 1000.0).to_le_bytes());
}
