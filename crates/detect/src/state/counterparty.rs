//! Base state of a counterparty: an address in the role of the other party.

use serde::{Deserialize, Serialize};

use super::rate::expected_in;
use super::wallet::Windows;
use crate::time::{Moment, SECOND_US, remaining};

/// Statistics of a counterparty: 64 bytes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Counterparty {
    last_us: i64,
    /// Position of its last signal.
    position: u64,
    /// Position of its last receipt.
    received_at: u64,
    /// Decayed count of signals over the long window.
    slow: f32,
    /// Decayed counts of wallets that paid it for the first time.
    new_fast: f32,
    new_slow: f32,
    /// Decayed sum of how unusual its signals were for their wallets, and the weight in it.
    unusual: f32,
    unusual_weight: f32,
    /// ln(amount) of its last receipt, with the second and the asset's tag.
    received_ln: f32,
    received_s: u32,
    received_asset: u32,
    /// Second of the first signal, since the epoch.
    first_s: u32,
    count: u16,
    /// Links of the peeling chain that ends here.
    depth: u16,
}

const _: () = assert!(size_of::<Counterparty>() <= 64);

/// A counterparty's state at the time of a signal, before the signal counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before {
    /// Signals so far, up to 65,535.
    pub count: u16,
    /// Position of the signal before; 0 if there is none.
    pub position: u64,
    /// New wallets in the short window.
    pub new_fast: f64,
    /// New wallets expected there.
    pub new_expected: f64,
    /// Sum of unusualness above what is usual, over the long window.
    pub unusual: f64,
    /// Weight of the signals in that sum.
    pub unusual_weight: f64,
    new_slow: f64,
    slow: f64,
}

/// Last receipt of an address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Receipt {
    /// Position of the signal.
    pub position: u64,
    /// ln(amount).
    pub ln: f64,
    /// Seconds since.
    pub age_s: i64,
    /// Links of the chain that ended with it.
    pub depth: u16,
}

impl Counterparty {
    /// State at a moment.
    pub fn before(&self, moment: Moment, windows: Windows) -> Before {
        let elapsed_us = if self.count == 0 {
            0
        } else {
            moment.at_us - self.last_us
        };
        let fast_left = remaining(elapsed_us, windows.fast_us);
        let slow_left = remaining(elapsed_us, windows.slow_us);
        let new_slow = f64::from(self.new_slow) * slow_left;
        let age = (moment.at_us / SECOND_US - i64::from(self.first_s)).max(0) as f64;
        let window = windows.fast_us as f64 / SECOND_US as f64;
        let tau = windows.slow_us as f64 / SECOND_US as f64;
        Before {
            count: self.count,
            position: self.position,
            new_fast: f64::from(self.new_fast) * fast_left,
            new_expected: expected_in(window, new_slow, tau, age),
            unusual: f64::from(self.unusual) * slow_left,
            unusual_weight: f64::from(self.unusual_weight) * slow_left,
            new_slow,
            slow: f64::from(self.slow) * slow_left,
        }
    }

    /// Counts a signal, with how unusual it was for its wallet (1 is usual on average).
    pub fn count(
        &mut self,
        moment: Moment,
        position: u64,
        before: &Before,
        is_new: bool,
        unusual: Option<f64>,
    ) {
        self.position = position;
        if self.count == 0 {
            self.first_s = u32::try_from(moment.at_us / SECOND_US).unwrap_or(u32::MAX);
        }
        self.count = self.count.saturating_add(1);
        if moment.is_late {
            return;
        }
        let new = f64::from(u8::from(is_new));
        self.slow = (before.slow + 1.0) as f32;
        self.new_fast = (before.new_fast + new) as f32;
        self.new_slow = (before.new_slow + new) as f32;
        // A wallet that comes again says less: it may be one odd wallet.
        let weight = if is_new { 1.0 } else { 0.25 };
        if let Some(unusual) = unusual {
            self.unusual = (before.unusual + weight * (unusual - 1.0)) as f32;
            self.unusual_weight = (before.unusual_weight + weight * weight) as f32;
        } else {
            self.unusual = before.unusual as f32;
            self.unusual_weight = before.unusual_weight as f32;
        }
        self.last_us = self.last_us.max(moment.at_us);
    }

    /// Notes that the address received an amount, at the end of a chain of `depth` links.
    pub fn receive(&mut self, moment: Moment, position: u64, ln: f64, asset: u32, depth: u16) {
        self.received_at = position;
        self.received_ln = ln as f32;
        self.received_s = u32::try_from(moment.at_us / SECOND_US).unwrap_or(u32::MAX);
        self.received_asset = asset;
        self.depth = depth;
    }

    /// Last receipt of an asset; `None` if the last one was of another.
    pub fn receipt(&self, moment: Moment, asset: u32) -> Option<Receipt> {
        let has = self.received_at > 0 && self.received_asset == asset;
        has.then(|| Receipt {
            position: self.received_at,
            ln: f64::from(self.received_ln),
            age_s: moment.at_us / SECOND_US - i64::from(self.received_s),
            depth: self.depth,
        })
    }
}
