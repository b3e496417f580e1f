//! Formats of addresses and hashes by chain. An unlisted chain may use any format.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Chains of the Ethereum Virtual Machine with known rules.
const EVM: &[&str] = &[
    "ethereum",
    "arbitrum",
    "avalanche",
    "base",
    "blast",
    "bsc",
    "celo",
    "gnosis",
    "linea",
    "mantle",
    "optimism",
    "polygon",
    "scroll",
    "zksync",
];
const SOLANA: &[&str] = &["solana"];
const BITCOIN: &[&str] = &["bitcoin"];

/// Chains with the same formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Evm,
    Solana,
    Bitcoin,
}

/// Meaning of a field that names something on a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Address,
    Transaction,
}

impl Family {
    const ALL: [Self; 3] = [Self::Evm, Self::Solana, Self::Bitcoin];

    fn chains(self) -> &'static [&'static str] {
        match self {
            Self::Evm => EVM,
            Self::Solana => SOLANA,
            Self::Bitcoin => BITCOIN,
        }
    }

    /// Returns the family of a chain with known rules.
    pub fn find(chain: &str) -> Option<Self> {
        let is_of = |family: &Self| family.chains().contains(&chain);
        Self::ALL.into_iter().find(is_of)
    }

    /// Reports whether a transaction has one sender. In Bitcoin it has as many as inputs.
    pub fn has_sender(self) -> bool {
        self != Self::Bitcoin
    }

    /// Returns the family's format of such a field, as a regular expression.
    fn pattern(self, names: Names) -> &'static str {
        match (self, names) {
            (Self::Evm, Names::Address) => "^0x[0-9a-fA-F]{40}$",
            (Self::Evm, Names::Transaction) => "^0x[0-9a-fA-F]{64}$",
            (Self::Solana, Names::Address) => "^[1-9A-HJ-NP-Za-km-z]{32,44}$",
            (Self::Solana, Names::Transaction) => "^[1-9A-HJ-NP-Za-km-z]{64,88}$",
            (Self::Bitcoin, Names::Address) => {
                "^([13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{8,87})$"
            }
            (Self::Bitcoin, Names::Transaction) => "^[0-9a-f]{64}$",
        }
    }

    /// Reports whether a text matches [`Self::pattern`]; it may miss some that do.
    pub fn writes(self, names: Names, text: &str) -> bool {
        match (self, names) {
            (Self::Evm, Names::Address) => is_hex(text, 40),
            (Self::Evm, Names::Transaction) => is_hex(text, 64),
            (Self::Solana, Names::Address) => (32..=44).contains(&text.len()) && is_base58(text),
            (Self::Solana, Names::Transaction) => {
                (64..=88).contains(&text.len()) && is_base58(text)
            }
            // Rare, so the schema decides.
            (Self::Bitcoin, _) => false,
        }
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    let hex = text.strip_prefix("0x");
    hex.is_some_and(|hex| hex.len() == digits && each(hex, |byte| byte.is_ascii_hexdigit()))
}

fn is_base58(text: &str) -> bool {
    each(text, |byte| {
        byte.is_ascii_alphanumeric() & !matches!(byte, b'0' | b'O' | b'I' | b'l')
    })
}

/// Reports whether `holds` is true for each byte. Checks all bytes, which lets the compiler
/// vectorize the loop: texts that break a rule are rare.
fn each(text: &str, holds: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & holds(byte))
}

/// Returns the rules of each family for a schema with the fields `fields`: an `allOf` of `if` and
/// `then`.
pub(super) fn rules(fields: &[(&'static str, Names)], sender: &[&str]) -> Value {
    let rules = Family::ALL.map(|family| {
        let properties: Map<String, Value> = fields
            .iter()
            .map(|(field, names)| {
                let rule = json!({"pattern": family.pattern(*names)});
                ((*field).to_owned(), rule)
            })
            .collect();
        let mut then = json!({"properties": properties});
        if family.has_sender() && !sender.is_empty() {
            then["anyOf"] = any_of(sender);
        }
        json!({
            "if": {"properties": {"chain": {"enum": family.chains()}}, "required": ["chain"]},
            "then": then,
        })
    });
    Value::from(rules.to_vec())
}

/// Requires at least one of these fields: the value of `anyOf`.
pub(super) fn any_of(fields: &[&str]) -> Value {
    fields
        .iter()
        .map(|field| json!({"required": [field]}))
        .collect()
}

/// The name of a chain: 1 to 64 lower-case letters, digits and `. _ : -`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "&str")]
pub(super) struct Chain<'a>(pub &'a str);

impl JsonSchema for Chain<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Chain".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9a-z._:-]{1,64}$"})
    }
}

impl<'a> TryFrom<&'a str> for Chain<'a> {
    type Error = &'static str;

    fn try_from(text: &'a str) -> Result<Self, Self::Error> {
        let allowed =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b':' | b'-');
        let is_name = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        is_name
            .then_some(Self(text))
            .ok_or("is not a name of a chain")
    }
}
