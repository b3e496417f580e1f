//! What the three kinds of signals carry.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::chain::{Chain, Family, Token};

/// A transfer or a call.
#[derive(Debug, serde::Serialize)]
pub(super) struct Transaction<'a> {
    pub chain: &'static str,
    pub hash: &'a str,
    pub block: u64,
    pub from: &'a str,
    pub to: &'a str,
    pub token: &'static str,
    /// In the token's base units, exact: often more than 64 bits hold.
    pub amount: u128,
    pub method: &'static str,
    pub nonce: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gas: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gas_price: Option<u64>,
    /// In base units of the chain's own token.
    pub fee: u64,
}

/// A rule that fired.
#[derive(Debug, serde::Serialize)]
pub(super) struct RiskEvent<'a> {
    pub chain: &'static str,
    pub rule: &'static str,
    /// From 0 to 1.
    pub score: f64,
    pub reasons: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_hash: Option<&'a str>,
    pub model: &'static str,
}

/// What a wallet holds.
#[derive(Debug, serde::Serialize)]
pub(super) struct WalletSnapshot<'a> {
    pub chain: &'static str,
    pub block: u64,
    pub nonce: u64,
    pub balances: Balances<'a>,
    pub total_usd: Decimal,
}

/// What a signal carries, or a text where an object belongs.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Payload<'a> {
    Transaction(Transaction<'a>),
    RiskEvent(RiskEvent<'a>),
    WalletSnapshot(WalletSnapshot<'a>),
    Text(&'static str),
}

/// An amount of a token: base units, and the units of a whole one as a power of ten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal {
    pub units: u128,
    pub decimals: u32,
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = 10_u128.pow(self.decimals);
        let width = self.decimals as usize;
        serializer.collect_str(&format_args!(
            "{}.{:0width$}",
            self.units / whole,
            self.units % whole
        ))
    }
}

/// Balances by token.
#[derive(Debug)]
pub(super) struct Balances<'a>(pub &'a [(&'static str, Decimal)]);

impl Serialize for Balances<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (token, balance) in self.0 {
            map.serialize_entry(token, balance)?;
        }
        map.end()
    }
}

/// Rules, and the reasons that they give.
const RULES: [(&str, &[&str]); 6] = [
    (
        "sanctioned_counterparty",
        &["counterparty_on_ofac_list", "two_hops_from_sanctioned"],
    ),
    (
        "velocity_spike",
        &["tx_count_above_baseline", "volume_above_baseline"],
    ),
    (
        "mixer_exposure",
        &["direct_mixer_deposit", "mixer_within_three_hops"],
    ),
    (
        "structuring",
        &["amounts_below_threshold", "regular_intervals"],
    ),
    (
        "account_takeover",
        &["new_device", "withdrawal_address_changed", "ip_country_new"],
    ),
    (
        "phishing_approval",
        &["unlimited_approval", "spender_flagged"],
    ),
];
const METHODS: [&str; 5] = ["transfer", "swap", "approve", "deposit", "withdraw"];
const MODELS: [&str; 2] = ["graph-7.2", "rules-3.11"];

/// The value in millionths of a US dollar: mostly small, rarely large.
fn value_usd_micros(rng: &mut ChaCha8Rng) -> u64 {
    let size = rng.random::<f64>();
    ((size * size * 14.0).exp() * 1e6) as u64
}

/// Base units of `token` that are worth about `usd_micros`, with every digit in use.
fn units_worth(token: &Token, usd_micros: u64, rng: &mut ChaCha8Rng) -> u128 {
    let one = 10_u128.pow(token.decimals);
    let units = u128::from(usd_micros) * one / u128::from(token.price_usd_micros.max(1));
    // Real amounts do not end in zeros.
    units + rng.random_range(0..=units / 1000 + 1)
}

pub(super) struct TransactionIds<'a> {
    pub hash: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub nonce: u64,
}

