//! Pairs of wallet and counterparty that were seen: the memory behind "new counterparty".

use serde::{Deserialize, Serialize};

use crate::key::Key;

/// Bits for each remembered pair: 16 give a false "seen" for about 1 in 500 pairs at 4 bits a pair.
const BITS_A_PAIR: usize = 16;
const BITS_A_BLOCK: usize = 512;
const WORDS_A_BLOCK: usize = BITS_A_BLOCK / 64;

/// Two generations of a Bloom filter in blocks of one cache line.
///
/// A full generation becomes the older one, and the one before is forgotten. So between one and two
/// times `capacity` pairs are remembered, those seen last. A pair seen again moves to the newer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pairs {
    capacity: u32,
    count: u32,
    newer: Vec<u64>,
    older: Vec<u64>,
}

impl Pairs {
    /// Creates a memory for at least `capacity` pairs. It takes 4 bytes a pair.
    pub fn new(capacity: u32) -> Self {
        let blocks = (capacity as usize * BITS_A_PAIR).div_ceil(BITS_A_BLOCK);
        let words = blocks.max(1) * WORDS_A_BLOCK;
        Self {
            capacity: capacity.max(1),
            count: 0,
            newer: vec![0; words],
            older: vec![0; words],
        }
    }

    /// Remembers a pair. Returns `true` if it is new.
    pub fn is_new(&mut self, pair: Key) -> bool {
        let (block, mask) = self.place(pair);
        let has = |words: &[u64]| {
            words
                .iter()
                .zip(&mask)
                .all(|(word, bits)| word & bits == *bits)
        };
        let range = block..block + WORDS_A_BLOCK;
        if has(&self.newer[range.clone()]) {
            return false;
        }
        let is_new = !has(&self.older[range.clone()]);
        if self.count == self.capacity {
            std::mem::swap(&mut self.newer, &mut self.older);
            self.newer.fill(0);
            self.count = 0;
        }
        for (word, bits) in self.newer[range].iter_mut().zip(&mask) {
            *word |= bits;
        }
        self.count += 1;
        is_new
    }

    /// Reports whether a snapshot's parts belong together.
    pub fn is_sound(&self) -> bool {
        !self.newer.is_empty()
            && self.newer.len() == self.older.len()
            && self.newer.len().is_multiple_of(WORDS_A_BLOCK)
            && self.count <= self.capacity
    }

    fn place(&self, pair: Key) -> (usize, [u64; WORDS_A_BLOCK]) {
        let bits = pair.bits();
        let blocks = (self.newer.len() / WORDS_A_BLOCK) as u64;
        let block = ((u128::from(bits) * u128::from(blocks)) >> 64) as usize;
        let mut mask = [0; WORDS_A_BLOCK];
        for part in 0..4 {
            let bit = (bits >> (9 * part)) as usize % BITS_A_BLOCK;
            mask[bit / 64] |= 1 << (bit % 64);
        }
        (block * WORDS_A_BLOCK, mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(number: u32) -> Key {
        Key::address("wallet").pair(Key::address(&number.to_string()))
    }

    #[test]
    fn a_pair_is_new_once() {
        let mut pairs = Pairs::new(10_000);
        let new = (0..10_000).filter(|number| pairs.is_new(pair(*number)));
        let new = new.count();
        assert!(new > 9_900, "{new}");
        assert!((0..10_000).all(|number| !pairs.is_new(pair(number))));
    }

    #[test]
    fn pairs_seen_long_ago_are_forgotten() {
        let mut pairs = Pairs::new(1_000);
        for number in 0..5_000 {
            pairs.is_new(pair(number));
            pairs.is_new(pair(0));
        }
        assert!(!pairs.is_new(pair(0)));
        assert!(!pairs.is_new(pair(4_999)));
        assert!(pairs.is_new(pair(1)));
    }
}
