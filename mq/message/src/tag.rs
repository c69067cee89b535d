//! Tags: the hash a consume queue keeps, and the filter a consumer asks for.

/// Java's `String.hashCode`: over UTF-16 units, wrapping in 32 bits.
pub fn java_hash(text: &str) -> i32 {
    let step = |h: i32, unit: u16| h.wrapping_mul(31).wrapping_add(i32::from(unit));
    if text.is_ascii() {
        text.bytes().fold(0, |h, b| step(h, u16::from(b)))
    } else {
        text.encode_utf16().fold(0, step)
    }
}

/// The number a consume queue entry keeps for a tag: its hash, widened; 0 for no tag.
pub fn tags_code(tag: &str) -> i64 {
    i64::from(java_hash(tag))
}

/// The expression holds separators but no tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tag expression has no tag in it")]
pub struct EmptyTagExpression;

/// A tag expression: everything, or any of some tags (`TagA || TagB`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagFilter {
    /// Every message, with or without a tag.
    All,
    /// Messages with one of these tags.
    Any(Vec<Box<str>>, Vec<i32>),
}

impl TagFilter {
    /// Reads an expression. Nothing and `*` mean everything; else tags divided by `||`, blanks around them dropped.
    pub fn parse(expression: &str) -> Result<Self, EmptyTagExpression> {
        if expression.is_empty() || expression == "*" {
            return Ok(Self::All);
        }
        let tags: Vec<Box<str>> = expression
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(Into::into)
            .collect();
        if tags.is_empty() {
            return Err(EmptyTagExpression);
        }
        let codes = tags.iter().map(|tag| java_hash(tag)).collect();
        Ok(Self::Any(tags, codes))
    }

    /// Whether a message with this tags code may match. As in RocketMQ only the lower 32 bits count, and hashes may
    /// collide: the consumer compares the tags themselves.
    pub fn matches(&self, tags_code: i64) -> bool {
        match self {
            Self::All => true,
            Self::Any(_, codes) => codes.contains(&(tags_code as i32)),
        }
    }

    /// Whether a message with this tag does match.
    pub fn matches_tag(&self, tag: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Any(tags, _) => tag.is_some_and(|tag| tags.iter().any(|t| &**t == tag)),
        }
    }

    /// The tags, in the order of the expression; none for everything.
    pub fn tags(&self) -> &[Box<str>] {
        match self {
            Self::All => &[],
            Self::Any(tags, _) => tags,
        }
    }

    /// The hashes of [`Self::tags`].
    pub fn codes(&self) -> &[i32] {
        match self {
            Self::All => &[],
            Self::Any(_, codes) => codes,
        }
    }
}
