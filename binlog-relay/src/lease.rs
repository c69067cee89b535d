//! How a stand-by knows that the active relay is gone: nothing has come into the progress topic for the lease. The active one writes there twice a
//! second, however idle the source is. A wrong guess does no harm, because whoever takes over fences the other.

use crate::settings::Settings;
use anyhow::Result;
use mq_base::env::clock;
use mq_base::stop::Stop;
use mq_client::{CallError, ClientInstance, MessageQueue};
use std::time::Duration;

/// Waits until nothing has come for the lease. Answers false if stopped before.
///
/// # Errors
/// None today; the queue is asked until it answers.
pub async fn wait_until_over(instance: &ClientInstance, settings: &Settings, stop: &Stop) -> Result<bool> {
    let queue = MessageQueue::new(settings.progress_topic(), settings.queue.group.as_str(), 0);
    let lease = Duration::from_millis(settings.queue.lease_ms);
    let mut newest = None;
    let mut since = clock::now();
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(false),
            () = clock::sleep(lease / 10) => {}
        }
        match instance.max_offset(&queue).await {
            Ok(offset) if newest != Some(offset) => {
                newest = Some(offset);
                since = clock::now();
            }
            // The topic is made by the first relay: without one there is nothing to wait for but the lease.
            Ok(_) | Err(CallError::NoRoute(_)) => {
                if since.elapsed() >= lease {
                    return Ok(true);
                }
            }
            // While the queue does not answer nobody can write to it either: that says nothing about the active relay.
            Err(_) => since = clock::now(),
        }
    }
}
