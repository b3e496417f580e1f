//! Keys of subjects: hashes, so that a state has no text.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::amount::Direction;

/// Subject of a state: 64 bits of XXH3. Two of a million wallets share a key with a probability of
/// 3e-8; they then share statistics, and nothing else fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key(u64);

/// Seeds, so that a wallet and a series of the same name differ.
const ADDRESS: u64 = 1;
const ASSET: u64 = 2;
const SERIES: u64 = 3;
const BALANCE: u64 = 4;

impl Key {
    /// Key of a wallet or a counterparty: an address is one subject in both roles.
    pub fn address(address: &str) -> Self {
        Self(XxHash3_64::oneshot_with_seed(ADDRESS, address.as_bytes()))
    }

    /// Key of an asset.
    pub fn asset(asset: &str) -> Self {
        Self(XxHash3_64::oneshot_with_seed(ASSET, asset.as_bytes()))
    }

    /// Key of a series of numbers.
    pub fn series(name: &str) -> Self {
        Self(XxHash3_64::oneshot_with_seed(SERIES, name.as_bytes()))
    }

    /// Key of a wallet's amounts of an asset in one direction.
    pub fn flow(self, asset: Self, direction: Direction) -> Self {
        self.and(asset.0 ^ u64::from(direction == Direction::In))
    }

    /// Key of a wallet's balance of an asset.
    pub fn balance(self, asset: Self) -> Self {
        self.and(asset.0.rotate_left(32) ^ BALANCE)
    }

    /// Key of a pair.
    pub fn pair(self, other: Self) -> Self {
        self.and(other.0.rotate_left(17))
    }

    /// Low half, as a short tag.
    pub fn tag(self) -> u32 {
        self.0 as u32
    }

    /// Bits of the key.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Mixes by multiplying to 128 bits and folding, as wyhash does.
    fn and(self, other: u64) -> Self {
        let wide = u128::from(self.0 ^ 0x9e37_79b9_7f4a_7c15) * u128::from(other | 1);
        let mixed = (wide >> 64) as u64 ^ wide as u64 ^ other.rotate_left(29);
        Self(mixed.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }
}
