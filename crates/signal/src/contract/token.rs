//! JSON values that are known to be valid, as serde reads them, without a copy.

use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::scan::{Members, Scanner};

/// Name by which a type asks for its value as it is written: a borrowed text.
pub(super) const AS_WRITTEN: &str = "$risksignal::AsWritten";

/// A value that the fast check does not read; the schema decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Declined;

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left to the schema")
    }
}

impl std::error::Error for Declined {}

impl Error for Declined {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// A payload whose members may be known already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload<'m, 'a>(pub &'m Members<'a>);

impl<'de> Deserializer<'de> for Payload<'_, 'de> {
    type Error = Declined;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Declined> {
        let payload = Token::new(self.0.text(), self.0.is_plain());
        match self.0.known() {
            Some(members) => visitor.visit_map(Entries {
                rest: members.iter().map(|member| Some(*member)),
                value: payload,
            }),
            None => payload.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// One value as it is written: valid JSON.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    /// Neither it nor its neighbors have an escape.
    is_plain: bool,
}

impl<'a> Token<'a> {
    fn new(text: &'a str, is_plain: bool) -> Self {
        Self { text, is_plain }
    }

    /// Returns the text between two quotes. One with an escape may be any, so it is declined.
    fn unescaped(self, inner: &'a str) -> Result<&'a str, Declined> {
        match self.is_plain || !inner.contains('\\') {
            true => Ok(inner),
            false => Err(Declined),
        }
    }

    /// Reads a name beside this value.
    fn key<K: DeserializeSeed<'a>>(self, name: &'a str, seed: K) -> Result<K::Value, Declined> {
        match self.unescaped(name) {
            Ok(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            // The contract may name it, or not look at it.
            Err(Declined) => {
                let quoted = format!("\"{name}\"");
                let name: String = serde_json::from_str(&quoted).map_err(|_| Declined)?;
                seed.deserialize(name.into_deserializer())
            }
        }
    }
}

impl<'de> Deserializer<'de> for Token<'de> {
    type Error = Declined;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Declined> {
        let text = self.text;
        match text.as_bytes().first() {
            Some(b'"') => match text.get(1..text.len() - 1) {
                Some(inner) => visitor.visit_borrowed_str(self.unescaped(inner)?),
                None => Err(Declined),
            },
            Some(b'{') => visitor.visit_map(Entries {
                rest: parts(text, Scanner::member),
                value: self,
            }),
            Some(b'[') => visitor.visit_seq(Items {
                rest: parts(text, Scanner::item),
                is_plain: self.is_plain,
            }),
            Some(b't') => visitor.visit_bool(true),
            Some(b'f') => visitor.visit_bool(false),
            Some(b'n') => visitor.visit_unit(),
            // As serde_json does: an integer that fits, or else a double.
            _ => match text.parse::<u64>() {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_f64(text.parse().map_err(|_| Declined)?),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Declined> {
        match self.text {
            "null" => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Declined> {
        match name {
            AS_WRITTEN => visitor.visit_borrowed_str(self.text),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Declined> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// Reads the parts of a container one by one; `None` for one that the scanner declines.
fn parts<'de, T>(
    container: &'de str,
    read: impl Fn(&mut Scanner<'de>, bool) -> Option<Option<T>>,
) -> impl Iterator<Item = Option<T>> {
    let mut scanner = Scanner::new(&container[1..]);
    let mut is_first = true;
    std::iter::from_fn(
        move || match read(&mut scanner, std::mem::take(&mut is_first)) {
            Some(part) => part.map(Some),
            None => Some(None),
        },
    )
}

/// Members of an object.
struct Entries<'de, I> {
    rest: I,
    /// The last one's value.
    value: Token<'de>,
}

impl<'de, I> MapAccess<'de> for Entries<'de, I>
where
    I: Iterator<Item = Option<(&'de str, &'de str)>>,
{
    type Error = Declined;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Declined> {
        let Some(member) = self.rest.next() else {
            return Ok(None);
        };
        let (name, value) = member.ok_or(Declined)?;
        self.value.text = value;
        self.value.key(name, seed).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Declined> {
        seed.deserialize(self.value)
    }
}

/// Items of a list.
struct Items<I> {
    rest: I,
    is_plain: bool,
}

impl<'de, I: Iterator<Item = Option<&'de str>>> SeqAccess<'de> for Items<I> {
    type Error = Declined;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Declined> {
        let Some(item) = self.rest.next() else {
            return Ok(None);
        };
        let item = Token::new(item.ok_or(Declined)?, self.is_plain);
        seed.deserialize(item).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{PayloadFaults, Schemas};

    #[test]
    fn names_with_an_escape_and_any_depth_are_left_alone_where_the_contract_names_none() {
        let schemas = Schemas::read("").unwrap();
        let at = schemas.find("wallet_snapshot").unwrap();
        let many: Vec<String> = (0..17_000)
            .map(|number| format!("\"t{number}\":1"))
            .collect();
        let deep = ["[".repeat(130), "]".repeat(130)].concat();
        for payload in [
            format!(
                "{{\"chain\":\"base\",\"balances\":{{{}}},\"e\\u0301\":1}}",
                many.join(",")
            ),
            "{\"chain\":\"base\",\"balances\":{},\"e\\u0301\":1,\"x\":1e400}".to_owned(),
            format!("{{\"chain\":\"base\",\"balances\":{{}},\"x\":{deep}}}"),
        ] {
            let (mut known, mut scanner) = (Members::default(), Scanner::new(&payload));
            assert!(known.scan(&mut scanner).is_some());
            for members in [known, Members::unread(&payload)] {
                assert_eq!(schemas.0[at].faults(&members), PayloadFaults::default());
            }
        }
        // Escaped, it is one that the contract names, and wrong.
        let payload = "{\"\\u0063hain\":1,\"balances\":{}}";
        assert!(!schemas.0[at].faults(&Members::unread(payload)).is_empty());
    }
}
