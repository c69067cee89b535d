//! The cluster as an administrator sees it: name servers that are asked in turn, and brokers by name.

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use mq_net::{ClientOptions, Remoting};
use mq_remoting::body::{BrokerData, ClusterInfo, RaftStatus, TopicRouteData, from_slice};
use mq_remoting::code::{request, response};
use mq_remoting::header::{GetRouteInfo, Header};
use mq_remoting::{ByteStr, Command};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Calls of an administrator.
pub struct Admin {
    remoting: Remoting,
    namesrvs: Vec<String>,
}

impl Admin {
    /// For the name servers `host:port;host:port`. Must be called inside a runtime.
    pub fn new(namesrv_addr: &str) -> Result<Admin> {
        let namesrvs: Vec<String> = namesrv_addr
            .split(';')
            .map(|addr| addr.trim().to_owned())
            .filter(|addr| !addr.is_empty())
            .collect();
        ensure!(
            !namesrvs.is_empty(),
            "no name server is given: use -n host:port or set NAMESRV_ADDR"
        );
        Ok(Admin {
            remoting: Remoting::new(ClientOptions::default(), Arc::new(()))?,
            namesrvs,
        })
    }

    /// All name servers.
    pub fn namesrvs(&self) -> &[String] {
        &self.namesrvs
    }

    /// Sends a request and answers the response, whatever its code.
    pub async fn ask(&self, addr: &str, command: Command) -> Result<Command> {
        self.remoting
            .invoke(addr, command, ANSWER_WITHIN)
            .await
            .with_context(|| format!("ask {addr}"))
    }

    /// Sends a request that must succeed.
    pub async fn call(&self, addr: &str, command: Command) -> Result<Command> {
        let answer = self.ask(addr, command).await?;
        ensure!(answer.code == response::SUCCESS, "{}", refusal(addr, &answer));
        Ok(answer)
    }

    /// Sends a request with a header and reads the body of the answer.
    pub async fn read<T: DeserializeOwned>(&self, addr: &str, code: i32, header: &impl Header) -> Result<T> {
        let answer = self.call(addr, Command::request(code, header)).await?;
        from_slice(&answer.body).with_context(|| format!("read the answer of {addr}"))
    }

    /// Sends a request without a header and reads the body of the answer.
    pub async fn read_bare<T: DeserializeOwned>(&self, addr: &str, code: i32) -> Result<T> {
        let answer = self.call(addr, Command::bare_request(code)).await?;
        from_slice(&answer.body).with_context(|| format!("read the answer of {addr}"))
    }

    /// Asks the name servers in turn until one answers.
    pub async fn ask_namesrv(&self, command: impl Fn() -> Command) -> Result<Command> {
        let mut why = Vec::new();
        for addr in &self.namesrvs {
            match self.ask(addr, command()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => why.push(format!("{error:#}")),
            }
        }
        bail!("no name server answers: {}", why.join("; "))
    }

    async fn body_of_namesrv(&self, command: impl Fn() -> Command) -> Result<Bytes> {
        let answer = self.ask_namesrv(command).await?;
        ensure!(
            answer.code == response::SUCCESS,
            "{}",
            refusal("the name server", &answer)
        );
        Ok(answer.body)
    }

    /// All clusters and brokers.
    pub async fn clusters(&self) -> Result<ClusterInfo> {
        let body = self
            .body_of_namesrv(|| Command::bare_request(request::GET_BROKER_CLUSTER_INFO))
            .await?;
        from_slice(&body).context("read the list of brokers")
    }

    /// Broker groups of a cluster, by name.
    pub async fn groups_of(&self, cluster: &str) -> Result<Vec<BrokerData>> {
        let info = self.clusters().await?;
        let names = info.cluster_addr_table.get(cluster);
        let names = names.with_context(|| format!("there is no cluster {cluster}"))?;
        let mut groups: Vec<BrokerData> = names
            .iter()
            .filter_map(|name| info.broker_addr_table.get(name).cloned())
            .collect();
        groups.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        Ok(groups)
    }

    /// One broker group.
    pub async fn group(&self, broker_name: &str) -> Result<BrokerData> {
        let mut info = self.clusters().await?;
        let known: Vec<String> = info.broker_addr_table.keys().cloned().collect();
        info.broker_addr_table
            .remove(broker_name)
            .with_context(|| format!("there is no broker {broker_name}; there are {}", known.join(", ")))
    }

    /// The address given, or the leaders of all groups of the cluster given; exactly one of both is needed.
    pub async fn chosen(&self, broker_addr: Option<&str>, cluster: Option<&str>) -> Result<Vec<String>> {
        match (broker_addr, cluster) {
            (Some(addr), None) => Ok(vec![addr.to_owned()]),
            (None, Some(cluster)) => {
                let groups = self.groups_of(cluster).await?;
                let addrs: Vec<String> = groups.iter().filter_map(leader_addr).collect();
                ensure!(!addrs.is_empty(), "cluster {cluster} has no leader at the moment");
                Ok(addrs)
            }
            _ => bail!("give one of -b (address of a broker) and -c (name of a cluster)"),
        }
    }

    /// Route of a topic; `None` when the name server does not know the topic.
    pub async fn find_route(&self, topic: &str) -> Result<Option<TopicRouteData>> {
        let header = GetRouteInfo {
            topic: ByteStr::from(topic),
            accept_standard_json_only: Some(true),
        };
        let answer = self
            .ask_namesrv(|| Command::request(request::GET_ROUTEINFO_BY_TOPIC, &header))
            .await?;
        match answer.code {
            response::SUCCESS => Ok(Some(from_slice(&answer.body).context("read the route")?)),
            response::TOPIC_NOT_EXIST => Ok(None),
            _ => Err(anyhow!(refusal("the name server", &answer))),
        }
    }

    /// Route of a topic that must exist.
    pub async fn route(&self, topic: &str) -> Result<TopicRouteData> {
        self.find_route(topic)
            .await?
            .with_context(|| format!("there is no topic {topic}"))
    }

    /// Leaders of the groups that hold a topic, by broker name.
    pub async fn leaders_of(&self, topic: &str) -> Result<Vec<(String, String)>> {
        let route = self.route(topic).await?;
        let mut leaders: Vec<(String, String)> = route
            .broker_datas
            .iter()
            .filter_map(|data| Some((data.broker_name.clone(), leader_addr(data)?)))
            .collect();
        leaders.sort();
        ensure!(
            !leaders.is_empty(),
            "no broker of topic {topic} has a leader at the moment"
        );
        Ok(leaders)
    }

    /// What a member says about its Raft group.
    pub async fn raft_status(&self, addr: &str) -> Result<RaftStatus> {
        self.read_bare(addr, request::RAFT_STATUS).await
    }
}

/// Where the leader of a group is, as the name server says.
pub fn leader_addr(group: &BrokerData) -> Option<String> {
    group.broker_addrs.get(&0).cloned()
}

fn refusal(who: &str, answer: &Command) -> String {
    let remark = answer.remark.as_deref().unwrap_or("without a reason");
    format!(
        "{who} refused with code {} ({}): {remark}",
        answer.code,
        mq_remoting::code::response::name(answer.code)
    )
}
