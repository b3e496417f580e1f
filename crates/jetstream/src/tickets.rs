//! Pending requests, each with an id that fits into a reply subject.
//!
//! All answers arrive on one inbox, whose subjects end in the ticket. This is cheaper than a
//! request for each, and a missing answer leaves nothing behind.

use slab::Slab;

/// Id of one pending entry, never reused for a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    slot: usize,
    serial: u64,
}

impl Ticket {
    /// Returns the end of a reply subject.
    pub fn to_token(self) -> String {
        format!("{}-{}", self.slot, self.serial)
    }

    /// Parses the end of a reply subject.
    pub fn from_subject(subject: &str) -> Option<Self> {
        let token = subject.rsplit('.').next()?;
        let (slot, serial) = token.split_once('-')?;
        Some(Self {
            slot: slot.parse().ok()?,
            serial: serial.parse().ok()?,
        })
    }
}

/// Pending entries by ticket.
#[derive(Debug)]
pub struct Tickets<T> {
    slots: Slab<(u64, T)>,
    next_serial: u64,
}

impl<T> Tickets<T> {
    /// Creates a set with room for `capacity` entries before it grows.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            slots: Slab::with_capacity(capacity),
            next_serial: 0,
        }
    }

    /// Returns the number of pending entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns true if nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds an entry, and returns its ticket.
    pub fn insert(&mut self, waiting: T) -> Ticket {
        let serial = self.next_serial;
        self.next_serial += 1;
        let slot = self.slots.insert((serial, waiting));
        Ticket { slot, serial }
    }

    /// Finds an entry by its ticket; `None` if it is gone.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        let (serial, waiting) = self.slots.get_mut(ticket.slot)?;
        (*serial == ticket.serial).then_some(waiting)
    }

    /// Removes an entry; `None` if it is gone.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.get_mut(ticket)?;
        self.slots
            .try_remove(ticket.slot)
            .map(|(_, waiting)| waiting)
    }

    /// Iterates over all entries with their tickets.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &T)> {
        self.slots.iter().map(|(slot, (serial, waiting))| {
            let serial = *serial;
            (Ticket { slot, serial }, waiting)
        })
    }

    /// Iterates over all entries.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().map(|(_, (_, waiting))| waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_answer_is_of_no_matter_to_the_next_in_the_slot() {
        let mut tickets = Tickets::with_capacity(1);
        let first = tickets.insert("first");
        assert_eq!(tickets.remove(first), Some("first"));
        let second = tickets.insert("second");
        assert_eq!(first.slot, second.slot);
        assert_eq!(tickets.remove(first), None);
        assert_eq!(tickets.len(), 1);
        let subject = format!("_INBOX.x.{}", second.to_token());
        assert_eq!(Ticket::from_subject(&subject), Some(second));
        assert_eq!(Ticket::from_subject("_INBOX.x"), None);
    }
}
