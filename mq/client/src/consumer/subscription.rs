//! What a group wants of a topic.

use std::sync::Arc;

use mq_base::env::clock;
use mq_message::TagFilter;
use mq_remoting::body::SubscriptionData;

use crate::message::MessageExt;
use crate::producer::StartError;

/// A filter on messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Everything.
    All,
    /// Any of some tags: `TagA || TagB`.
    Tags(String),
    /// An SQL92 expression over properties; the broker must allow it (`enablePropertyFilter`).
    Sql(String),
}

impl From<&str> for Filter {
    fn from(tags: &str) -> Self {
        if tags.is_empty() || tags == SubscriptionData::ALL {
            Self::All
        } else {
            Self::Tags(tags.to_owned())
        }
    }
}

/// A topic and its filter.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) topic: Arc<str>,
    pub(crate) expression: String,
    pub(crate) kind: &'static str,
    pub(crate) version: i64,
    filter: TagFilter,
}

impl Subscription {
    pub(crate) fn new(topic: &str, filter: &Filter) -> Result<Self, StartError> {
        mq_message::topic::check(topic).map_err(|e| StartError::Subscription(e.to_string()))?;
        let (kind, expression) = match filter {
            Filter::All => (SubscriptionData::TAG, SubscriptionData::ALL),
            Filter::Tags(tags) => (SubscriptionData::TAG, tags.as_str()),
            Filter::Sql(sql) => (SubscriptionData::SQL92, sql.as_str()),
        };
        let tags = match filter {
            Filter::Tags(tags) => TagFilter::parse(tags).map_err(|e| StartError::Subscription(e.to_string()))?,
            Filter::All | Filter::Sql(_) => TagFilter::All,
        };
        Ok(Self {
            topic: topic.into(),
            expression: expression.to_owned(),
            kind,
            version: clock::wall_ms(),
            filter: tags,
        })
    }

    /// As heartbeats carry it.
    pub(crate) fn data(&self) -> SubscriptionData {
        SubscriptionData {
            code_set: self.filter.codes().to_vec(),
            expression_type: self.kind.to_owned(),
            sub_string: self.expression.clone(),
            sub_version: self.version,
            tags_set: self.filter.tags().iter().map(ToString::to_string).collect(),
            topic: self.topic.to_string(),
            ..SubscriptionData::default()
        }
    }

    /// Drops messages whose tag only collides with one of ours: brokers compare hashes.
    pub(crate) fn retain(&self, messages: &mut Vec<MessageExt>) {
        if self.filter != TagFilter::All {
            messages.retain(|message| self.filter.matches_tag(message.tag()));
        }
    }
}
