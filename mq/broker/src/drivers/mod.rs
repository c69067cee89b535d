//! What a broker does on its own. Delayed messages, check-backs and retention run on the leader only; every step they take
//! is judged like a client's request, so a driver of a deposed leader can do no harm.

mod halves;
mod offsets;
mod pulls;
mod readers;
mod retention;
mod schedule;

pub use offsets::OffsetBuffer;

use crate::ask::{Ask, Reply};
use crate::data_path::DataPath;
use crate::seams::ProducerChannels;
use mq_base::env::clock;
use mq_base::env::task::TaskHandle;
use mq_base::stop::Stop;
use mq_raft::Group;
use std::sync::Arc;
use std::time::Duration;

/// How often a driver looks whether this member leads now.
const IDLE: Duration = Duration::from_millis(100);

/// Starts all drivers; they end when `stop` fires.
pub fn start(
    path: &Arc<DataPath>,
    producers: Arc<dyn ProducerChannels>,
    group: Option<Group<Ask>>,
    stop: &Stop,
) -> Vec<TaskHandle> {
    let spawn = |name, driver: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let stop = stop.clone();
        path.tasks.spawn(name, async move {
            tokio::select! { biased; () = stop.wait() => {}, () = driver => {} }
        })
    };
    let mut tasks = vec![
        spawn(
            "offset flush",
            Box::pin(path.offsets.clone().run(path.judge.clone(), stop.clone())),
        ),
        spawn("waiting pulls", Box::pin(pulls::answer_woken(path.clone()))),
        spawn("pull time-outs", Box::pin(pulls::expire(path.clone()))),
        spawn("delay table", Box::pin(keep_delays(path.clone()))),
        spawn("delayed messages", Box::pin(schedule::run(path.clone()))),
        spawn("half messages", Box::pin(halves::run(path.clone(), producers))),
        spawn("disk", Box::pin(retention::watch_disk(path.clone()))),
        spawn("retention", Box::pin(retention::run(path.clone()))),
    ];
    if let Some(group) = group {
        tasks.push(spawn(
            "readers of old",
            Box::pin(readers::run(path.clone(), group.clone())),
        ));
        tasks.push(spawn("purge", Box::pin(retention::purge(path.clone(), group))));
    }
    tasks
}

/// The delay table of the settings becomes the group's.
async fn keep_delays(path: Arc<DataPath>) {
    loop {
        let wanted = path.settings().delay_levels_ms();
        let differs = path.view.state().schedule.delays_ms() != wanted;
        if differs && !wanted.is_empty() && path.judge.leads() {
            let (reply, answer) = Reply::channel();
            path.judge.ask(Ask::SetDelays(wanted, reply));
            if let Ok(Err(refusal)) = answer.await {
                tracing::debug!(%refusal, "set delay levels");
            }
        }
        clock::sleep(Duration::from_secs(1)).await;
    }
}