/// A transaction and the severity that its size suggests.
pub(super) fn transaction<'a>(
    chain: &'static Chain,
    ids: TransactionIds<'a>,
    time_ms: i64,
    rng: &mut ChaCha8Rng,
) -> (Transaction<'a>, i64) {
    let token = chain.tokens.choose(rng).unwrap_or(&chain.tokens[0]);
    let method = METHODS[rng.random_range(0..12_usize).saturating_sub(7)];
    let usd_micros = value_usd_micros(rng);
    let (gas, gas_price, fee) = match chain.family {
        Family::Evm => {
            let gas = rng.random_range(21_000..180_000_u64);
            let price = chain.gas_price_wei + rng.random_range(0..chain.gas_price_wei);
            (Some(gas), Some(price), gas * price)
        }
        Family::Solana => (None, None, 5_000 + rng.random_range(0..20_000_u64)),
    };
    let severity = match usd_micros / 1_000_000 {
        0..10_000 => 0,
        10_000..100_000 => 1,
        _ => 2,
    };
    let transaction = Transaction {
        chain: chain.name,
        hash: ids.hash,
        block: chain.block_at(time_ms),
        from: ids.from,
        to: ids.to,
        token: token.symbol,
        amount: units_worth(token, usd_micros, rng),
        method,
        nonce: ids.nonce,
        gas,
        gas_price,
        fee,
    };
    (transaction, severity)
}

/// A risk event and its severity, which follows the score. `reasons` keeps the texts.
pub(super) fn risk_event<'a>(
    chain: &'static Chain,
    tx_hash: Option<&'a str>,
    reasons: &'a mut Vec<&'static str>,
    rng: &mut ChaCha8Rng,
) -> (RiskEvent<'a>, i64) {
    let (rule, why) = RULES[rng.random_range(0..RULES.len())];
    reasons.clear();
    reasons.extend(&why[..rng.random_range(1..=why.len())]);
    // Most events are of little weight.
    let draw = rng.random::<f64>();
    let score = (draw * draw.sqrt() * 10_000.0).round() / 10_000.0;
    let severity =
        (score * 6.0).floor() as i64 + rng.random_range(-1..=1) * rng.random_range(0..=1);
    let event = RiskEvent {
        chain: chain.name,
        rule,
        score,
        reasons,
        tx_hash,
        model: MODELS[rng.random_range(0..MODELS.len())],
    };
    (event, severity.clamp(0, 5))
}

/// A snapshot of a wallet; it is never severe. `balances` keeps the amounts.
pub(super) fn wallet_snapshot<'a>(
    chain: &'static Chain,
    nonce: u64,
    time_ms: i64,
    balances: &'a mut Vec<(&'static str, Decimal)>,
    rng: &mut ChaCha8Rng,
) -> (WalletSnapshot<'a>, i64) {
    balances.clear();
    let mut total_usd_micros = 0;
    for token in chain.tokens {
        // The chain's own token pays the fees, so every wallet has some.
        if balances.is_empty() || rng.random_bool(0.6) {
            let usd_micros = value_usd_micros(rng);
            total_usd_micros += u128::from(usd_micros);
            let units = units_worth(token, usd_micros, rng);
            let decimals = token.decimals;
            balances.push((token.symbol, Decimal { units, decimals }));
        }
    }
    let snapshot = WalletSnapshot {
        chain: chain.name,
        block: chain.block_at(time_ms),
        nonce,
        balances: Balances(balances),
        total_usd: Decimal {
            units: total_usd_micros / 10_000,
            decimals: 2,
        },
    };
    (snapshot, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_exact() {
        for (units, decimals, text) in [
            (1, 18, "\"0.000000000000000001\""),
            (
                123_456_789_012_345_678_901,
                18,
                "\"123.456789012345678901\"",
            ),
            (1_050, 2, "\"10.50\""),
        ] {
            let json = serde_json::to_string(&Decimal { units, decimals }).unwrap();
            assert_eq!(json, text);
        }
    }
}
