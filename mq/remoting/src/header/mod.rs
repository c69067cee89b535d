//! Typed headers: one struct per kind of request or response, its fields under their names on the wire.
//!
//! A field that is not an `Option` must be there, unless its line gives a default (`| 0`): Java writes such fields always
//! but reads their absence as that value. Unknown fields are ignored; of repeated ones the last counts.

mod admin;
mod client;
mod consumer;
mod namesrv;
mod own;
mod pull;
mod send;

pub use admin::*;
pub use client::*;
pub use consumer::*;
pub use namesrv::*;
pub use own::*;
pub use pull::*;
pub use send::*;

use crate::{ByteStr, Ext, ExtWriter, Value};

/// A typed header.
pub trait Header: Sized {
    /// Reads the header in one pass over the fields.
    fn decode(ext: &Ext) -> Result<Self, HeaderError>;
    /// Writes the fields.
    fn encode(&self, out: &mut ExtWriter);
}

/// Why a typed header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A mandatory field is not there.
    #[error("the custom field <{0}> is null")]
    Missing(&'static str),
    /// A field is not of its type.
    #[error("the custom field <{field}> has an illegal value {value:?}")]
    Illegal {
        /// Name on the wire.
        field: &'static str,
        /// The value, shortened.
        value: String,
    },
}

impl HeaderError {
    #[cold]
    fn illegal(field: &'static str, value: Value<'_>) -> Self {
        let value: String = String::from_utf8_lossy(value.raw()).chars().take(64).collect();
        Self::Illegal { field, value }
    }
}

/// A type a header field may have.
pub trait FieldValue: Sized {
    /// Reads a value; `None` if it is not one of this type.
    fn read(value: Value<'_>) -> Option<Self>;
    /// Writes the field; an absent option writes nothing.
    fn write(&self, key: &'static str, out: &mut ExtWriter);
    /// What the absence of the field means; `None` if it must be there.
    fn absent() -> Option<Self> {
        None
    }
}

impl FieldValue for ByteStr {
    #[inline]
    fn read(value: Value<'_>) -> Option<Self> {
        value.byte_str()
    }
    #[inline]
    fn write(&self, key: &'static str, out: &mut ExtWriter) {
        out.text(key, self);
    }
}

impl FieldValue for bool {
    #[inline]
    fn read(value: Value<'_>) -> Option<Self> {
        Some(value.boolean())
    }
    #[inline]
    fn write(&self, key: &'static str, out: &mut ExtWriter) {
        out.boolean(key, *self);
    }
}

macro_rules! integer_field {
    ($($int:ty),*) => {$(
        impl FieldValue for $int {
            #[inline]
            fn read(value: Value<'_>) -> Option<Self> {
                value.integer()?.try_into().ok()
            }
            #[inline]
            fn write(&self, key: &'static str, out: &mut ExtWriter) {
                out.integer(key, i64::from(*self));
            }
        }
    )*};
}
integer_field!(i32, i64, u32);

impl<T: FieldValue> FieldValue for Option<T> {
    #[inline]
    fn read(value: Value<'_>) -> Option<Self> {
        T::read(value).map(Some)
    }
    #[inline]
    fn write(&self, key: &'static str, out: &mut ExtWriter) {
        if let Some(value) = self {
            value.write(key, out);
        }
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// A request or response without fields. Sent as an empty `extFields`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Empty;

impl Header for Empty {
    fn decode(_: &Ext) -> Result<Self, HeaderError> {
        Ok(Self)
    }
    fn encode(&self, _: &mut ExtWriter) {}
}

/// `header! { /// doc  Name { /// doc  field: Type = "nameOnTheWire" | default, … } … }`
macro_rules! header {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty = $wire:literal $(| $default:expr)?,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        impl $crate::Header for $name {
            fn decode(ext: &$crate::Ext) -> Result<Self, $crate::HeaderError> {
                $(let mut $field: Option<$ty> = None;)*
                for (key, value) in ext.fields() {
                    $(if key.is($wire) {
                        match <$ty as $crate::header::FieldValue>::read(value) {
                            None => return Err($crate::HeaderError::illegal($wire, value)),
                            read => $field = read,
                        }
                        continue;
                    })*
                }
                Ok(Self {
                    $($field: $field
                        $(.or(Some($default)))?
                        .or_else(<$ty as $crate::header::FieldValue>::absent)
                        .ok_or($crate::HeaderError::Missing($wire))?,)*
                })
            }

            fn encode(&self, out: &mut $crate::ExtWriter) {
                $($crate::header::FieldValue::write(&self.$field, $wire, out);)*
            }
        }
    )*};
}
pub(crate) use header;
