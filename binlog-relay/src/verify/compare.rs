//! Two tables, compared in parts: what differs is split until the rows can be named.

use super::Difference;
use super::canonical::{Column, beyond, each, key_at, literals, sums, up_to};
use super::position::Copy;
use anyhow::{Context, Result};
use mq_base::env::clock::{self, Instant};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Parts of at most so many rows are compared row by row.
const LEAF_ROWS: u64 = 256;
/// Pause before a part that changes all the time is tried again.
const HOT_PAUSE: Duration = Duration::from_millis(100);

/// A table on both sides, with equal definitions.
pub(super) struct Pair<'a> {
    pub(super) columns: &'a [Column],
    pub(super) key: &'a [Column],
    /// Names as SQL.
    pub(super) source: String,
    pub(super) copy: String,
}

/// The connections.
pub(super) struct Servers {
    pub(super) source: Conn,
    pub(super) copy: Conn,
}

/// What holds for all tables.
pub(super) struct Run<'a> {
    pub(super) copy: &'a Copy,
    /// When parts that change all the time are given up.
    pub(super) deadline: Instant,
    /// Rows of a part, and most differences that are named.
    pub(super) chunk_rows: u64,
    pub(super) keys_max: usize,
}

/// A part of a table: keys after one bound, up to another.
#[derive(Debug, Clone)]
struct Part {
    after: Option<String>,
    to: Option<String>,
}

/// What became of a table.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Rows of the source that were compared.
    pub(super) rows: u64,
    pub(super) differences: Vec<Difference>,
    /// Parts that changed whenever they were looked at.
    pub(super) undecided: u64,
    /// Parts that were equal only after the copy had caught up.
    pub(super) settled: u64,
}

type Sums = (u64, String, String);

