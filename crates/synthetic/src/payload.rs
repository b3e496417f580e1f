//! Payloads of the three kinds of signals.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::chain::{AddressFormat, ChainToken, SyntheticChain};

/// A transfer or a call.
#[derive(Debug, serde::Serialize)]
pub(super) struct SyntheticTransaction<'a> {
    pub chain: &'static str,
    pub hash: &'a str,
    pub block: u64,
    pub from: &'a str,
    pub to: &'a str,
    pub token: &'static str,
    /// Exact amount in the token's base units; it often exceeds 64 bits.
    pub amount: u128,
    pub method: &'static str,
    pub nonce: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gas: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gas_price: Option<u64>,
    /// Fee in base units of the chain's own token.
    pub fee: u64,
}

/// A rule that fired.
#[derive(Debug, serde::Serialize)]
pub(super) struct SyntheticRiskEvent<'a> {
    pub chain: &'static str,
    pub rule: &'static str,
    /// Score from 0 to 1.
    pub score: f64,
    pub reasons: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_hash: Option<&'a str>,
    pub model: &'static str,
}

/// Balances of a wallet.
#[derive(Debug, serde::Serialize)]
pub(super) struct SyntheticWalletSnapshot<'a> {
    pub chain: &'static str,
    pub block: u64,
    pub nonce: u64,
    pub balances: SyntheticBalances<'a>,
    pub total_usd: Decimal,
}

/// Payload of a signal, or a text in place of an object.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Payload<'a> {
    Transaction(SyntheticTransaction<'a>),
    RiskEvent(SyntheticRiskEvent<'a>),
    WalletSnapshot(SyntheticWalletSnapshot<'a>),
    Text(&'static str),
}

/// An amount of a token: base units, and the power of ten that makes a whole token.
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
pub(super) struct SyntheticBalances<'a>(pub &'a [(&'static str, Decimal)]);

impl Serialize for SyntheticBalances<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (token, balance) in self.0 {
            map.serialize_entry(token, balance)?;
        }
        map.end()
    }
}

/// Rules, and the reasons they give.
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

/// Draws a value in millionths of a US dollar: mostly small, rarely large.
fn value_usd_micros(rng: &mut ChaCha8Rng) -> u64 {
    let size = rng.random::<f64>();
    ((size * size * 14.0).exp() * 1e6) as u64
}

/// Returns base units of `token` worth about `usd_micros`, with every digit in use.
fn units_worth(token: &ChainToken, usd_micros: u64, rng: &mut ChaCha8Rng) -> u128 {
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

/// Generates a transaction and a severity that fits its size.
pub(super) fn transaction<'a>(
    chain: &'static SyntheticChain,
    ids: TransactionIds<'a>,
    time_ms: i64,
    rng: &mut ChaCha8Rng,
) -> (SyntheticTransaction<'a>, i64) {
    let token = chain.tokens.choose(rng).unwrap_or(&chain.tokens[0]);
    let method = METHODS[rng.random_range(0..12_usize).saturating_sub(7)];
    let usd_micros = value_usd_micros(rng);
    let (gas, gas_price, fee) = match chain.family {
        AddressFormat::Evm => {
            let gas = rng.random_range(21_000..180_000_u64);
            let price = chain.gas_price_wei + rng.random_range(0..chain.gas_price_wei);
            (Some(gas), Some(price), gas * price)
        }
        AddressFormat::Solana => (None, None, 5_000 + rng.random_range(0..20_000_u64)),
    };
    let severity = match usd_micros / 1_000_000 {
        0..10_000 => 0,
        10_000..100_000 => 1,
        _ => 2,
    };
    let transaction = SyntheticTransaction {
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

/// Generates a risk event and its severity, which follows the score. `reasons` holds the texts.
pub(super) fn risk_event<'a>(
    chain: &'static SyntheticChain,
    tx_hash: Option<&'a str>,
    reasons: &'a mut Vec<&'static str>,
    rng: &mut ChaCha8Rng,
) -> (SyntheticRiskEvent<'a>, i64) {
    let (rule, why) = RULES[rng.random_range(0..RULES.len())];
    reasons.clear();
    reasons.extend(&why[..rng.random_range(1..=why.len())]);
    // Most events are minor.
    let draw = rng.random::<f64>();
    let score = (draw * draw.sqrt() * 10_000.0).round() / 10_000.0;
    let severity =
        (score * 6.0).floor() as i64 + rng.random_range(-1..=1) * rng.random_range(0..=1);
    let event = SyntheticRiskEvent {
        chain: chain.name,
        rule,
        score,
        reasons,
        tx_hash,
        model: MODELS[rng.random_range(0..MODELS.len())],
    };
    (event, severity.clamp(0, 5))
}

/// Generates a snapshot of a wallet, which is never severe. `balances` holds the amounts.
pub(super) fn wallet_snapshot<'a>(
    chain: &'static SyntheticChain,
    nonce: u64,
    time_ms: i64,
    balances: &'a mut Vec<(&'static str, Decimal)>,
    rng: &mut ChaCha8Rng,
) -> (SyntheticWalletSnapshot<'a>, i64) {
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
    let snapshot = SyntheticWalletSnapshot {
        chain: chain.name,
        block: chain.block_at(time_ms),
        nonce,
        balances: SyntheticBalances(balances),
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
