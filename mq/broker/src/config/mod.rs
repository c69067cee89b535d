//! Settings of a broker: defaults, then `broker.conf`, then the environment, then flags (ADR 014).
//!
//! Start with `table.rs`, which lists every setting. [`load`] merges the layers, refuses what nobody knows, and returns
//! typed [`Settings`] with the origin of each value. Not here: reading files and arguments (`bin/mqbroker.rs`).

mod file;
mod known;
mod print;
mod table;
mod value;

pub use print::{Print, print, reference};
pub use table::{Change, ROWS, Row, Settings};
pub use value::{BrokerRole, FlushDiskType, Peer, Peers, TlsMode, slot_number};

use ::config::{Config, Map, Source, Value as Written};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A message is at most this part of a segment: an entry lies in one segment, with what else is in it.
pub const SEGMENT_MESSAGES_MIN: u64 = 4;

/// Where values come from, later ones winning.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Origin in this layer (such as a line number), key, value.
    items: Vec<(String, String, String)>,
    /// A layer for everybody (the environment) may hold keys that are not ours.
    names_are_ours: bool,
}

impl Layer {
    /// The text of a `broker.conf`.
    pub fn file(path: &str, text: &str) -> Result<Layer, Problem> {
        let lines = file::parse(text).map_err(|reason| Problem(format!("{path}: {reason}")))?;
        let items = lines
            .into_iter()
            .map(|line| (format!("{path}:{}", line.number), line.key, line.value))
            .collect();
        Ok(Layer {
            items,
            names_are_ours: true,
        })
    }

    /// Environment variables: `FOREBAY_LISTEN_PORT` is `listenPort`; `NAMESRV_ADDR` is RocketMQ's own.
    pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Layer {
        let mut items = Vec::new();
        for (variable, value) in variables {
            let row = ROWS.iter().find(|row| variable == environment_name(row.name));
            let name = row
                .map(|row| row.name)
                .or((variable == "NAMESRV_ADDR").then_some("namesrvAddr"));
            if let Some(name) = name {
                items.push((format!("environment {variable}"), name.to_owned(), value));
            }
        }
        // The variable made for us beats RocketMQ's.
        items.sort_by_key(|(origin, _, _)| origin != "environment NAMESRV_ADDR");
        Layer {
            items,
            names_are_ours: false,
        }
    }

    /// Flags: (flag as typed, key, value).
    pub fn flags(items: Vec<(String, String, String)>) -> Layer {
        Layer {
            items,
            names_are_ours: true,
        }
    }
}

/// Name of a setting in the environment.
pub fn environment_name(name: &str) -> String {
    let mut out = String::from("FOREBAY_");
    let mut before = '_';
    for c in name.chars() {
        if c.is_ascii_uppercase() && !before.is_ascii_uppercase() && before != '_' {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
        before = c;
    }
    out
}

/// A setting that cannot be used; says which and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

/// What [`load`] found.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Typed and checked.
    pub settings: Settings,
    /// Where each value that is not a default came from.
    pub origins: BTreeMap<&'static str, String>,
    /// Keys of RocketMQ that have no effect here.
    pub warnings: Vec<String>,
}

