//! The broker itself: its figures, its settings, its statistics.

use super::{answer_json, header, success};
use crate::broker::Broker;
use crate::config::Refused;
use crate::request::Request;
use crate::stats::{Kind, Period};
use mq_base::env::{clock, disk};
use mq_remoting::body::{BrokerStatsData, BrokerStatsItem};
use mq_remoting::code::response;
use mq_remoting::header::{GetBrokerConfigResponse, ViewBrokerStats};
use mq_remoting::{Command, version};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// GET_BROKER_RUNTIME_INFO (28), with every key that RocketMQ's tools read: one that is missing makes them stumble.
pub fn runtime_info(broker: &Arc<Broker>, request: Request) {
    let asked = broker.clone();
    // Asks the file system for its free space, which may take a moment.
    drop(mq_base::env::task::spawn_blocking("runtime info", move || {
        answer_json(&request, &serde_json::json!({ "table": figures(&asked) }));
    }));
}

fn figures(broker: &Broker) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(table.insert(key.to_owned(), value));
    let now = clock::wall_ms();
    let stats = &broker.stats;

    put("bootTimestamp", broker.identity.boot_ms.to_string());
    put("runtime", running_for(now - broker.identity.boot_ms));
    put("putMessageTimesTotal", stats.put.total().max(1).to_string());
    put("putMessageFailedTimes", stats.put_failed.load(Relaxed).to_string());
    let bytes = stats.put_bytes.load(Relaxed);
    put("putMessageSizeTotal", bytes.to_string());
    put(
        "putMessageAverageSize",
        format!("{:.1}", bytes as f64 / stats.put.total().max(1) as f64),
    );
    put("putMessageDistributeTime", "[<=0ms]:0".to_owned());
    for key in [
        "putMessageEntireTimeMax",
        "getMessageEntireTimeMax",
        "dispatchMaxBuffer",
    ] {
        put(key, "0".to_owned());
    }
    for key in ["putLatency99", "putLatency999"] {
        put(key, "0.0".to_owned());
    }
    let three = |rates: [f64; 3]| rates.map(|rate| format!("{rate:.2}")).join(" ");
    let (found, missed) = (stats.found.per_second(), stats.missed.per_second());
    put("putTps", three(stats.put.per_second()));
    put("getFoundTps", three(found));
    put("getMissTps", three(missed));
    put("getTotalTps", three([0, 1, 2].map(|n| found[n] + missed[n])));
    put("getTransferredTps", three(stats.transferred.per_second()));

    let settings = broker.settings();
    let folder = Path::new(&settings.store_path_commit_log);
    let space = disk::real().free_space(folder).ok();
    let ratio = space
        .as_ref()
        .map_or(0.0, |space| 1.0 - space.free as f64 / space.total.max(1) as f64);
    put("commitLogDiskRatio", ratio.to_string());
    put(&format!("commitLogDiskRatio_{}", folder.display()), ratio.to_string());
    put("consumeQueueDiskRatio", ratio.to_string());
    let (total, free) = space.map_or((0, 0), |space| (space.total, space.free));
    put(
        "commitLogDirCapacity",
        format!("Total : {}, Free : {}.", readable(total), readable(free)),
    );

    let (retained, levels, log_time) = {
        let state = broker.view.state();
        let topic = state.topics.get(mq_message::topic::SCHEDULE);
        let progress = state.schedule.progress().iter().enumerate();
        let levels: Vec<(usize, u64, u64)> = progress
            .map(|(index, offset)| {
                let queue = topic.and_then(|topic| topic.queues.get(index));
                (index + 1, offset.get(), queue.map_or(0, |queue| queue.next.get()))
            })
            .collect();
        (state.retained.get(), levels, state.log_time_ms)
    };
    for (level, current, max) in levels {
        put(&format!("scheduleMessageOffset_{level}"), format!("{current},{max}"));
    }
    put("commitLogMinOffset", retained.to_string());
    put("commitLogMaxOffset", broker.log_end().to_string());
    put(
        "earliestMessageTimeStamp",
        broker.identity.boot_ms.min(log_time.max(0)).to_string(),
    );

    put("brokerActive", broker.leads().to_string());
    put("brokerVersion", version::CURRENT.to_string());
    put("brokerVersionDesc", version::CURRENT_NAME.to_owned());
    let mornings = stats.mornings();
    put("msgPutTotalYesterdayMorning", mornings.put_yesterday.to_string());
    put("msgPutTotalTodayMorning", mornings.put_today.to_string());
    put("msgPutTotalTodayNow", stats.put.total().to_string());
    put("msgGetTotalYesterdayMorning", mornings.get_yesterday.to_string());
    put("msgGetTotalTodayMorning", mornings.get_today.to_string());
    put("msgGetTotalTodayNow", stats.transferred.total().to_string());
    put(
        "startAcceptSendRequestTimeStamp",
        settings.start_accept_send_ms.to_string(),
    );
    put("remainHowManyDataToFlush", "0 B".to_owned());
    put("remainHowManyDataToCommit", "0 B".to_owned());
    for key in [
        "dispatchBehindBytes",
        "pageCacheLockTimeMills",
        "timerReadBehind",
        "timerOffsetBehind",
        "timerCongestNum",
        "remainTransientStoreBufferNumbs",
        "EndTransactionQueueSize",
    ] {
        put(key, "0".to_owned());
    }
    for key in ["timerEnqueueTps", "timerDequeueTps"] {
        put(key, "0.0".to_owned());
    }
    put("EndTransactionThreadPoolQueueCapacity", "100000".to_owned());
    // Requests do not wait in queues here: they are served as they are read.
    for (pool, capacity) in [
        ("send", 10_000),
        ("pull", 100_000),
        ("litePull", 100_000),
        ("query", 20_000),
        ("ack", 100_000),
    ] {
        put(&format!("{pool}ThreadPoolQueueSize"), "0".to_owned());
        put(&format!("{pool}ThreadPoolQueueCapacity"), capacity.to_string());
        put(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
    }
    table
}

