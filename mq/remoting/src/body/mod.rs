//! JSON bodies: one struct per kind, its fields under their names on the wire.
//!
//! Java writes and reads them with fastjson, whose dialect is wider than JSON: [`from_slice`] accepts it ([`lenient`]),
//! [`to_fastjson`] writes it (maps with numbers or objects as keys have them unquoted), [`to_standard`] writes strict JSON.
//! Fields that are missing take their default, as in Java. Large maps are ordered, so that equal values give equal bytes.

mod admin;
mod client;
mod fastjson;
mod group;
pub mod lenient;
pub mod properties_text;
mod queue;
mod register;
mod route;
mod topic;

pub use admin::*;
pub use client::*;
pub use fastjson::to_fastjson;
pub use group::*;
pub use lenient::LenientError;
pub use queue::*;
pub use register::*;
pub use route::*;
pub use topic::*;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Neither JSON nor fastjson's dialect.
    #[error(transparent)]
    Syntax(#[from] LenientError),
    /// JSON, but not what the request needs.
    #[error("body does not fit: {0}")]
    Shape(#[source] serde_json::Error),
    /// The compressed registration is damaged.
    #[error("malformed registration: {0}")]
    Registration(&'static str),
}

/// Reads a body in either dialect.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    // A reference would parse as an ordinary object: only the lenient reader resolves it.
    if !lenient::may_hold_reference(body)
        && let Ok(value) = serde_json::from_slice(body)
    {
        return Ok(value);
    }
    let strict = lenient::to_strict_json(body)?;
    serde_json::from_slice(&strict).map_err(BodyError::Shape)
}

/// Writes strict JSON: number keys are quoted. For maps with object keys use [`to_fastjson`].
///
/// # Panics
/// Never for the types of this module: their keys are texts or numbers.
pub fn to_standard<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("the bodies of this module can be written")
        .into()
}

/// A body: its fields are camel case on the wire, missing ones take their default.
macro_rules! body {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }
    )*};
}
pub(crate) use body;
