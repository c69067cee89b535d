//! Two tables, compared in parts: what differs is split until the rows can be named.

use super::canonical::{Column, beyond, each, key_at, literals, sums, up_to};
use super::position::Copy;
use super::{Difference, VerifyOptions};
use anyhow::{Context, Result};
use mq_base::env::clock::{self, Instant};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::BTreeMap;
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
    pub(super) async fn compare(
        &self,
        servers: &mut Servers,
        copy: &Copy,
        options: &VerifyOptions,
        deadline: Instant,
    ) -> Result<Outcome> {
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
                    let sql = key_at(self.key, &self.source, &all_after, options.chunk_rows.max(1) - 1);
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
            if outcome.differences.len() >= options.keys_max {
                outcome.differences.push(Difference::More);
                break;
            }
            self.settle(servers, copy, options, deadline, part, &mut doubtful, &mut outcome)
                .await?;
        }
        Ok(outcome)
    }

    /// Finds out about a part that differed: perhaps the copy was only behind.
    #[allow(clippy::too_many_arguments)] // One caller; the state is the caller's.
    async fn settle(
        &self,
        servers: &mut Servers,
        copy: &Copy,
        options: &VerifyOptions,
        deadline: Instant,
        part: Part,
        doubtful: &mut Vec<Part>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        loop {
            let before = self.sums(&mut servers.source, &self.source, &part).await?;
            // Now the copy is to have everything that was in those sums.
            let caught_up = copy.catch_up(servers, deadline).await?;
            let (after, other) = self.both(servers, &part).await?;
            if before == after && after == other {
                outcome.settled += 1;
                return Ok(());
            }
            if !caught_up && clock::now() >= deadline {
                outcome.undecided += 1;
                return Ok(());
            }
            let larger = after.0.max(other.0);
            let splits = !self.key.is_empty() && larger > LEAF_ROWS;
            if splits {
                let (conn, from) = if after.0 >= other.0 {
                    (&mut servers.source, &self.source)
                } else {
                    (&mut servers.copy, &self.copy)
                };
                let sql = key_at(self.key, from, &self.condition(&part), larger / 2);
                let middle: Option<String> = conn.query_first(sql).await.context("find the middle of a part")?;
                if let Some(middle) = middle.filter(|middle| part.to.as_ref() != Some(middle)) {
                    doubtful.push(Part {
                        after: Some(middle.clone()),
                        to: part.to,
                    });
                    doubtful.push(Part {
                        after: part.after,
                        to: Some(middle),
                    });
                    return Ok(());
                }
            }
            // The source stood still while the copy had all of it: what differs now, differs.
            if before == after && caught_up {
                return self.name(servers, options, &part, outcome, &after, &other).await;
            }
            if clock::now() >= deadline {
                outcome.undecided += 1;
                return Ok(());
            }
            clock::sleep(HOT_PAUSE).await;
        }
    }

    /// Names the rows of a small part that differ.
    async fn name(
        &self,
        servers: &mut Servers,
        options: &VerifyOptions,
        part: &Part,
        outcome: &mut Outcome,
        source: &Sums,
        copy: &Sums,
    ) -> Result<()> {
        if self.key.is_empty() {
            outcome.differences.push(Difference::Rows {
                source: source.0,
                copy: copy.0,
            });
            return Ok(());
        }
        let condition = self.condition(part);
        let mut rows = Vec::new();
        for (conn, from) in [(&mut servers.source, &self.source), (&mut servers.copy, &self.copy)] {
            let sql = each(self.columns, self.key, from, &condition);
            let found: Vec<(String, Option<String>, String)> =
                conn.query(sql).await.context("read the rows of a part")?;
            rows.push(
                found
                    .into_iter()
                    .map(|(key, shown, hash)| (key, (shown.unwrap_or_default(), hash)))
                    .collect::<BTreeMap<_, _>>(),
            );
        }
        let (Some(copy), Some(source)) = (rows.pop(), rows.pop()) else {
            return Ok(());
        };
        let missing = source
            .iter()
            .filter(|(key, _)| !copy.contains_key(*key))
            .map(|(_, (shown, _))| Difference::Missing(shown.clone()));
        let extra = copy
            .iter()
            .filter(|(key, _)| !source.contains_key(*key))
            .map(|(_, (shown, _))| Difference::Extra(shown.clone()));
        let changed = source
            .iter()
            .filter(|(key, (_, hash))| copy.get(*key).is_some_and(|(_, other)| other != hash));
        let changed = changed.map(|(_, (shown, _))| Difference::Changed(shown.clone()));
        for difference in missing.chain(extra).chain(changed) {
            if outcome.differences.len() >= options.keys_max {
                break;
            }
            outcome.differences.push(difference);
        }
        Ok(())
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
