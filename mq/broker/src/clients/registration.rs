//! What a client says of itself in a heartbeat, freed from its wire form. Members relay it to their leader as it stands here.

use crate::state::Name;
use crate::state::codec::{CodecError, Reader, Writer};
use mq_message::{TagFilter, topic};
use mq_remoting::body::{ConsumeFromWhere, ConsumeType, HeartbeatData, MessageModel, SubscriptionData};
use mq_store::NodeId;
use std::fmt;
use std::net::SocketAddr;

/// A connection of a client, anywhere in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The member that holds the connection.
    pub member: NodeId,
    /// Its number there; never reused while that member runs.
    pub number: u64,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}/{}", self.member.0, self.number)
    }
}

/// One client on one connection, with all groups it named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Number of the connection at the member that holds it.
    pub connection: u64,
    /// The client's address.
    pub address: SocketAddr,
    /// Client id, such as `10.0.0.2@4711#123`.
    pub client_id: Name,
    /// Language of the client, as written in its frames.
    pub language: String,
    /// Version ordinal of the client.
    pub version: i32,
    /// Producer groups.
    pub producers: Vec<Name>,
    /// Consumer groups.
    pub consumers: Vec<Consumer>,
    /// The heartbeat left subscriptions out (heartbeat V2): those known stay.
    pub without_subscriptions: bool,
}

/// A consumer group as one of its clients described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Consumer group.
    pub group: Name,
    /// Pull, push or POP.
    pub consume_type: ConsumeType,
    /// Clustering or broadcasting.
    pub message_model: MessageModel,
    /// Where a new group starts.
    pub consume_from_where: ConsumeFromWhere,
    /// Topics it wants.
    pub subscriptions: Vec<Subscription>,
}

impl Consumer {
    /// Whether each client gets every message.
    pub fn is_broadcast(&self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }
}

/// A topic a consumer group wants, and which of its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Topic.
    pub topic: Name,
    /// Expression as the user wrote it.
    pub expression: String,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// Raised by the client whenever it changes the expression.
    pub version: i64,
    /// Tags the client parsed out of it.
    pub tags: Vec<String>,
    /// Their hashes.
    pub codes: Vec<i32>,
    /// Legacy filter server mode.
    pub class_filter_mode: bool,
}

impl From<SubscriptionData> for Subscription {
    fn from(data: SubscriptionData) -> Self {
        Self {
            topic: data.topic.into(),
            expression: data.sub_string,
            expression_type: data.expression_type,
            version: data.sub_version,
            tags: data.tags_set,
            codes: data.code_set,
            class_filter_mode: data.class_filter_mode,
        }
    }
}

impl From<&Subscription> for SubscriptionData {
    fn from(known: &Subscription) -> Self {
        Self {
            topic: known.topic.to_string(),
            sub_string: known.expression.clone(),
            expression_type: known.expression_type.clone(),
            sub_version: known.version,
            tags_set: known.tags.clone(),
            code_set: known.codes.clone(),
            class_filter_mode: known.class_filter_mode,
        }
    }
}

impl Subscription {
    /// The filter of a tag subscription; `None` for another kind of expression, or one that does not parse.
    pub fn tag_filter(&self) -> Option<TagFilter> {
        match self.expression_type.as_str() {
            "" | "TAG" => TagFilter::parse(&self.expression).ok(),
            _ => None,
        }
    }
}

/// Most topics one consumer group may subscribe to.
pub const SUBSCRIPTIONS_MAX: usize = 4_096;
/// Longest client id taken.
pub const CLIENT_ID_BYTES_MAX: usize = 1_024;

impl Registration {
    /// Takes the body of a heartbeat.
    pub fn from_heartbeat(
        data: HeartbeatData,
        connection: u64,
        address: SocketAddr,
        language: &str,
        version: i32,
    ) -> Self {
        let consumer = |data: mq_remoting::body::ConsumerData| Consumer {
            group: data.group_name.into(),
            consume_type: data.consume_type,
            message_model: data.message_model,
            consume_from_where: data.consume_from_where,
            subscriptions: data.subscription_data_set.into_iter().map(Subscription::from).collect(),
        };
        Self {
            connection,
            address,
            client_id: data.client_id.into(),
            language: language.to_owned(),
            version,
            producers: data
                .producer_data_set
                .into_iter()
                .map(|producer| producer.group_name.into())
                .collect(),
            consumers: data.consumer_data_set.into_iter().map(consumer).collect(),
            without_subscriptions: data.without_sub,
        }
    }

