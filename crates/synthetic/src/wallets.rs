//! A few thousand wallets, a few of which cause most of the activity.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};

use super::SyntheticError;
use super::chain::{CHAINS, SyntheticChain};
use super::text;

/// Share of wallets that a known user owns, in percent.
const OWNED_PERCENT: u8 = 40;
/// Mean number of wallets of one user.
const WALLETS_PER_USER: usize = 3;

/// A wallet on one chain.
#[derive(Debug)]
pub(super) struct SyntheticWallet {
    pub chain: &'static SyntheticChain,
    pub address: String,
    pub user_id: Option<String>,
    /// Number of transactions sent so far.
    pub nonce: u64,
}

/// All wallets, the most active one first.
#[derive(Debug)]
pub(super) struct Wallets {
    all: Vec<SyntheticWallet>,
    activity: Zipf<f64>,
}

impl Wallets {
    pub(super) fn new(
        count: usize,
        skew: f64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, SyntheticError> {
        let activity = Zipf::new(count as f64, skew)?;
        let users = count / WALLETS_PER_USER + 1;
        let all = (0..count)
            .map(|_| {
                let chain = draw_chain(rng);
                let mut address = String::new();
                text::address(chain.family, rng, &mut address);
                let owned = rng.random_range(0..100) < OWNED_PERCENT;
                let user_id = owned.then(|| format!("usr_{:06}", rng.random_range(0..users)));
                let nonce = rng.random_range(0..5_000);
                SyntheticWallet {
                    chain,
                    address,
                    user_id,
                    nonce,
                }
            })
            .collect();
        Ok(Self { all, activity })
    }

    /// Draws a wallet's index; low ones are the most frequent.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> usize {
        // A rank, from 1 to the count.
        let rank = self.activity.sample(rng) as usize;
        rank.clamp(1, self.all.len()) - 1
    }

    pub(super) fn get(&self, index: usize) -> &SyntheticWallet {
        &self.all[index]
    }

    /// Returns the nonce of the wallet's next transaction.
    pub(super) fn next_nonce(&mut self, index: usize) -> u64 {
        let wallet = &mut self.all[index];
        wallet.nonce += 1;
        wallet.nonce - 1
    }

    /// Returns another wallet of the same chain to send to, or the same one if none is nearby.
    pub(super) fn counterparty(&self, of: usize, rng: &mut ChaCha8Rng) -> &SyntheticWallet {
        let chain = self.all[of].chain.name;
        (0..8)
            .filter_map(|_| self.all.choose(rng))
            .find(|wallet| wallet.chain.name == chain && wallet.address != self.all[of].address)
            .unwrap_or(&self.all[of])
    }
}

fn draw_chain(rng: &mut ChaCha8Rng) -> &'static SyntheticChain {
    let mut ticket = rng.random_range(0..100_u8);
    for chain in &CHAINS {
        match ticket.checked_sub(chain.share) {
            None => return chain,
            Some(rest) => ticket = rest,
        }
    }
    &CHAINS[0]
}