fn running_for(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!(
        "[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]",
        seconds % 60
    )
}

fn readable(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = (bytes.max(1).ilog2() / 10).min(4);
    format!(
        "{:.1} {}",
        bytes as f64 / (1u64 << (10 * step)) as f64,
        units[step as usize]
    )
}

/// GET_BROKER_CONFIG (26).
pub fn config(broker: &Arc<Broker>, request: Request) {
    let state_version = broker.gate.standing.leadership().term.0;
    let version = broker.view.state().topics.version();
    let json = format!(
        "{{\"counter\":{},\"stateVersion\":{state_version},\"timestamp\":{}}}",
        version.counter, version.time_ms
    );
    let header = GetBrokerConfigResponse { version: json.into() };
    let answer = Command::response(&request.command, response::SUCCESS).with_header(&header);
    request.answer(answer.with_body(broker.settings().properties()));
}

/// UPDATE_BROKER_CONFIG (25): off until the file allows it, and then only for numbers and switches. Nothing is written to
/// disk: after a restart the file counts.
pub fn update_config(broker: &Arc<Broker>, request: Request) {
    if !broker.settings().allow_config_update {
        let remark = "configuration updates are off (allowConfigUpdate=false)";
        return request.fail(response::NO_PERMISSION, remark);
    }
    let Ok(text) = std::str::from_utf8(&request.command.body) else {
        return request.fail(response::SYSTEM_ERROR, "string2Properties error: not UTF-8");
    };
    match broker.settings.update(text) {
        Ok(changed) => {
            tracing::info!(?changed, client = %request.caller.remote(), "settings changed over the wire");
            // What was registered may depend on them (brokerPermission).
            broker.topics.send_modify(|_| {});
            success(&request);
        }
        Err(refused @ Refused::Fixed(_)) => request.fail(response::NO_PERMISSION, refused.to_string()),
        Err(refused @ Refused::Unreadable(_)) => request.fail(response::SYSTEM_ERROR, refused.to_string()),
    }
}

/// VIEW_BROKER_STATS_DATA (315).
pub fn view_stats(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<ViewBrokerStats>(&request) else {
        return;
    };
    let found = Kind::from_name(&wanted.stats_name).and_then(|kind| broker.stats.periods(kind, &wanted.stats_key));
    let Some(periods) = found else {
        let remark = format!("The stats <{}> <{}> not exist", wanted.stats_name, wanted.stats_key);
        return request.fail(response::SYSTEM_ERROR, remark);
    };
    let item = |period: Period| BrokerStatsItem {
        avgpt: period.average,
        sum: period.sum as i64,
        tps: period.tps,
    };
    let answer = BrokerStatsData {
        stats_day: item(periods.day),
        stats_hour: item(periods.hour),
        stats_minute: item(periods.minute),
    };
    answer_json(&request, &answer);
}

/// CLEAN_EXPIRED_CONSUMEQUEUE (306), CLEAN_UNUSED_TOPIC (316), DELETE_EXPIRED_COMMITLOG (329): the leader's retention does
/// this by itself; tools send them to every member and want success.
pub fn cleaned(_broker: &Arc<Broker>, request: Request) {
    success(&request);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(running_for(90_061_000), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
        assert_eq!(
            (readable(0), readable(1_536), readable(5 << 30)),
            ("0.0 B".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
    }
}
