//! Which queues of a topic are ours: all members of a group ask the same broker and divide the same way.

use std::collections::BTreeSet;
use std::sync::Arc;

use mq_remoting::code::response;

use super::AllocateStrategy;
use crate::error::CallError;
use crate::instance::{Shared, refused, succeed};
use crate::message::MessageQueue;
use crate::wire;

/// Our queues of a topic; all of them without a strategy. `None` to leave things as they are.
pub(crate) async fn share(
    client: &Shared,
    group: &Arc<str>,
    strategy: Option<&AllocateStrategy>,
    topic: &str,
) -> Result<Option<BTreeSet<MessageQueue>>, CallError> {
    let route = match client.fetch_route(topic, false).await {
        Ok(route) => route,
        Err(CallError::NoRoute(_)) if mq_message::topic::is_retry(topic) => return Ok(None),
        Err(error) => return Err(error),
    };
    let queues = &route.subscribe;
    let Some(strategy) = strategy else {
        return Ok(Some(queues.iter().cloned().collect()));
    };
    let Some(broker) = route.groups.first() else {
        return Ok(None);
    };
    let make = || wire::consumer_list(group);
    let timeout = client.config.api_timeout;
    let answer = client.call_members(broker, timeout, make).await?;
    if answer.code == response::SYSTEM_ERROR {
        // Nobody is known in the group, not even we: the heartbeat is on its way.
        return Err(refused(&answer, &broker.name));
    }
    let answer = succeed(answer, &broker.name)?;
    let ids = wire::read_consumer_list(&answer.body);
    let mut ids = ids.map_err(|what| CallError::Malformed {
        addr: broker.name.clone(),
        what,
    })?;
    ids.sort();
    let mine = strategy.allocate(&client.client_id, queues, &ids);
    Ok(Some(mine.into_iter().collect()))
}
