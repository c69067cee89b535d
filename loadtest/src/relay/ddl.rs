//! Definitions in motion: random ALTERs between changes, the relay killed between them. Each value begins with the name that its column had when it was
//! written, so the auditor sees at once whether a row was read with the names in force at its commit.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use binlog_relay_stage::Stage;
use clap::Args;
use mq_client::{ClientConfig, ClientInstance};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::audit::read_topic;
use super::drill::{equal, map, settings, wait_until_through};
use super::process::RelayProcess;
use super::writer::SCHEMA;

/// How it goes.
#[derive(Args, Clone, Debug)]
pub struct RelayDdlArgs {
    /// ALTERs, TRUNCATEs and the like.
    #[arg(long, default_value_t = 100)]
    pub alters: u32,
    /// Kills of the relay.
    #[arg(long, default_value_t = 10)]
    pub kills: u32,
    /// Choice of statements.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs it.
///
/// # Errors
/// A row was read with other names, or the copy is not equal.
pub async fn run(args: RelayDdlArgs) -> Result<()> {
    let mut stage = Stage::start(3)?;
    match storm(args, &stage).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(format!("everything is kept in {}", stage.keep().display()))),
    }
}

async fn storm(args: RelayDdlArgs, stage: &Stage) -> Result<()> {
    let source = stage.mysql("source", &[])?;
    let copy = stage.mysql("copy", &["--skip-log-bin"])?;
    let mut relay = RelayProcess::start(stage.folder(), "relay", &settings(stage, &source, false), &[])?;
    relay.wait_for("start", Duration::from_secs(30), |s| s["state"] == "active")?;
    let mut mirror = relay.mirror(&copy.url(), &map())?;
    let mut conn = binlog_relay::mysql::connect(&source.url()).await?;
    conn.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
    let mut table = Table::new(StdRng::seed_from_u64(args.seed));
    conn.query_drop(table.create()).await?;
    let every = (args.alters / args.kills.max(1)).max(1);
    let mut changes = 0;
    for n in 1..=args.alters {
        for _ in 0..table.rng.random_range(1..15) {
            table.change(&mut conn).await?;
            changes += 1;
        }
        let statement = table.alter();
        conn.query_drop(&statement)
            .await
            .with_context(|| format!("carry out {statement}"))?;
        if n % every == 0 {
            relay.kill_and_restart()?;
        }
        for process in [&mut relay, &mut mirror] {
            if let Some(end) = process.ended() {
                bail!(
                    "a process ended by itself ({end}) after {statement}; see {}",
                    process.log().display()
                );
            }
        }
    }
    for _ in 0..20 {
        table.change(&mut conn).await?;
    }
    wait_until_through(std::slice::from_mut(&mut relay), &source, Duration::from_secs(60))?;
    let instance = ClientInstance::start(ClientConfig::new(&stage.cluster().namesrv_addr()))?;
    let (rows, values, barriers) = names(&instance).await?;
    println!(
        "{} statements of definition, {changes} changes, {} kills: {rows} rows with {values} values, each under the name that its column had; {barriers} barriers",
        args.alters, args.kills
    );
    ensure!(
        rows > 0 && barriers as u32 == args.alters + 1,
        "not everything was examined"
    );
    equal(&source, &copy, Duration::from_secs(90)).await
}

/// Every value of an after image begins with the name of its column.
async fn names(instance: &ClientInstance) -> Result<(u64, u64, usize)> {
    let (mut rows, mut values, mut barriers) = (0, 0, BTreeSet::new());
    for message in read_topic(instance, &format!("{SCHEMA}_moving")).await? {
        if let Some(barrier) = message.get("barrier") {
            let number = barrier.split('/').next().context("a barrier's number")?;
            barriers.insert(number.parse::<u64>()?);
            continue;
        }
        let body: serde_json::Value = serde_json::from_slice(message.body())?;
        if body["type"] == "DELETE" {
            continue;
        }
        for row in body["data"].as_array().context("rows")? {
            rows += 1;
            for (name, value) in row.as_object().context("a row")? {
                let Some(text) = value.as_str().filter(|_| name != "id") else {
                    continue;
                };
                ensure!(
                    text.starts_with(&format!("{name}:")),
                    "column {name} holds {text:?} in transaction {:?}",
                    message.get("gtid")
                );
                values += 1;
            }
        }
    }
    // One number for each statement, none left out, none used twice.
    ensure!(
        barriers.last().copied() == Some(barriers.len() as u64),
        "barriers have gaps: {barriers:?}"
    );
    Ok((rows, values, barriers.len()))
}

