//! Index from keys to slots: one line of memory for most look-ups.

use crate::key::Key;

/// Least number of cells.
const CELLS_MIN: usize = 16;

/// Open addressing with linear probing, at most half full.
///
/// A cell has the high 32 bits of a key and its slot plus 1; 0 is empty. The home of a cell follows
/// from its own bits, so a removal closes the gap and leaves no mark.
#[derive(Debug, Default)]
pub struct Index {
    cells: Vec<u64>,
    count: usize,
}

impl Index {
    /// Slot of a key: `is_key` says whether a slot has it.
    pub fn find(&self, key: Key, is_key: impl Fn(usize) -> bool) -> Option<usize> {
        if self.cells.is_empty() {
            return None;
        }
        let tag = key.bits() >> 32;
        let mut at = self.home(tag);
        loop {
            let cell = self.cells[at];
            if cell == 0 {
                return None;
            }
            let slot = (cell as u32 - 1) as usize;
            if cell >> 32 == tag && is_key(slot) {
                return Some(slot);
            }
            at = self.next(at);
        }
    }

    /// Adds a key that the index does not have.
    pub fn insert(&mut self, key: Key, slot: usize) {
        if (self.count + 1) * 2 > self.cells.len() {
            self.grow();
        }
        self.place((key.bits() >> 32) << 32 | (slot as u64 + 1));
        self.count += 1;
    }

    /// Removes the key of a slot.
    pub fn remove(&mut self, key: Key, slot: usize) {
        let wanted = (key.bits() >> 32) << 32 | (slot as u64 + 1);
        let mut gap = self.home(key.bits() >> 32);
        while self.cells[gap] != wanted {
            if self.cells[gap] == 0 {
                return;
            }
            gap = self.next(gap);
        }
        self.count -= 1;
        let mask = self.cells.len() - 1;
        let mut at = gap;
        loop {
            at = self.next(at);
            let cell = self.cells[at];
            if cell == 0 {
                break;
            }
            // A cell may move to the gap unless its home lies after the gap.
            let from_home = at.wrapping_sub(self.home(cell >> 32)) & mask;
            if from_home >= (at.wrapping_sub(gap) & mask) {
                self.cells[gap] = cell;
                gap = at;
            }
        }
        self.cells[gap] = 0;
    }

    /// Removes every key.
    pub fn clear(&mut self) {
        self.cells.clear();
        self.count = 0;
    }

    fn grow(&mut self) {
        let doubled = (self.cells.len() * 2).max(CELLS_MIN);
        let old = std::mem::replace(&mut self.cells, vec![0; doubled]);
        for cell in old.into_iter().filter(|cell| *cell != 0) {
            self.place(cell);
        }
    }

    fn place(&mut self, cell: u64) {
        let mut at = self.home(cell >> 32);
        while self.cells[at] != 0 {
            at = self.next(at);
        }
        self.cells[at] = cell;
    }

    /// First cell for a tag of 32 bits: its leading bits.
    fn home(&self, tag: u64) -> usize {
        (tag >> (32 - self.cells.len().trailing_zeros())) as usize
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_agrees_with_a_map() {
        let mut index = Index::default();
        let mut map = BTreeMap::new();
        let mut keys = vec![Key::address(""); 600];
        for step in 0..20_000_usize {
            let slot = step * 7_919 % 600;
            let old = keys[slot];
            if map.remove(&old).is_some() {
                index.remove(old, slot);
                assert_eq!(
                    index.find(old, |at| keys[at] == old && map.contains_key(&old)),
                    None
                );
            }
            if step % 3 > 0 {
                keys[slot] = Key::address(&step.to_string());
                map.insert(keys[slot], slot);
                index.insert(keys[slot], slot);
            }
            let other = keys[step % 600];
            let found = index.find(other, |at| keys[at] == other);
            assert_eq!(found, map.get(&other).copied());
        }
    }
}
