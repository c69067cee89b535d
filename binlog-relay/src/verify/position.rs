//! Where the copy stands, and waiting until it has what the source has.

use super::compare::Servers;
use crate::ddl::quoted;
use anyhow::{Context, Result};
use mq_base::env::clock::{self, Instant};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The mirror that makes the copy.
#[derive(Debug, Clone)]
pub struct MirrorPosition {
    /// Database of its position.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// Where the copy stands.
pub(super) struct Copy {
    pub(super) mirror: Option<MirrorPosition>,
}

impl Copy {
    /// The source's transactions that are complete in the copy, and whether a part of another is there too. `None` without a mirror.
    ///
    /// # Errors
    /// There is no such mirror.
    pub(super) async fn gtid(&self, conn: &mut Conn) -> Result<Option<(String, bool)>> {
        let Some(mirror) = &self.mirror else {
            return Ok(None);
        };
        let name = crate::mirror::quote(&mirror.name);
        let sql = format!(
            "SELECT gtid, partial FROM {}._forebay_mirror WHERE name = {name}",
            quoted(&mirror.schema)
        );
        let found = conn
            .query_first(sql)
            .await
            .with_context(|| format!("read the position of the mirror in {}", mirror.schema))?;
        let found = found.with_context(|| {
            format!(
                "{} has no position of a mirror {}: has it ever run?",
                mirror.schema, mirror.name
            )
        })?;
        Ok(Some(found))
    }

    /// Waits until the copy has everything that the source has now; says whether it has. Without a mirror nobody can know, and the answer is yes.
    pub(super) async fn catch_up(&self, servers: &mut Servers, deadline: Instant) -> Result<bool> {
        if self.mirror.is_none() {
            return Ok(true);
        }
        let wanted = executed(&mut servers.source).await?;
        loop {
            if let Some((gtid, _)) = self.gtid(&mut servers.copy).await?
                && contains(&mut servers.source, &gtid, &wanted).await?
            {
                return Ok(true);
            }
            if clock::now() >= deadline {
                return Ok(false);
            }
            clock::sleep(LOOK_AGAIN).await;
        }
    }
}

/// All transactions of a server.
pub(super) async fn executed(conn: &mut Conn) -> Result<String> {
    let set: Option<String> = conn
        .query_first("SELECT REPLACE(@@GLOBAL.gtid_executed, '\\n', '')")
        .await
        .context("read gtid_executed")?;
    Ok(set.unwrap_or_default())
}

/// Whether one set has all of another.
pub(super) async fn contains(conn: &mut Conn, set: &str, other: &str) -> Result<bool> {
    let sql = format!(
        "SELECT GTID_SUBSET({}, {})",
        crate::mirror::quote(other),
        crate::mirror::quote(set)
    );
    let subset: Option<bool> = conn.query_first(sql).await.context("compare GTID sets")?;
    Ok(subset.unwrap_or(false))
}
