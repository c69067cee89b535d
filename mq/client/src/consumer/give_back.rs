//! Giving a message back: the broker delivers it again through the group's retry topic, or keeps it as a dead letter.

use std::time::Duration;

use mq_message::property::{self, Properties};
use mq_message::topic;
use mq_remoting::code::response;

use super::concurrent::RECONSUME_TIMES_MAX;
use super::push::PushShared;
use crate::error::CallError;
use crate::instance::succeed;
use crate::message::{Message, MessageExt};
use crate::producer::Target;
use crate::wire::{self, SendBack};

const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(5);

impl PushShared {
    pub(crate) fn reconsume_times_max(&self) -> i32 {
        let default = if self.is_orderly() {
            i32::MAX
        } else {
            RECONSUME_TIMES_MAX
        };
        self.settings.max_reconsume_times.unwrap_or(default)
    }

    /// Gives a message back to its broker. `level` 0: the broker decides when it comes again; below 0: never. If the broker
    /// does not take it, it is sent to the retry topic as a message of ours. Says whether one of both worked.
    pub(crate) async fn give_back(&self, message: &MessageExt, level: i32) -> bool {
        let origin = message.offset_msg_id();
        let back = SendBack {
            group: &self.settings.group,
            offset: message.physical_offset(),
            delay_level: level,
            origin_msg_id: &origin,
            origin_topic: message.topic(),
            max_reconsume_times: self.reconsume_times_max(),
        };
        let broker = &message.queue().broker_name;
        let make = || wire::send_back(&back);
        let answer = self
            .client
            .call_group(broker, GIVE_BACK_TIMEOUT, make)
            .await
            .and_then(|answer| succeed(answer, broker));
        let Err(error) = answer else { return true };
        tracing::warn!(%error, msg_id = origin, "give back; sent to the retry topic instead");
        self.resend(message, level, &error).await
    }

    /// Sends a copy to the retry topic, which the broker turns into a dead letter after the last try.
    pub(crate) async fn resend(&self, message: &MessageExt, level: i32, why: &CallError) -> bool {
        if why.refusal() == Some(response::SUBSCRIPTION_GROUP_NOT_EXIST) {
            return false;
        }
        let times = message.reconsume_times().saturating_add(1);
        let level = match level {
            0 => 3i32.saturating_add(message.reconsume_times()),
            level => level,
        };
        self.send_retry(message, times, level).await
    }

    pub(crate) async fn send_retry(&self, message: &MessageExt, times: i32, level: i32) -> bool {
        let max = self.reconsume_times_max();
        let retry = topic::retry(&self.settings.group);
        let mut copy = Message::new(retry, message.body().clone()).flag(message.flag());
        copy.properties = retry_properties(message, times, max, level);
        let producer = &self.giving_back.shared;
        let mut prepared = match producer.prepare_unchecked(copy) {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::error!(%error, "a received message cannot be sent again");
                return false;
            }
        };
        prepared.reconsume_times = if level < 0 { max.saturating_add(1) } else { times };
        prepared.max_reconsume_times = Some(max);
        match producer.deliver(&prepared, Target::Turn).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, msg_id = message.msg_id(), "send to the retry topic");
                false
            }
        }
    }
}

fn retry_properties(message: &MessageExt, times: i32, max: i32, level: i32) -> Properties {
    let mut properties = Properties::from_text(message.properties());
    properties.remove(property::TRAN_MSG);
    let origin = message
        .get(property::ORIGIN_MESSAGE_ID)
        .map_or_else(|| message.msg_id(), str::to_owned);
    properties.set(property::RETRY_TOPIC, message.topic());
    properties.set(property::ORIGIN_MESSAGE_ID, &origin);
    properties.set(property::RECONSUME_TIME, &times.to_string());
    properties.set(property::MAX_RECONSUME_TIMES, &max.to_string());
    properties.remove(property::DELAY);
    if level > 0 {
        properties.set(property::DELAY, &level.to_string());
    }
    properties
}
