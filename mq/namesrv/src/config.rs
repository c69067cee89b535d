//! Settings of a name server: RocketMQ's `namesrv.conf` (`key=value`) and flags.
//!
//! Nothing here can be changed over the wire.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mq_net::{ServerTls, TlsMode};

/// One setting: its name in the file, its default, and what it does.
pub struct Setting {
    /// RocketMQ's name.
    pub key: &'static str,
    /// Default, as text.
    pub default: &'static str,
    /// One sentence.
    pub says: &'static str,
}

/// Every setting there is.
pub const SETTINGS: [Setting; 11] = [
    Setting {
        key: "listenPort",
        default: "9876",
        says: "port for brokers, clients and tools; 0 takes a free one",
    },
    Setting {
        key: "bindAddress",
        default: "0.0.0.0",
        says: "address to listen on",
    },
    Setting {
        key: "kvConfigPath",
        default: "",
        says: "file of the values of PUT_KV_CONFIG; default $HOME/namesrv/kvConfig.json",
    },
    Setting {
        key: "orderMessageEnable",
        default: "false",
        says: "put orderTopicConf into routes",
    },
    Setting {
        key: "returnOrderTopicConfigToBroker",
        default: "true",
        says: "answer registrations with the order topics' configuration",
    },
    Setting {
        key: "enableTopicList",
        default: "true",
        says: "answer GET_TOPICS_BY_CLUSTER",
    },
    Setting {
        key: "enableAllTopicList",
        default: "true",
        says: "answer GET_ALL_TOPIC_LIST_FROM_NAMESERVER",
    },
    Setting {
        key: "supportActingMaster",
        default: "false",
        says: "let the smallest id stand in for a missing id 0 in routes",
    },
    Setting {
        key: "tlsServerMode",
        default: "permissive",
        says: "disabled, permissive (TLS and plain text on one port) or enforcing",
    },
    Setting {
        key: "tlsServerCertPath",
        default: "",
        says: "certificate chain, PEM; empty makes a test certificate at start",
    },
    Setting {
        key: "tlsServerKeyPath",
        default: "",
        says: "private key, PEM",
    },
];

/// Keys of RocketMQ 5.3 that mean something there and nothing here.
const UNUSED: [&str; 26] = [
    "rocketmqHome",
    "configStorePath",
    "productEnvName",
    "clusterTest",
    "clientRequestThreadPoolNums",
    "defaultThreadPoolNums",
    "clientRequestThreadPoolQueueCapacity",
    "defaultThreadPoolQueueCapacity",
    "scanNotActiveBrokerInterval",
    "unRegisterBrokerQueueCapacity",
    "notifyMinBrokerIdChanged",
    "enableControllerInNamesrv",
    "needWaitForService",
    "waitSecondsForService",
    "deleteTopicWithBrokerRegistration",
    "configBlackList",
    "serverWorkerThreads",
    "serverCallbackExecutorThreads",
    "serverSelectorThreads",
    "serverOnewaySemaphoreValue",
    "serverAsyncSemaphoreValue",
    "serverChannelMaxIdleTimeSeconds",
    "serverSocketSndBufSize",
    "serverSocketRcvBufSize",
    "serverSocketBacklog",
    "useEpollNativeSelector",
];

/// Validated settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address to listen on.
    pub bind_address: String,
    /// Port to listen on; 0 takes a free one.
    pub listen_port: u16,
    /// File of the configuration values.
    pub kv_config_path: PathBuf,
    /// Put `orderTopicConf` into routes.
    pub order_message_enable: bool,
    /// Answer registrations with the order topics' configuration.
    pub return_order_topic_config: bool,
    /// Answer GET_TOPICS_BY_CLUSTER.
    pub enable_topic_list: bool,
    /// Answer GET_ALL_TOPIC_LIST_FROM_NAMESERVER.
    pub enable_all_topic_list: bool,
    /// Let the smallest id stand in for a missing id 0.
    pub support_acting_master: bool,
    /// TLS on the same port.
    pub tls: ServerTls,
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No such key.
    #[error("line {line}: unknown setting `{key}`; known are: {}", known())]
    Unknown {
        /// The key.
        key: String,
        /// Line of the file, from 1.
        line: usize,
    },
    /// Not of the form `key=value`.
    #[error("line {0}: expected `key=value`")]
    NotAPair(usize),
    /// The value is not of the setting's type.
    #[error("{key}: `{value}` is not {wanted}")]
    Bad {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
}

const MODES: [(&str, TlsMode); 3] = [
    ("disabled", TlsMode::Disabled),
    ("permissive", TlsMode::Permissive),
    ("enforcing", TlsMode::Enforcing),
];

fn known() -> String {
    SETTINGS.map(|setting| setting.key).join(", ")
}

/// Settings as text, and keys that were given and are not used.
#[derive(Debug, Default)]
pub struct Raw {
    values: BTreeMap<&'static str, String>,
    /// Keys of RocketMQ's that change nothing here, for one warning.
    pub unused: Vec<String>,
}