/// Merges layers over the defaults and checks the result. Returns all problems at once.
pub fn load(layers: Vec<Layer>) -> Result<Loaded, Vec<Problem>> {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut builder = Config::builder();
    for row in ROWS {
        builder = builder.set_default(row.name, row.default).unwrap_or_default();
    }
    for mut layer in layers {
        layer.sort_out(&mut problems, &mut warnings);
        builder = builder.add_source(layer);
    }
    let merged = match builder.build().and_then(|config| config.collect()) {
        Ok(merged) => merged,
        Err(error) => return Err(vec![Problem(error.to_string())]),
    };
    let written: Map<String, (Option<String>, String)> = merged
        .into_iter()
        .map(|(name, value)| {
            (
                name,
                (
                    value.origin().map(str::to_owned),
                    value.into_string().unwrap_or_default(),
                ),
            )
        })
        .collect();
    let origin_of = |name: &str| written.get(name).and_then(|(origin, _)| origin.clone());
    let text_of = |name: &str| written.get(name).map_or("", |(_, text)| text.as_str());
    for row in ROWS {
        if let Err(reason) = check_range(row, text_of(row.name)) {
            problems.push(problem(row.name, origin_of(row.name), &reason));
        }
    }
    let settings = match Settings::read(text_of) {
        Ok(settings) => settings,
        Err(errors) => {
            problems.extend(
                errors
                    .into_iter()
                    .map(|(name, reason)| problem(name, origin_of(name), &reason)),
            );
            return Err(problems);
        }
    };
    problems.extend(settings.contradictions().into_iter().map(Problem));
    if !problems.is_empty() {
        return Err(problems);
    }
    if settings.broker_role == BrokerRole::SyncMaster {
        warnings
            .push("brokerRole=SYNC_MASTER is served as ASYNC_MASTER: its answers do not wait for a slave".to_owned());
    }
    let origins = ROWS
        .iter()
        .filter_map(|row| Some((row.name, origin_of(row.name)?)))
        .collect();
    Ok(Loaded {
        settings,
        origins,
        warnings,
    })
}

impl Layer {
    /// Takes out what is not ours: warns of RocketMQ's other keys, complains of unknown ones.
    fn sort_out(&mut self, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) {
        self.items.retain(|(origin, key, _)| {
            if ROWS.iter().any(|row| row.name == key) {
                return true;
            }
            if known::ROCKETMQ_ONLY.binary_search(&key.as_str()).is_ok() {
                warnings.push(format!("{origin}: {key} has no effect in this broker"));
            } else if self.names_are_ours {
                let near = nearest(key)
                    .map(|name| format!("; did you mean {name}?"))
                    .unwrap_or_default();
                problems.push(Problem(format!("{origin}: unknown setting '{key}'{near}")));
            }
            false
        });
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }
    fn collect(&self) -> Result<Map<String, Written>, ::config::ConfigError> {
        let value = |origin: &String, text: &String| Written::new(Some(origin), text.clone());
        Ok(self
            .items
            .iter()
            .map(|(origin, key, text)| (key.clone(), value(origin, text)))
            .collect())
    }
}

fn problem(name: &str, origin: Option<String>, reason: &str) -> Problem {
    Problem(format!(
        "{}: {name}: {reason}",
        origin.unwrap_or_else(|| "default".to_owned())
    ))
}

fn check_range(row: &Row, text: &str) -> Result<(), String> {
    match (row.range, text.trim().parse::<i64>()) {
        (Some((lo, hi)), Ok(number)) if number < lo || number > hi => Err(format!("{number} is outside {lo}..={hi}")),
        _ => Ok(()),
    }
}

/// The known key that is most like `key`, if one is like it.
fn nearest(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let candidates = ROWS
        .iter()
        .map(|row| row.name)
        .map(|name| (distance(&key, &name.to_ascii_lowercase()), name));
    candidates
        .min()
        .filter(|(distance, name)| *distance <= 2 + name.len() / 4)
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl Settings {
    /// The defaults.
    pub fn defaults() -> Settings {
        let default = |name: &str| ROWS.iter().find(|row| row.name == name).map_or("", |row| row.default);
        // A test reads every default.
        Settings::read(default).unwrap_or_else(|errors| unreachable!("defaults: {errors:?}"))
    }

    /// Rules between settings.
    fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut rule = |broken: bool, text: String| {
            if broken {
                found.push(text);
            }
        };
        let grouped = self.enable_dleger_commit_log;
        rule(
            grouped && self.dleger_peers.0.is_empty(),
            "enableDLegerCommitLog=true needs dLegerPeers".to_owned(),
        );
        rule(
            grouped && !self.dleger_peers.0.iter().any(|peer| peer.slot == self.dleger_self_id),
            format!("dLegerSelfId '{}' is not in dLegerPeers", self.dleger_self_id),
        );
        rule(
            grouped && self.broker_role == BrokerRole::Slave,
            "brokerRole=SLAVE and enableDLegerCommitLog=true exclude each other".to_owned(),
        );
        rule(
            self.broker_role == BrokerRole::Slave && self.broker_id == 0,
            "brokerRole=SLAVE needs a brokerId greater than 0".to_owned(),
        );
        rule(
            self.raft_election_ms <= self.raft_heartbeat_ms,
            "raftElectionMillis must be greater than raftHeartbeatMillis".to_owned(),
        );
        rule(
            (self.max_message_size as u64).saturating_mul(SEGMENT_MESSAGES_MIN) > self.segment_bytes,
            format!(
                "mappedFileSizeCommitLog={} is too small: a segment must hold {SEGMENT_MESSAGES_MIN} messages of \
                 maxMessageSize={}",
                self.segment_bytes, self.max_message_size
            ),
        );
        for (name, text) in [
            ("brokerName", &self.broker_name),
            ("brokerClusterName", &self.broker_cluster_name),
        ] {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '-' | '_' | '.');
            rule(
                !text.chars().all(legal) || text.len() > 127,
                format!("{name}: illegal name '{text}'"),
            );
        }
        rule(
            self.broker_cluster_name.is_empty(),
            "brokerClusterName must not be empty".to_owned(),
        );
        rule(
            delay_levels(&self.message_delay_level).is_none(),
            format!(
                "messageDelayLevel: expected numbers with a unit of s m h d, found '{}'",
                self.message_delay_level
            ),
        );
        found
    }

    /// Delay levels in milliseconds, level 1 first.
    pub fn delay_levels_ms(&self) -> Vec<i64> {
        delay_levels(&self.message_delay_level).unwrap_or_default()
    }
}

