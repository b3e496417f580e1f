//! Fields that payloads share. Each type accepts a subset of its JSON Schema. It may decline rare
//! forms, which the schema then decides, and never accepts a value that the schema rejects.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::token::AS_WRITTEN;

/// Largest integer that every JSON reader keeps exactly: 2^53 - 1.
pub(super) const COUNT_MAX: u64 = (1 << 53) - 1;
/// Longest name, such as a token's, in characters.
const NAME_CHARS_MAX: usize = 128;
/// Most reasons of one event.
const REASONS_MAX: usize = 64;

/// An exact amount of any size: a string of decimal digits, possibly with a point, or an integer.
/// Not negative. It is checked and not kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount<'a>(PhantomData<&'a str>);

/// Takes a value as it is written.
struct AsWritten;

impl<'de> Visitor<'de> for AsWritten {
    type Value = &'de str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value as it is written")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<&'de str, E> {
        Ok(text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Amount<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = deserializer.deserialize_newtype_struct(AS_WRITTEN, AsWritten)?;
        let quoted = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        let text = quoted.unwrap_or(raw).as_bytes();
        let is_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        // Amounts are short: a search for the point would cost more than it finds.
        let is_amount = is_digits(text)
            || quoted.is_some()
                && text.split(|byte| *byte == b'.').count() == 2
                && text.split(|byte| *byte == b'.').all(is_digits);
        is_amount
            .then_some(Self(PhantomData))
            .ok_or_else(|| D::Error::custom("is not an amount"))
    }
}

impl JsonSchema for Amount<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(\\.[0-9]+)?$",
            "minimum": 0,
        })
    }
}

/// A whole number from 0 to 2^53 - 1, such as a block, a nonce or a position.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Count;

impl TryFrom<u64> for Count {
    type Error = &'static str;

    fn try_from(count: u64) -> Result<Self, Self::Error> {
        (count <= COUNT_MAX).then_some(Self).ok_or("is too large")
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 0, "maximum": COUNT_MAX})
    }
}

/// A name: 1 to 128 characters.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "&str")]
pub(super) struct Name<'a>(pub &'a str);

impl<'a> TryFrom<&'a str> for Name<'a> {
    type Error = &'static str;

    fn try_from(text: &'a str) -> Result<Self, Self::Error> {
        // A character has at least one byte, so most names need no counting.
        let fits = !text.is_empty()
            && (text.len() <= NAME_CHARS_MAX || text.chars().count() <= NAME_CHARS_MAX);
        fits.then_some(Self(text))
            .ok_or("must have 1 to 128 characters")
    }
}

impl JsonSchema for Name<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX})
    }
}

/// Amounts by token. They are checked and not kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Balances<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Deserialize<'de> for Balances<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("amounts by token")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
                while map.next_entry::<Name<'de>, Amount<'de>>()?.is_some() {}
                Ok(())
            }
        }
        deserializer
            .deserialize_map(Each)
            .map(|()| Self(PhantomData))
    }
}

impl JsonSchema for Balances<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Balances".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": {"minLength": 1, "maxLength": NAME_CHARS_MAX},
            "additionalProperties": generator.subschema_for::<Amount<'_>>(),
        })
    }
}

/// At most 64 names of reasons. They are checked and not kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reasons<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Deserialize<'de> for Reasons<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = usize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names of reasons")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<usize, A::Error> {
                let mut count = 0;
                while seq.next_element::<Name<'de>>()?.is_some() {
                    count += 1;
                }
                Ok(count)
            }
        }
        match deserializer.deserialize_seq(Each)? {
            0..=REASONS_MAX => Ok(Self(PhantomData)),
            _ => Err(D::Error::custom("has too many reasons")),
        }
    }
}

impl JsonSchema for Reasons<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Reasons".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": generator.subschema_for::<Name<'_>>(),
            "maxItems": REASONS_MAX,
        })
    }
}

/// Reads a field that may be absent, but not null.
pub(super) fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
