//! One pass over the property text of a send: what the broker must know of it, and the text it stores.

use mq_message::property::{self, Properties};

/// Names a client's text may hold but a stored message must not, or that the broker sets itself.
fn is_dropped(name: &str) -> bool {
    matches!(
        name,
        property::POP_CK
            | property::MSG_REGION
            | property::TRACE_ON
            | property::CLUSTER
            | property::REAL_TOPIC
            | property::REAL_QID
    ) || name.starts_with(property::TRANSIENT_PREFIX)
}

/// What the broker must know of a message's properties.
#[derive(Debug, Default)]
pub(super) struct Scan<'a> {
    /// Client's message id.
    pub unique_key: Option<&'a str>,
    /// Delay level as written; `None` if absent, not a number, or not above 0.
    pub delay_level: Option<u32>,
    /// A half message.
    pub half: bool,
    /// Wants a point in time rather than a level.
    pub timer: bool,
    /// Something in the text must go.
    dropped: bool,
}

impl<'a> Scan<'a> {
    /// Reads the text once.
    pub fn of(text: &'a str) -> Self {
        let mut scan = Self::default();
        for (name, value) in property::iter(text) {
            match name {
                property::UNIQ_KEY => scan.unique_key = Some(value),
                property::DELAY => scan.delay_level = value.trim().parse().ok().filter(|level| *level > 0),
                property::TRAN_MSG => scan.half = value.eq_ignore_ascii_case("true"),
                property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS => {
                    scan.timer = true;
                }
                _ => scan.dropped |= is_dropped(name),
            }
        }
        scan
    }

    /// The text without what must go, ready to be added to.
    pub fn kept(&self, text: &str) -> Properties {
        if !self.dropped {
            return Properties::from_text(text);
        }
        let mut kept = Properties::new();
        for (name, value) in property::iter(text).filter(|(name, _)| !is_dropped(name)) {
            kept.push(name, value);
        }
        kept
    }
}
