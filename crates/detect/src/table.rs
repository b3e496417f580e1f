//! Bounded number of states, with an eviction that depends on the stream alone.

use serde::{Deserialize, Serialize};

use crate::index::Index;
use crate::key::Key;

/// States by key, at most `capacity`.
///
/// A new key in a full table evicts by the clock algorithm: a hand goes over the slots, spares each
/// that was used since its last visit, and takes the first that was not. Order of iteration and of
/// snapshots is that of the slots.
#[derive(Debug, Serialize, Deserialize)]
pub struct Table<S> {
    capacity: u32,
    hand: u32,
    evicted: u64,
    /// A bit for each slot: used since the hand's last visit.
    used: Vec<u64>,
    slots: Vec<(Key, S)>,
    #[serde(skip)]
    index: Index,
}

impl<S: Default> Table<S> {
    /// Creates an empty table for `capacity` states, at least one. It takes memory as it fills.
    pub fn new(capacity: u32) -> Self {
        Self {
            capacity: capacity.max(1),
            hand: 0,
            evicted: 0,
            used: Vec::new(),
            slots: Vec::new(),
            index: Index::default(),
        }
    }

    /// Number of states.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// States evicted since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// State of a key, if the table has it. Does not count as a use.
    pub fn get(&self, key: Key) -> Option<&S> {
        self.find(key).map(|slot| &self.slots[slot].1)
    }

    /// State of a key; a default one where there was none.
    pub fn state(&mut self, key: Key) -> &mut S {
        let slot = self.find(key).unwrap_or_else(|| self.insert(key));
        self.used[slot / 64] |= 1 << (slot % 64);
        &mut self.slots[slot].1
    }

    fn find(&self, key: Key) -> Option<usize> {
        self.index.find(key, |slot| self.slots[slot].0 == key)
    }

    /// States in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &S> {
        self.slots.iter().map(|(_, state)| state)
    }

    /// Changes the bound. A table above a lower one stays as large as it is.
    pub fn set_capacity(&mut self, capacity: u32) {
        self.capacity = capacity.max(1);
    }

    /// Builds what a snapshot leaves out. Returns `false` if the parts contradict each other.
    pub fn rebuild(&mut self) -> bool {
        self.index.clear();
        let mut is_sound = true;
        for slot in 0..self.slots.len() {
            let key = self.slots[slot].0;
            is_sound &= self.find(key).is_none();
            self.index.insert(key, slot);
        }
        is_sound
            && self.used.len() == self.slots.len().div_ceil(64)
            && (self.hand as usize) <= self.slots.len()
    }

    fn insert(&mut self, key: Key) -> usize {
        let slot = if self.slots.len() < self.capacity as usize {
            self.slots.push((key, S::default()));
            let slot = self.slots.len() - 1;
            if slot.is_multiple_of(64) {
                self.used.push(0);
            }
            slot
        } else {
            let slot = self.unused_slot();
            self.index.remove(self.slots[slot].0, slot);
            self.slots[slot] = (key, S::default());
            self.evicted += 1;
            slot
        };
        self.index.insert(key, slot);
        slot
    }

    /// Moves the hand to the first slot that was not used since its last visit, and past it.
    fn unused_slot(&mut self) -> usize {
        loop {
            let slot = self.hand as usize % self.slots.len();
            self.hand = (slot as u32 + 1) % self.slots.len() as u32;
            let (word, bit) = (slot / 64, 1_u64 << (slot % 64));
            if self.used[word] & bit == 0 {
                return slot;
            }
            self.used[word] &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key::address(&number.to_string())
    }

    #[test]
    fn a_full_table_evicts_what_was_not_used() {
        let mut table = Table::<u32>::new(3);
        for number in 0..3 {
            *table.state(key(number)) = number + 1;
        }
        // The first eviction clears every mark; then the used one is spared.
        *table.state(key(3)) = 4;
        *table.state(key(1)) = 5;
        *table.state(key(4)) = 6;
        assert_eq!((table.len(), table.evicted()), (3, 2));
        assert_eq!(table.get(key(1)), Some(&5));
        assert_eq!(table.get(key(0)), None);
        assert_eq!(table.get(key(4)), Some(&6));
    }

    #[test]
    fn a_restored_table_goes_on_alike() {
        let mut table = Table::<u32>::new(50);
        let fill = |table: &mut Table<u32>, from: u32| {
            for number in from..from + 500 {
                *table.state(key(number * 7919 % 83)) += number;
            }
        };
        fill(&mut table, 0);
        let bytes = postcard::to_allocvec(&table).unwrap();
        let mut restored: Table<u32> = postcard::from_bytes(&bytes).unwrap();
        assert!(restored.rebuild());
        fill(&mut table, 500);
        fill(&mut restored, 500);
        let bytes = postcard::to_allocvec(&table).unwrap();
        assert_eq!(bytes, postcard::to_allocvec(&restored).unwrap());
    }
}