/// The table as the generator knows it.
struct Table {
    rng: StdRng,
    columns: Vec<String>,
    next: u32,
    ids: u64,
}

impl Table {
    fn new(rng: StdRng) -> Table {
        Table {
            rng,
            columns: vec!["c1".into(), "c2".into(), "c3".into()],
            next: 4,
            ids: 0,
        }
    }

    fn create(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|c| format!("{c} VARCHAR(60)")).collect();
        format!(
            "CREATE TABLE {SCHEMA}.moving (id BIGINT PRIMARY KEY, {})",
            columns.join(", ")
        )
    }

    async fn change(&mut self, conn: &mut Conn) -> Result<()> {
        let mark: u32 = self.rng.random();
        let texts: Vec<String> = self.columns.iter().map(|c| format!("'{c}:{mark} ü'")).collect();
        let id = self.rng.random_range(0..=self.ids);
        let sql = match self.rng.random_range(0..10) {
            0..5 => {
                self.ids += 1;
                format!(
                    "INSERT INTO {SCHEMA}.moving (id, {}) VALUES ({}, {})",
                    self.columns.join(", "),
                    self.ids,
                    texts.join(", ")
                )
            }
            5..9 => {
                let sets: Vec<String> = self
                    .columns
                    .iter()
                    .zip(&texts)
                    .map(|(c, t)| format!("{c} = {t}"))
                    .collect();
                format!("UPDATE {SCHEMA}.moving SET {} WHERE id = {id}", sets.join(", "))
            }
            _ => format!("DELETE FROM {SCHEMA}.moving WHERE id = {id}"),
        };
        conn.query_drop(&sql).await.with_context(|| format!("carry out {sql}"))
    }

    /// One statement that changes the definition.
    fn alter(&mut self) -> String {
        let table = format!("{SCHEMA}.moving");
        let chosen = self.columns.choose(&mut self.rng).cloned().unwrap_or_default();
        let place = match self.rng.random_range(0..3) {
            0 => " FIRST".to_owned(),
            1 => format!(" AFTER {chosen}"),
            _ => String::new(),
        };
        let dice = self.rng.random_range(0..100);
        match dice {
            0..30 => {
                let new = format!("c{}", self.next);
                self.next += 1;
                let default = if dice % 2 == 0 {
                    format!(" DEFAULT '{new}:default'")
                } else {
                    String::new()
                };
                self.columns.push(new.clone());
                format!("ALTER TABLE {table} ADD COLUMN {new} VARCHAR(60){default}{place}")
            }
            30..45 if self.columns.len() > 2 => {
                self.columns.retain(|c| *c != chosen);
                format!("alter table {table} drop column `{chosen}`")
            }
            45..60 => {
                let new = format!("c{}", self.next);
                self.next += 1;
                self.columns.retain(|c| *c != chosen);
                self.columns.push(new.clone());
                format!("ALTER TABLE {table} RENAME COLUMN {chosen} TO {new} /* a comment with ; and 'quotes' */")
            }
            // Two columns of one type change names: only the binlog's own metadata tells.
            60..70 if self.columns.len() > 1 => {
                let other = self.columns.iter().find(|c| **c != chosen).cloned().unwrap_or_default();
                format!("ALTER TABLE {table} RENAME COLUMN {chosen} TO {other}, RENAME COLUMN {other} TO {chosen}")
            }
            70..80 => {
                let kind = [
                    "VARCHAR(80)",
                    "TEXT",
                    "VARCHAR(70) CHARACTER SET latin1",
                    "VARCHAR(70) COLLATE utf8mb4_bin",
                ]
                .choose(&mut self.rng)
                .copied()
                .unwrap_or("TEXT");
                format!("ALTER TABLE {table} MODIFY COLUMN {chosen} {kind}")
            }
            80..88 => {
                let others: Vec<&String> = self.columns.iter().filter(|c| **c != chosen).collect();
                match others.choose(&mut self.rng) {
                    Some(other) => format!("ALTER TABLE {table} MODIFY COLUMN {chosen} VARCHAR(80) AFTER {other}"),
                    None => format!("ALTER TABLE {table} COMMENT 'alone'"),
                }
            }
            88..92 => {
                self.next += 1;
                format!("CREATE INDEX i{} ON {table} ({chosen}(10))", self.next)
            }
            92..95 => format!("TRUNCATE TABLE {table}"),
            95..97 => format!("ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"),
            _ => format!("ALTER TABLE {table} COMMENT = 'changed {dice}', ENGINE = InnoDB"),
        }
    }
}
