//! Chains of the synthetic wallets, with figures close to the real ones.

/// Format of a chain's addresses and hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressFormat {
    /// `0x` and lower-case hex; fees are gas times its price.
    Evm,
    /// Base 58; fees are flat.
    Solana,
}

/// A token of a chain.
#[derive(Debug)]
pub(super) struct ChainToken {
    pub symbol: &'static str,
    /// Base units are 10^-decimals of a token.
    pub decimals: u32,
    /// Price of a token, in millionths of a US dollar.
    pub price_usd_micros: u64,
}

/// A chain with its tokens.
#[derive(Debug)]
pub(super) struct SyntheticChain {
    pub name: &'static str,
    pub source_id: &'static str,
    pub family: AddressFormat,
    pub block_time_ms: u64,
    /// Number of the block at [`HEIGHTS_AT_MS`].
    pub height: u64,
    /// Lowest gas price in wei; 0 if fees are flat.
    pub gas_price_wei: u64,
    /// Tokens; the chain's own comes first.
    pub tokens: &'static [ChainToken],
    /// Share of the wallets, in percent.
    pub share: u8,
}

/// 2025-01-01T00:00:00Z in milliseconds since the epoch.
const HEIGHTS_AT_MS: i64 = 1_735_689_600_000;

impl SyntheticChain {
    /// Returns the number of the newest block at `time_ms` since the epoch.
    pub(super) fn block_at(&self, time_ms: i64) -> u64 {
        let since_ms = u64::try_from(time_ms - HEIGHTS_AT_MS).unwrap_or(0);
        self.height + since_ms / self.block_time_ms
    }
}

const fn token(symbol: &'static str, decimals: u32, price_usd_micros: u64) -> ChainToken {
    ChainToken {
        symbol,
        decimals,
        price_usd_micros,
    }
}

const ETH: ChainToken = token("ETH", 18, 3_300_000_000);
const USDC: ChainToken = token("USDC", 6, 1_000_000);
const USDT: ChainToken = token("USDT", 6, 999_000);
const DAI: ChainToken = token("DAI", 18, 1_000_000);
const WBTC: ChainToken = token("WBTC", 8, 95_000_000_000);

/// Every chain; the shares add up to 100.
pub(super) static CHAINS: [SyntheticChain; 5] = [
    SyntheticChain {
        name: "ethereum",
        source_id: "ethereum-mainnet",
        family: AddressFormat::Evm,
        block_time_ms: 12_000,
        height: 21_525_890,
        gas_price_wei: 4_000_000_000,
        tokens: &[
            ETH,
            USDC,
            USDT,
            DAI,
            WBTC,
            token("SHIB", 18, 21),
            token("LINK", 18, 20_000_000),
        ],
        share: 35,
    },
    SyntheticChain {
        name: "base",
        source_id: "base-mainnet",
        family: AddressFormat::Evm,
        block_time_ms: 2_000,
        height: 24_448_000,
        gas_price_wei: 8_000_000,
        tokens: &[ETH, USDC, DAI, token("AERO", 18, 1_300_000)],
        share: 20,
    },
    SyntheticChain {
        name: "arbitrum",
        source_id: "arbitrum-one",
        family: AddressFormat::Evm,
        block_time_ms: 250,
        height: 290_500_000,
        gas_price_wei: 10_000_000,
        tokens: &[ETH, USDC, USDT, WBTC, token("ARB", 18, 750_000)],
        share: 15,
    },
    SyntheticChain {
        name: "polygon",
        source_id: "polygon-pos",
        family: AddressFormat::Evm,
        block_time_ms: 2_000,
        height: 66_160_000,
        gas_price_wei: 30_000_000_000,
        tokens: &[token("POL", 18, 450_000), USDC, USDT, DAI],
        share: 15,
    },
    SyntheticChain {
        name: "solana",
        source_id: "solana-mainnet",
        family: AddressFormat::Solana,
        block_time_ms: 400,
        height: 310_900_000,
        gas_price_wei: 0,
        tokens: &[
            token("SOL", 9, 190_000_000),
            USDC,
            token("JUP", 6, 850_000),
            token("BONK", 5, 30),
        ],
        share: 15,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_add_up() {
        assert_eq!(CHAINS.iter().map(|chain| chain.share).sum::<u8>(), 100);
    }

    #[test]
    fn blocks_advance_with_time() {
        let chain = &CHAINS[0];
        let start = chain.block_at(HEIGHTS_AT_MS);
        assert_eq!(chain.block_at(HEIGHTS_AT_MS + 11_999), start);
        assert_eq!(chain.block_at(HEIGHTS_AT_MS + 12_000), start + 1);
        assert_eq!(chain.block_at(0), start);
    }
}