impl Pair<'_> {
    /// Compares everything.
    ///
    /// # Errors
    /// Of the servers.
    pub(super) async fn compare(&self, servers: &mut Servers, run: &Run<'_>) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut doubtful = Vec::new();
        let mut after = None;
        loop {
            let to = match self.key {
                [] => None,
                _ => {
                    let all_after = self.condition(&Part {
                        after: after.clone(),
                        to: None,
                    });
                    let sql = key_at(self.key, &self.source, &all_after, run.chunk_rows.max(1) - 1);
                    servers
                        .source
                        .query_first::<String, _>(sql)
                        .await
                        .context("find the next part of a table")?
                }
            };
            let part = Part { after, to: to.clone() };
            let (source, other) = self.both(servers, &part).await?;
            outcome.rows += source.0;
            if source != other {
                doubtful.push(part);
            }
            after = to;
            if after.is_none() {
                break;
            }
        }
        while let Some(part) = doubtful.pop() {
            if outcome.differences.len() >= run.keys_max {
                outcome.differences.push(Difference::More);
                break;
            }
            self.settle(servers, run, part, &mut doubtful, &mut outcome).await?;
        }
        Ok(outcome)
    }

    /// Finds out about a part that differed: perhaps the copy was only behind. Large parts are split.
    async fn settle(
        &self,
        servers: &mut Servers,
        run: &Run<'_>,
        part: Part,
        doubtful: &mut Vec<Part>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        loop {
            let before = self.sums(&mut servers.source, &self.source, &part).await?;
            // Now the copy is to have everything that was in those sums.
            let caught_up = run.copy.catch_up(servers, run.deadline).await?;
            let (after, other) = self.both(servers, &part).await?;
            if before == after && after == other {
                outcome.settled += 1;
                return Ok(());
            }
            if !caught_up && clock::now() >= run.deadline {
                outcome.undecided += 1;
                return Ok(());
            }
            if !self.key.is_empty() {
                return match self.middle(servers, &part, after.0, other.0).await? {
                    Some(middle) => {
                        doubtful.push(Part {
                            after: Some(middle.clone()),
                            to: part.to,
                        });
                        doubtful.push(Part {
                            after: part.after,
                            to: Some(middle),
                        });
                        Ok(())
                    }
                    None => self.settle_rows(servers, run, &part, outcome).await,
                };
            }
            // The source stood still while the copy had all of it: what differs now, differs.
            if before == after && caught_up {
                outcome.differences.push(Difference::Rows {
                    source: after.0,
                    copy: other.0,
                });
                return Ok(());
            }
            if clock::now() >= run.deadline {
                outcome.undecided += 1;
                return Ok(());
            }
            clock::sleep(HOT_PAUSE).await;
        }
    }

    /// A key in the middle of a part, where it has many rows on one side.
    async fn middle(&self, servers: &mut Servers, part: &Part, source: u64, copy: u64) -> Result<Option<String>> {
        let rows = source.max(copy);
        if rows <= LEAF_ROWS {
            return Ok(None);
        }
        let (conn, from) = if source >= copy {
            (&mut servers.source, &self.source)
        } else {
            (&mut servers.copy, &self.copy)
        };
        let sql = key_at(self.key, from, &self.condition(part), rows / 2);
        let middle: Option<String> = conn.query_first(sql).await.context("find the middle of a part")?;
        Ok(middle.filter(|middle| part.to.as_ref() != Some(middle)))
    }

    /// Compares a small part row by row. A row counts only when the source's has stood still while the copy caught up; the others are looked at again.
    async fn settle_rows(
        &self,
        servers: &mut Servers,
        run: &Run<'_>,
        part: &Part,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let condition = self.condition(part);
        let mut open: Option<BTreeSet<String>> = None;
        loop {
            let before = self.rows(&mut servers.source, &self.source, &condition).await?;
            let caught_up = run.copy.catch_up(servers, run.deadline).await?;
            let other = self.rows(&mut servers.copy, &self.copy, &condition).await?;
            let after = self.rows(&mut servers.source, &self.source, &condition).await?;
            let keys: BTreeSet<&String> = before.keys().chain(other.keys()).chain(after.keys()).collect();
            let mut moving = BTreeSet::new();
            for key in keys {
                if open.as_ref().is_some_and(|open| !open.contains(key)) {
                    continue;
                }
                let (was, is, there) = (before.get(key), after.get(key), other.get(key));
                let hash = |row: Option<&(String, String)>| row.map(|(_, hash)| hash.clone());
                if hash(was) != hash(is) || (hash(is) != hash(there) && !caught_up) {
                    moving.insert(key.clone());
                    continue;
                }
                let difference = match (is, there) {
                    (Some((shown, _)), None) => Difference::Missing(shown.clone()),
                    (None, Some((shown, _))) => Difference::Extra(shown.clone()),
                    (Some((shown, one)), Some((_, two))) if one != two => Difference::Changed(shown.clone()),
                    _ => continue,
                };
                if outcome.differences.len() >= run.keys_max {
                    return Ok(());
                }
                outcome.differences.push(difference);
            }
            if moving.is_empty() {
                outcome.settled += 1;
                return Ok(());
            }
            if clock::now() >= run.deadline {
                outcome.undecided += 1;
                return Ok(());
            }
            open = Some(moving);
            clock::sleep(HOT_PAUSE).await;
        }
    }

    /// Key for a person, and hash, of each row by key.
    async fn rows(&self, conn: &mut Conn, from: &str, condition: &str) -> Result<BTreeMap<String, (String, String)>> {
        let sql = each(self.columns, self.key, from, condition);
        let found: Vec<(String, Option<String>, String)> = conn.query(sql).await.context("read the rows of a part")?;
        Ok(found
            .into_iter()
            .map(|(key, shown, hash)| (key, (shown.unwrap_or_default(), hash)))
            .collect())
    }

    async fn both(&self, servers: &mut Servers, part: &Part) -> Result<(Sums, Sums)> {
        let Servers { source, copy } = servers;
        tokio::try_join!(self.sums(source, &self.source, part), self.sums(copy, &self.copy, part))
    }

    async fn sums(&self, conn: &mut Conn, from: &str, part: &Part) -> Result<Sums> {
        let sql = sums(self.columns, from, &self.condition(part));
        let found = conn
            .query_first(sql)
            .await
            .with_context(|| format!("compute the checksum of {from}"))?;
        found.context("a checksum has no row")
    }

    fn condition(&self, part: &Part) -> String {
        let after = part
            .after
            .as_deref()
            .map(|bound| beyond(self.key, &literals(self.key, bound)));
        let to = part
            .to
            .as_deref()
            .map(|bound| up_to(self.key, &literals(self.key, bound)));
        let conditions: Vec<String> = after.into_iter().chain(to).collect();
        if conditions.is_empty() {
            "TRUE".to_owned()
        } else {
            conditions.join(" AND ")
        }
    }
}