fn delay_levels(text: &str) -> Option<Vec<i64>> {
    text.split_whitespace()
        .map(|word| {
            let unit = word.chars().last()?;
            let number: i64 = word[..word.len() - unit.len_utf8()].parse().ok().filter(|n| *n >= 0)?;
            let factor = match unit {
                's' => 1_000,
                'm' => 60_000,
                'h' => 3_600_000,
                'd' => 86_400_000,
                _ => return None,
            };
            number.checked_mul(factor)
        })
        .collect()
}

/// The settings of a running broker; [`Change::Live`] ones may be replaced, readers take a snapshot.
#[derive(Clone, Debug)]
pub struct Live(Arc<RwLock<Arc<Settings>>>);

impl Live {
    /// Starts with `settings`.
    pub fn new(settings: Settings) -> Live {
        Live(Arc::new(RwLock::new(Arc::new(settings))))
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<Settings> {
        self.0.read().clone()
    }

    /// Applies an update that came over the wire: all of it or nothing. Only numbers and switches that may change live
    /// are taken; keys of RocketMQ without effect here are ignored. Returns what changed.
    pub fn update(&self, text: &str) -> Result<Vec<String>, Refused> {
        let lines = file::parse(text).map_err(Refused::Unreadable)?;
        let mut current = self.0.write();
        let mut written: BTreeMap<&str, String> = ROWS
            .iter()
            .map(|row| (row.name, current.show(row.name).unwrap_or_default()))
            .collect();
        let mut changed = Vec::new();
        for line in &lines {
            let Some(row) = ROWS.iter().find(|row| row.name == line.key) else {
                continue;
            };
            let before = written.insert(row.name, line.value.clone());
            if before.as_deref() == Some(line.value.as_str()) {
                continue; // RocketMQ's tools may send back everything they read
            }
            if row.change != Change::Live {
                return Err(Refused::Fixed(row.name));
            }
            check_range(row, &line.value).map_err(|reason| Refused::Unreadable(format!("{}: {reason}", row.name)))?;
            changed.push(format!("{}={}", row.name, line.value));
        }
        let text_of = |name: &str| written.get(name).map_or("", String::as_str);
        let settings = Settings::read(text_of)
            .map_err(|errors| Refused::Unreadable(errors.into_iter().map(|(n, r)| format!("{n}: {r}")).collect()))?;
        *current = Arc::new(settings);
        Ok(changed)
    }
}

/// Why an update over the wire was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not `key=value` lines, or a value of the wrong kind.
    #[error("{0}")]
    Unreadable(String),
    /// Not a number or switch that may change in a running broker.
    #[error("Can not update config in black list. {0} is read at start only")]
    Fixed(&'static str),
}

#[cfg(test)]
mod tests;
