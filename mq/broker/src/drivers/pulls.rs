//! Waiting pulls: looks at those that were woken, and wakes those whose time is over or whose member lost its role.

use super::IDLE;
use crate::data_path::DataPath;
use mq_base::env::clock;
use std::sync::Arc;

/// How often the role is looked at for each look at all deadlines.
const ROLE_LOOKS: u32 = 4;

/// Looks again at woken pulls.
pub(super) async fn answer_woken(path: Arc<DataPath>) {
    loop {
        for (pull, why) in path.polls.ready().await {
            path.woken(pull, why);
        }
    }
}

/// Ends the wait of pulls.
pub(super) async fn expire(path: Arc<DataPath>) {
    let mut led = path.judge.leads();
    loop {
        for _ in 0..ROLE_LOOKS {
            clock::sleep(IDLE).await;
            let leads = path.judge.leads();
            if leads != led {
                path.polls.wake_all();
                led = leads;
            }
        }
        path.polls.expire(clock::now());
    }
}
