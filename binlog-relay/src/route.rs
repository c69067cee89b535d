//! Which tables are captured, which topic and queue a row goes to, and what happens to its columns.

use crate::settings::{Mask, MaskWith, Rule, whole};
use anyhow::Result;
use regex::Regex;
use xxhash_rust::xxh64::xxh64;

/// Schemas of the server itself.
const OWN_SCHEMAS: &[&str] = &["mysql", "information_schema", "performance_schema", "sys"];

/// The rules, ready to use.
pub struct Routes {
    rules: Vec<Compiled>,
    fingerprint: u64,
}

struct Compiled {
    tables: Regex,
    topic: String,
    queues: u32,
    exclude: Option<Regex>,
    masks: Vec<(Regex, Masking)>,
}

/// What replaces a value.
#[derive(Clone)]
pub enum Masking {
    /// HMAC-SHA-256 of the text, first 16 bytes, as hex.
    Hash(ring::hmac::Key),
    /// `****`
    Stars,
    /// NULL.
    Null,
}

/// Where a table's rows go.
#[derive(Clone)]
pub struct Route {
    /// The topic's name.
    pub topic: String,
    /// Queues to make it with.
    pub queues: u32,
    rule: usize,
}

/// What happens to a column.
#[derive(Clone)]
pub enum Treatment {
    /// Written as it is.
    Keep,
    /// Left out.
    Exclude,
    /// Replaced.
    Mask(Masking),
}

impl Routes {
    /// Compiles rules.
    ///
    /// # Errors
    /// A regular expression is malformed.
    pub fn new(rules: &[Rule]) -> Result<Routes> {
        let mut compiled = Vec::new();
        for rule in rules {
            let masks = rule.mask.iter().map(|mask| Ok((whole(&mask.columns)?, masking(mask))));
            compiled.push(Compiled {
                tables: whole(&rule.tables)?,
                topic: rule.topic.clone(),
                queues: rule.queues,
                exclude: (!rule.exclude.is_empty()).then(|| whole(&rule.exclude)).transpose()?,
                masks: masks.collect::<Result<_>>()?,
            });
        }
        let mut text = String::new();
        for rule in rules {
            text.push_str(&rule.tables);
            text.push('\n');
        }
        Ok(Routes {
            rules: compiled,
            fingerprint: xxh64(text.as_bytes(), 0),
        })
    }

    /// Names the choice of tables: the same rules give the same number.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Where the rows of a table go; none if it is not captured.
    pub fn find(&self, database: &str, table: &str) -> Option<Route> {
        if OWN_SCHEMAS.contains(&database) {
            return None;
        }
        let name = format!("{database}.{table}");
        let rule = self.rules.iter().position(|rule| rule.tables.is_match(&name))?;
        let found = &self.rules[rule];
        let topic = found.topic.replace("{database}", database).replace("{table}", table);
        Some(Route {
            topic: legal_topic(&topic),
            queues: found.queues,
            rule,
        })
    }

    /// What happens to a column of a table with this route.
    pub fn treatment(&self, route: &Route, column: &str) -> Treatment {
        let rule = &self.rules[route.rule];
        if rule.exclude.as_ref().is_some_and(|exclude| exclude.is_match(column)) {
            return Treatment::Exclude;
        }
        match rule.masks.iter().find(|(columns, _)| columns.is_match(column)) {
            Some((_, masking)) => Treatment::Mask(masking.clone()),
            None => Treatment::Keep,
        }
    }
}

fn masking(mask: &Mask) -> Masking {
    match mask.with {
        MaskWith::Hash => Masking::Hash(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, mask.salt.as_bytes())),
        MaskWith::Stars => Masking::Stars,
        MaskWith::Null => Masking::Null,
    }
}

/// RocketMQ's topic names have letters, digits, `_`, `-`, `%` and `|`, 127 at most. Anything else becomes `_`.
fn legal_topic(name: &str) -> String {
    let legal = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
            c
        } else {
            '_'
        }
    };
    name.chars().map(legal).take(127).collect()
}

/// Appends one key column to the bytes that are hashed: length and text.
pub fn put_key_part(key: &mut Vec<u8>, text: &[u8]) {
    key.extend_from_slice(&(text.len() as u32).to_le_bytes());
    key.extend_from_slice(text);
}

/// The queue of a key, made with [`put_key_part`]. Published in `docs/binlog-topics.md`: it must never change.
pub fn queue_of(key: &[u8], queues: u32) -> u32 {
    (xxh64(key, 0) % u64::from(queues.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(tables: &str, topic: &str) -> Rule {
        Rule {
            tables: tables.into(),
            topic: topic.into(),
            queues: 4,
            exclude: "internal_.*".into(),
            mask: vec![Mask {
                columns: "phone|mail".into(),
                with: MaskWith::Stars,
                salt: String::new(),
            }],
        }
    }

    #[test]
    fn the_first_rule_that_matches_the_whole_name_counts() {
        let rules = [
            rule(r"shop\.(orders|items)", "{database}_{table}"),
            rule(r"shop\..*", "rest"),
        ];
        let routes = Routes::new(&rules).unwrap();
        let topic = |database, table| routes.find(database, table).map(|route| route.topic);
        assert_eq!(topic("shop", "orders").unwrap(), "shop_orders");
        assert_eq!(topic("shop", "orders2").unwrap(), "rest");
        assert_eq!(topic("shop2", "orders"), None);
        assert_eq!(topic("mysql", "user"), None);
        let odd = Routes::new(&[rule(".*", "{database}.{table}")]).unwrap();
        assert_eq!(odd.find("mein shop", "bücher").unwrap().topic, "mein_shop_b_cher");
        assert_eq!(odd.find("mysql", "user").map(|route| route.topic), None);
    }

    #[test]
    fn columns_are_kept_masked_or_left_out() {
        let routes = Routes::new(&[rule(".*", "t")]).unwrap();
        let route = routes.find("a", "b").unwrap();
        assert!(matches!(routes.treatment(&route, "id"), Treatment::Keep));
        assert!(matches!(routes.treatment(&route, "internal_note"), Treatment::Exclude));
        assert!(matches!(
            routes.treatment(&route, "phone"),
            Treatment::Mask(Masking::Stars)
        ));
        assert!(matches!(routes.treatment(&route, "phone2"), Treatment::Keep));
    }

    /// The file that other implementations are tested with.
    #[test]
    fn the_published_vectors_hold() {
        let mut examined = 0;
        for line in include_str!("../vectors/queue-hash.tsv")
            .lines()
            .filter(|l| !l.starts_with('#'))
        {
            let fields: Vec<&str> = line.split('\t').collect();
            let [hash, queue_of_4, queue_of_16] = &fields[..3] else {
                panic!("{line}")
            };
            let mut key = Vec::new();
            for part in &fields[3..] {
                put_key_part(&mut key, part.as_bytes());
            }
            assert_eq!(format!("{:016x}", xxh64(&key, 0)), *hash, "{line}");
            assert_eq!(queue_of(&key, 4).to_string(), *queue_of_4, "{line}");
            assert_eq!(queue_of(&key, 16).to_string(), *queue_of_16, "{line}");
            examined += 1;
        }
        assert!(examined >= 8);
    }
}