    /// Refuses names and sizes that must not enter the tables; says which.
    pub fn check(&self, groups_max: usize) -> Result<(), String> {
        if self.client_id.is_empty() || self.client_id.len() > CLIENT_ID_BYTES_MAX {
            return Err(format!(
                "clientID of {} bytes: 1 to {CLIENT_ID_BYTES_MAX} are allowed",
                self.client_id.len()
            ));
        }
        let groups = self.producers.len() + self.consumers.len();
        if groups > groups_max {
            return Err(format!(
                "{groups} groups in one heartbeat: at most {groups_max} are allowed"
            ));
        }
        for group in self
            .producers
            .iter()
            .chain(self.consumers.iter().map(|consumer| &consumer.group))
        {
            topic::check_group(group).map_err(|error| format!("group '{group}': {error}"))?;
        }
        for consumer in &self.consumers {
            let count = consumer.subscriptions.len();
            if count > SUBSCRIPTIONS_MAX {
                return Err(format!(
                    "{count} subscriptions: at most {SUBSCRIPTIONS_MAX} are allowed"
                ));
            }
            for subscription in &consumer.subscriptions {
                let topic = &subscription.topic;
                topic::check(topic).map_err(|error| format!("topic '{topic}': {error}"))?;
                let texts = subscription
                    .tags
                    .iter()
                    .chain([&subscription.expression, &subscription.expression_type]);
                if texts.map(String::len).max().unwrap_or(0) > TEXT_BYTES_MAX {
                    return Err(format!(
                        "topic '{topic}': an expression of more than {TEXT_BYTES_MAX} bytes"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Registration {
    /// Writes it for another member.
    pub fn encode(&self, w: &mut Writer) {
        w.varint(self.connection);
        w.text(&self.address.to_string());
        w.text(&self.client_id);
        w.text(&self.language);
        w.signed(self.version.into());
        w.varint(self.producers.len() as u64);
        self.producers.iter().for_each(|group| w.text(group));
        w.varint(self.consumers.len() as u64);
        self.consumers.iter().for_each(|consumer| consumer.encode(w));
        w.flag(self.without_subscriptions);
    }

    /// Reads what another member wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            connection: r.varint()?,
            address: r.text()?.parse().map_err(|_| CodecError::Malformed("address"))?,
            client_id: r.text()?.into(),
            language: r.text()?.to_owned(),
            version: r.i32()?,
            producers: (0..r.count()?)
                .map(|_| Ok(r.text()?.into()))
                .collect::<Result<_, CodecError>>()?,
            consumers: (0..r.count()?).map(|_| Consumer::decode(r)).collect::<Result<_, _>>()?,
            without_subscriptions: r.flag()?,
        })
    }
}

impl Consumer {
    fn encode(&self, w: &mut Writer) {
        w.text(&self.group);
        w.byte(self.consume_type as u8);
        w.byte(self.message_model as u8);
        w.byte(self.consume_from_where as u8);
        w.varint(self.subscriptions.len() as u64);
        self.subscriptions
            .iter()
            .for_each(|subscription| subscription.encode(w));
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            group: r.text()?.into(),
            consume_type: one_of(r, &[ConsumeType::Actively, ConsumeType::Passively, ConsumeType::Pop])?,
            message_model: one_of(r, &[MessageModel::Broadcasting, MessageModel::Clustering])?,
            consume_from_where: one_of(r, &STARTS)?,
            subscriptions: (0..r.count()?)
                .map(|_| Subscription::decode(r))
                .collect::<Result<_, _>>()?,
        })
    }
}

const STARTS: [ConsumeFromWhere; 3] = [
    ConsumeFromWhere::LastOffset,
    ConsumeFromWhere::FirstOffset,
    ConsumeFromWhere::Timestamp,
];

/// Reads the number of a variant; `all` are in the order of their declaration.
fn one_of<T: Copy>(r: &mut Reader<'_>, all: &[T]) -> Result<T, CodecError> {
    all.get(usize::from(r.byte()?))
        .copied()
        .ok_or(CodecError::Malformed("variant"))
}

impl Subscription {
    fn encode(&self, w: &mut Writer) {
        w.text(&self.topic);
        w.text(&self.expression);
        w.text(&self.expression_type);
        w.signed(self.version);
        w.varint(self.tags.len() as u64);
        self.tags.iter().for_each(|tag| w.text(tag));
        w.varint(self.codes.len() as u64);
        self.codes.iter().for_each(|code| w.signed((*code).into()));
        w.flag(self.class_filter_mode);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            topic: r.text()?.into(),
            expression: r.text()?.to_owned(),
            expression_type: r.text()?.to_owned(),
            version: r.signed()?,
            tags: (0..r.count()?)
                .map(|_| Ok(r.text()?.to_owned()))
                .collect::<Result<_, CodecError>>()?,
            codes: (0..r.count()?).map(|_| r.i32()).collect::<Result<_, _>>()?,
            class_filter_mode: r.flag()?,
        })
    }
}

/// Most bytes of one text of a registration.
const TEXT_BYTES_MAX: usize = crate::state::codec::TEXT_BYTES_MAX;
