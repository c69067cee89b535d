//! Versions as RocketMQ numbers them: every release has an ordinal, its snapshot the one before.

/// The version we state in every frame: 5.3.3, whose behaviour we reproduce.
pub const CURRENT: i32 = V5_3_3;
/// The text of [`CURRENT`] that tools show (`brokerVersionDesc`).
pub const CURRENT_NAME: &str = "V5_3_3";

/// 3.0.7-SNAPSHOT: from here on clients understand offset resets.
pub const V3_0_7_SNAPSHOT: i32 = 28;
/// 3.0.11: from here on brokers register with the present body.
pub const V3_0_11: i32 = 37;
/// 3.1.8-SNAPSHOT: from here on clients answer GET_CONSUMER_RUNNING_INFO.
pub const V3_1_8_SNAPSHOT: i32 = 62;
/// 3.4.9: from here on `maxReconsumeTimes` of requests counts.
pub const V3_4_9: i32 = 121;
/// 4.1.0-SNAPSHOT: clients allow SQL92 subscriptions only if a broker states at least this.
pub const V4_1_0_SNAPSHOT: i32 = 232;
/// 4.9.3: up to here `_UNIQUE_KEY_QUERY` is left out of signatures.
pub const V4_9_3: i32 = 399;
/// 4.9.4: from here on route answers are standard JSON.
pub const V4_9_4: i32 = 401;
/// 5.0.0: from here on compressed registrations carry topic queue mappings.
pub const V5_0_0: i32 = 413;
/// 5.3.1: newer clients understand GO_AWAY.
pub const V5_3_1: i32 = 475;
/// 5.3.3.
pub const V5_3_3: i32 = 479;
/// Beyond all known versions.
pub const HIGHER_VERSION: i32 = 612;

/// The ordinals below 4.0.0 follow no rule worth keeping here; from 4.0.0 on each minor release has ten patch levels of two
/// ordinals each.
const V4_0_0: i32 = 213;

/// RocketMQ's name of a version, such as `V5_3_3`, as tools show it. Versions before 4.0.0 are named by their ordinal.
pub fn name(version: i32) -> String {
    if version >= HIGHER_VERSION {
        return "HIGHER_VERSION".to_owned();
    }
    if version < V4_0_0 - 1 {
        return format!("V_{version}");
    }
    let steps = version - (V4_0_0 - 1);
    let (minors, rest) = (steps / 20, steps % 20);
    let snapshot = if rest % 2 == 0 { "_SNAPSHOT" } else { "" };
    format!("V{}_{}_{}{snapshot}", 4 + minors / 10, minors % 10, rest / 2)
}
