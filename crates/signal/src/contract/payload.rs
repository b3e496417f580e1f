//! Payloads of the three event types that this daemon knows. Other fields are allowed, so that
//! applications may send more than an older daemon knows.
//!
//! These types are the one source. schemars derives the JSON Schema, and with it the TypeScript of
//! `infra/clients/typescript`; serde and validator check payloads without building values. The
//! schema decides and explains the payloads that they decline.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::Value;
use validator::{Validate, ValidationError};

use super::chain::{self, Chain, Family, Names};
use super::field::{Amount, Balances, Count, Name, Reasons, not_null};
use super::token::Payload;
use crate::scan::Members;

/// `transaction`: a transfer or a call on a chain. Some fields have two names, since indexers
/// differ; either of a pair may be given.
#[derive(Debug, Deserialize, Validate, JsonSchema)]
#[serde(bound(deserialize = "'de: 'a"))]
#[schemars(transform = transaction_rules)]
#[validate(schema(function = "Transaction::keeps_rules"))]
pub(super) struct Transaction<'a> {
    /// The chain, such as ethereum.
    chain: Chain<'a>,
    /// Hash or signature of the transaction.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Name<'a>")]
    hash: Option<Name<'a>>,
    /// Same as hash.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Name<'a>")]
    transaction_hash: Option<Name<'a>>,
    /// Sender's address.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Name<'a>")]
    from: Option<Name<'a>>,
    /// Same as from.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Name<'a>")]
    from_address: Option<Name<'a>>,
    /// Receiver's address; absent or null where a contract is created.
    to: Option<Name<'a>>,
    /// Same as to.
    to_address: Option<Name<'a>>,
    /// Symbol of the token.
    #[serde(rename = "token")]
    _token: Option<Name<'a>>,
    /// Contract of the token.
    token_address: Option<Name<'a>>,
    /// Amount in the token's base units.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Amount<'a>")]
    amount: Option<Amount<'a>>,
    /// Same as amount.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Amount<'a>")]
    value: Option<Amount<'a>>,
    /// Called method, such as swap.
    #[serde(rename = "method")]
    _method: Option<Name<'a>>,
    /// Number of the block.
    #[serde(rename = "block")]
    _block: Option<Count>,
    /// Same as block.
    #[serde(rename = "block_number")]
    _block_number: Option<Count>,
    /// Number of the sender's earlier transactions.
    #[serde(rename = "nonce")]
    _nonce: Option<Count>,
    /// Gas limit.
    #[serde(rename = "gas")]
    _gas: Option<Count>,
    /// Price of a unit of gas, in base units of the chain's own token.
    #[serde(rename = "gas_price")]
    _gas_price: Option<Amount<'a>>,
    /// Fee in base units of the chain's own token.
    #[serde(rename = "fee")]
    _fee: Option<Amount<'a>>,
}

impl Transaction<'_> {
    fn keeps_rules(&self) -> Result<(), ValidationError> {
        let hashes = [self.hash, self.transaction_hash];
        let has_hash = hashes.iter().any(Option::is_some);
        let has_amount = self.amount.is_some() || self.value.is_some();
        let has_sender = self.from.is_some() || self.from_address.is_some();
        let Some(family) = Family::find(self.chain.0) else {
            return kept(has_hash && has_amount);
        };
        let parties = [
            self.from,
            self.from_address,
            self.to,
            self.to_address,
            self.token_address,
        ];
        let all = |names, texts: &[Option<Name<'_>>]| {
            let mut given = texts.iter().flatten();
            given.all(|text| family.writes(names, text.0))
        };
        kept(
            has_hash
                && has_amount
                && (has_sender || !family.has_sender())
                && all(Names::Transaction, &hashes)
                && all(Names::Address, &parties),
        )
    }
}

fn transaction_rules(schema: &mut Schema) {
    const FIELDS: [(&str, Names); 7] = [
        ("hash", Names::Transaction),
        ("transaction_hash", Names::Transaction),
        ("from", Names::Address),
        ("from_address", Names::Address),
        ("to", Names::Address),
        ("to_address", Names::Address),
        ("token_address", Names::Address),
    ];
    let mut rules = chain::rules(&FIELDS, &["from", "from_address"]);
    if let Value::Array(rules) = &mut rules {
        for either in [["hash", "transaction_hash"], ["amount", "value"]] {
            rules.insert(0, serde_json::json!({"anyOf": chain::any_of(&either)}));
        }
    }
    schema.insert("allOf".to_owned(), rules);
}

/// `risk_event`: a rule that fired.
#[derive(Debug, Deserialize, Validate, JsonSchema)]
#[serde(bound(deserialize = "'de: 'a"))]
#[schemars(transform = risk_event_rules)]
#[validate(schema(function = "RiskEvent::keeps_rules"))]
pub(super) struct RiskEvent<'a> {
    /// Rule that fired.
    #[serde(rename = "rule")]
    _rule: Name<'a>,
    /// Confidence of the rule, from 0 to 1.
    #[validate(range(min = 0.0, max = 1.0))]
    score: f64,
    /// Reasons for which it fired.
    #[serde(rename = "reasons")]
    _reasons: Option<Reasons<'a>>,
    /// Chain, if the event concerns one.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Chain<'a>")]
    chain: Option<Chain<'a>>,
    /// Transaction on that chain that the event is about.
    tx_hash: Option<Name<'a>>,
    /// Model that decided, with its version.
    #[serde(rename = "model")]
    _model: Option<Name<'a>>,
}

impl RiskEvent<'_> {
    fn keeps_rules(&self) -> Result<(), ValidationError> {
        let family = self.chain.and_then(|chain| Family::find(chain.0));
        kept(match (family, self.tx_hash) {
            (Some(family), Some(hash)) => family.writes(Names::Transaction, hash.0),
            _ => true,
        })
    }
}

fn risk_event_rules(schema: &mut Schema) {
    let rules = chain::rules(&[("tx_hash", Names::Transaction)], &[]);
    schema.insert("allOf".to_owned(), rules);
}

/// `wallet_snapshot`: balances of a wallet.
#[derive(Debug, Deserialize, Validate, JsonSchema)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct WalletSnapshot<'a> {
    /// The chain, such as ethereum.
    #[serde(rename = "chain")]
    _chain: Chain<'a>,
    /// Balance of each token, by its symbol or contract.
    #[serde(rename = "balances")]
    _balances: Balances<'a>,
    /// Number of the block at which the balances were read.
    #[serde(rename = "block")]
    _block: Option<Count>,
    /// Number of the wallet's transactions.
    #[serde(rename = "nonce")]
    _nonce: Option<Count>,
    /// Total value in US dollars.
    #[serde(rename = "total_usd")]
    _total_usd: Option<Amount<'a>>,
}

/// Reports whether a payload surely satisfies the contract of `T`.
pub(super) fn surely_keeps<'a, T: Deserialize<'a> + Validate>(members: &Members<'a>) -> bool {
    T::deserialize(Payload(members)).is_ok_and(|payload| payload.validate().is_ok())
}

/// Turns a verdict into validator's form. The schema explains the fault, so the error has no text.
fn kept(keeps: bool) -> Result<(), ValidationError> {
    match keeps {
        true => Ok(()),
        false => Err(ValidationError::new("rules")),
    }
}
