//! Looks at the server beside the stream: what it has that we have not, and whether it is still the one it was. A stream alone would not tell that
//! the server's history was reset, or a grant taken away, before it breaks.

use super::{SourceError, checks};
use crate::gtid::GtidSet;
use crate::mysql;
use crate::status::Status;
use mq_base::env::clock;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How often.
const EVERY: Duration = Duration::from_secs(2);

/// Looks until something is wrong that only a person can mend, and answers it. Connection trouble is the stream's to notice.
pub async fn run(url: String, status: Arc<Status>) -> SourceError {
    let mut conn: Option<Conn> = None;
    loop {
        clock::sleep(EVERY).await;
        if conn.is_none() {
            conn = mysql::connect(&url).await.ok();
        }
        let Some(open) = &mut conn else { continue };
        match look(open, &status).await {
            Ok(()) => {}
            Err(stop @ SourceError::Stop { .. }) => return stop,
            Err(SourceError::Lost(_)) => conn = None,
        }
    }
}

async fn look(conn: &mut Conn, status: &Status) -> Result<(), SourceError> {
    let ours = GtidSet::parse(&status.gtids()).unwrap_or_default();
    checks::reachable(conn, &ours).await?;
    checks::allowed(conn).await?;
    let executed: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_executed").await?;
    if let Ok(executed) = GtidSet::parse(&executed.unwrap_or_default()) {
        status.lag_transactions.store(executed.minus(&ours).count(), Relaxed);
    }
    Ok(())
}