impl Raw {
    /// Reads a properties file's text.
    pub fn read(text: &str) -> Result<Self, Error> {
        let mut raw = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(Error::NotAPair(number + 1))?;
            raw.set(key.trim(), value.trim(), number + 1)?;
        }
        Ok(raw)
    }

    fn set(&mut self, key: &str, value: &str, line: usize) -> Result<(), Error> {
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            self.values.insert(setting.key, value.to_owned());
        } else if UNUSED.contains(&key) {
            self.unused.push(key.to_owned());
        } else {
            return Err(Error::Unknown {
                key: key.to_owned(),
                line,
            });
        }
        Ok(())
    }

    fn text(&self, key: &'static str) -> &str {
        let default = || {
            SETTINGS
                .iter()
                .find(|setting| setting.key == key)
                .map_or("", |setting| setting.default)
        };
        self.values.get(key).map_or_else(default, String::as_str)
    }

    fn flag(&self, key: &'static str) -> Result<bool, Error> {
        let bad = |value: &str| Error::Bad {
            key,
            value: value.to_owned(),
            wanted: "true or false",
        };
        let value = self.text(key);
        value.parse().map_err(|_| bad(value))
    }

    /// Checks everything. `home` is where files without a configured path go.
    pub fn validate(&self, home: &str) -> Result<Config, Error> {
        let port = self.text("listenPort");
        let bad_port = |_| Error::Bad {
            key: "listenPort",
            value: port.to_owned(),
            wanted: "a port (0 to 65535)",
        };
        let kv_path = match self.text("kvConfigPath") {
            "" => PathBuf::from(home).join("namesrv/kvConfig.json"),
            path => PathBuf::from(path),
        };
        Ok(Config {
            bind_address: self.text("bindAddress").to_owned(),
            listen_port: port.parse().map_err(bad_port)?,
            kv_config_path: kv_path,
            order_message_enable: self.flag("orderMessageEnable")?,
            return_order_topic_config: self.flag("returnOrderTopicConfigToBroker")?,
            enable_topic_list: self.flag("enableTopicList")?,
            enable_all_topic_list: self.flag("enableAllTopicList")?,
            support_acting_master: self.flag("supportActingMaster")?,
            tls: self.tls()?,
        })
    }

    fn tls(&self) -> Result<ServerTls, Error> {
        let mode = self.text("tlsServerMode");
        let mode = MODES
            .into_iter()
            .find(|(name, _)| *name == mode)
            .map(|(_, mode)| mode)
            .ok_or_else(|| Error::Bad {
                key: "tlsServerMode",
                value: mode.to_owned(),
                wanted: "disabled, permissive or enforcing",
            })?;
        let files = match (self.text("tlsServerCertPath"), self.text("tlsServerKeyPath")) {
            ("", "") => None,
            (chain, key) if !chain.is_empty() && !key.is_empty() => Some((chain.into(), key.into())),
            (chain, _) => {
                let (key, wanted) = if chain.is_empty() {
                    ("tlsServerCertPath", "a file, which tlsServerKeyPath needs")
                } else {
                    ("tlsServerKeyPath", "a file, which tlsServerCertPath needs")
                };
                return Err(Error::Bad {
                    key,
                    value: String::new(),
                    wanted,
                });
            }
        };
        Ok(ServerTls { mode, files })
    }
}

impl Config {
    /// `key=value` lines of what is in force, as GET_NAMESRV_CONFIG and `-p` show them.
    pub fn properties(&self) -> String {
        let path = self.kv_config_path.display();
        let mode = MODES
            .into_iter()
            .find(|(_, mode)| *mode == self.tls.mode)
            .map_or("", |(name, _)| name);
        let (chain, key) = self.tls.files.clone().unwrap_or_default();
        let (chain, key) = (chain.display(), key.display());
        [
            format!("listenPort={}", self.listen_port),
            format!("bindAddress={}", self.bind_address),
            format!("kvConfigPath={path}"),
            format!("orderMessageEnable={}", self.order_message_enable),
            format!("returnOrderTopicConfigToBroker={}", self.return_order_topic_config),
            format!("enableTopicList={}", self.enable_topic_list),
            format!("enableAllTopicList={}", self.enable_all_topic_list),
            format!("supportActingMaster={}", self.support_acting_master),
            format!("tlsServerMode={mode}"),
            format!("tlsServerCertPath={chain}"),
            format!("tlsServerKeyPath={key}"),
        ]
        .join("\n")
            + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, Error> {
        Raw::read(text)?.validate("home")
    }

    #[test]
    fn defaults_are_rocketmqs() {
        let config = config("").unwrap();
        assert_eq!((config.listen_port, config.bind_address.as_str()), (9876, "0.0.0.0"));
        assert_eq!(config.kv_config_path, PathBuf::from("home/namesrv/kvConfig.json"));
        assert!(config.enable_all_topic_list && !config.support_acting_master);
    }

    #[test]
    fn a_file_is_read_and_printed_back() {
        let text = "# a comment\n\nlistenPort = 9886\nkvConfigPath=/tmp/kv.json\norderMessageEnable=true\n\
                    tlsServerMode=enforcing\ntlsServerCertPath=/c.pem\ntlsServerKeyPath=/k.pem\n";
        let first = config(text).unwrap();
        assert_eq!(first.listen_port, 9886);
        assert_eq!(config(&first.properties()).unwrap(), first);
        assert_eq!(first.properties().lines().count(), SETTINGS.len());
    }

    #[test]
    fn a_key_of_rocketmqs_that_changes_nothing_is_named_once() {
        assert_eq!(
            Raw::read("serverWorkerThreads=8").unwrap().unused,
            ["serverWorkerThreads"]
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |text: &str| config(text).unwrap_err().to_string();
        assert!(said("\nlistenport=1").starts_with("line 2: unknown setting `listenport`; known are: listenPort,"));
        assert_eq!(said("nonsense"), "line 1: expected `key=value`");
        assert_eq!(
            said("listenPort=99999"),
            "listenPort: `99999` is not a port (0 to 65535)"
        );
        assert!(said("tlsServerMode=on").ends_with("is not disabled, permissive or enforcing"));
        assert!(said("tlsServerCertPath=/c.pem").starts_with("tlsServerKeyPath: "));
        assert_eq!(
            said("enableTopicList=yes"),
            "enableTopicList: `yes` is not true or false"
        );
    }
}
