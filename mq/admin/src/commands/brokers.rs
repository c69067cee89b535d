//! clusterList: a row for each broker, from its runtime statistics.

use crate::Admin;
use anyhow::Result;
use clap::Args;
use mq_base::env::clock;
use mq_remoting::body::{BrokerData, KvTable};
use mq_remoting::code::request;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Flags.
#[derive(Args)]
pub struct ClusterList {
    /// Only this cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: Option<String>,
    /// Totals of today and yesterday instead of rates
    #[arg(short = 'm', long = "moreStats")]
    more: bool,
}

type Statistics = BTreeMap<String, String>;

pub async fn cluster_list(admin: &Admin, flags: &ClusterList) -> Result<String> {
    let info = admin.clusters().await?;
    let mut text = if flags.more {
        header_of_totals()
    } else {
        header_of_rates()
    };
    for (cluster, names) in &info.cluster_addr_table {
        if flags.cluster.as_ref().is_some_and(|wanted| wanted != cluster) {
            continue;
        }
        let mut groups: Vec<&BrokerData> = names
            .iter()
            .filter_map(|name| info.broker_addr_table.get(name))
            .collect();
        groups.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        for group in groups {
            for (id, addr) in &group.broker_addrs {
                // A broker that does not answer is a row with blanks: the others are wanted all the more.
                let asked = admin.read_bare::<KvTable>(addr, request::GET_BROKER_RUNTIME_INFO).await;
                let statistics = asked.map(|answer| answer.table).unwrap_or_default();
                if !flags.more {
                    row_of_rates(&mut text, cluster, &group.broker_name, *id, addr, &statistics);
                } else if *id == 0 {
                    row_of_totals(&mut text, cluster, &group.broker_name, &statistics);
                }
            }
        }
    }
    Ok(text)
}

fn header_of_rates() -> String {
    format!(
        "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:>11}  {:<12}  {:<8}  {:>10}\n",
        "#Cluster Name",
        "#Broker Name",
        "#BID",
        "#Addr",
        "#Version",
        "#InTPS(LOAD)",
        "#OutTPS(LOAD)",
        "#Timer(Progress)",
        "#PCWait(ms)",
        "#Hour",
        "#SPACE",
        "#ACTIVATED"
    )
}

fn row_of_rates(text: &mut String, cluster: &str, broker: &str, id: i64, addr: &str, statistics: &Statistics) {
    let get = |name: &str| statistics.get(name).map_or("", String::as_str);
    let number = |name: &str| get(name).parse::<f64>().unwrap_or(0.0);
    let rate = |name: &str| {
        get(name)
            .split(' ')
            .next()
            .and_then(|first| first.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    let load = |pool: &str| {
        format!(
            "{},{}ms",
            number(&format!("{pool}ThreadPoolQueueSize")),
            number(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"))
        )
    };
    let inflow = format!("{:.2}({})", rate("putTps"), load("send"));
    let outflow = format!("{:.2}({}|{})", rate("getTransferredTps"), load("pull"), load("ack"));
    let timer = format!(
        "{}-{}({:.1}w, {:.1}, {:.1})",
        number("timerReadBehind"),
        number("timerOffsetBehind"),
        number("timerCongestNum") / 10_000.0,
        number("timerEnqueueTps"),
        number("timerDequeueTps")
    );
    let earliest = number("earliestMessageTimeStamp");
    let hours = if earliest > 0.0 {
        (clock::wall_ms() as f64 - earliest) / 3_600_000.0
    } else {
        0.0
    };
    let _ = writeln!(
        text,
        "{cluster:<22}  {broker:<22}  {id:<4}  {addr:<22} {:<16}  {inflow:>16}  {outflow:>30}  {timer:<22}  {:>11}  \
         {:<12}  {:<8}  {:>10}",
        get("brokerVersionDesc"),
        get("pageCacheLockTimeMills"),
        format!("{hours:.2}"),
        format!("{:.4}", number("commitLogDiskRatio")),
        get("brokerActive")
    );
}

fn header_of_totals() -> String {
    format!(
        "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}\n",
        "#Cluster Name", "#Broker Name", "#InTotalYest", "#OutTotalYest", "#InTotalToday", "#OutTotalToday"
    )
}

fn row_of_totals(text: &mut String, cluster: &str, broker: &str, statistics: &Statistics) {
    let number = |name: &str| {
        statistics
            .get(name)
            .and_then(|value| value.parse::<i64>().ok())
            .unwrap_or(0)
    };
    let between = |way: &str, from: &str, to: &str| {
        number(&format!("msg{way}Total{to}")) - number(&format!("msg{way}Total{from}"))
    };
    let (yesterday, today, now) = ("YesterdayMorning", "TodayMorning", "TodayNow");
    let _ = writeln!(
        text,
        "{cluster:<16}  {broker:<32} {:>14} {:>14} {:>14} {:>14}",
        between("Put", yesterday, today),
        between("Get", yesterday, today),
        between("Put", today, now),
        between("Get", today, now)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that RocketMQ's own tool printed.
    #[test]
    fn columns_are_those_of_rocketmq() {
        assert_eq!(
            header_of_rates(),
            "#Cluster Name           #Broker Name            #BID  #Addr                  #Version              \
             #InTPS(LOAD)                   #OutTPS(LOAD)  #Timer(Progress)        #PCWait(ms)  #Hour         #SPACE    \
             #ACTIVATED\n"
        );
        let statistics: Statistics = [
            ("brokerVersionDesc", "V5_3_3"),
            ("putTps", "1.5 0.0 0.0"),
            ("getTransferredTps", "0.0 0.0 0.0"),
            ("sendThreadPoolQueueSize", "3"),
            ("pageCacheLockTimeMills", "0"),
            ("commitLogDiskRatio", "0.25"),
            ("brokerActive", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let mut text = String::new();
        row_of_rates(
            &mut text,
            "DefaultCluster",
            "broker-a",
            0,
            "127.0.0.1:31911",
            &statistics,
        );
        assert_eq!(
            text,
            "DefaultCluster          broker-a                0     127.0.0.1:31911        V5_3_3                 \
             1.50(3,0ms)               0.00(0,0ms|0,0ms)  0-0(0.0w, 0.0, 0.0)               0  0.00          0.2500    \
             \u{20}     true\n"
        );
    }
}
