//! Limits of a listener's connections, and the choice of the one that gives way to a new one.
//!
//! A connection that waits for its client never keeps another client out. When no room is left, the
//! connection that has waited longest gives way, starting with the client that has the most. A
//! connection whose request the server works on stays.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::turn::Turn;

/// Prefix length of a network whose addresses may all belong to one client.
const IPV6_CLIENT_BITS: u32 = 64;

/// Limits the connections of a listener.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimiter {
    most: usize,
    per_client: usize,
    guests: Arc<Mutex<Guests>>,
}

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    all: HashMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    client: IpAddr,
    turn: Turn,
    gives_way: CancellationToken,
}

/// A connection's place, held until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    id: u64,
    guests: Arc<Mutex<Guests>>,
    /// Turn of the connection, which its owner keeps current.
    pub turn: Turn,
    /// Cancelled when the connection must close to make room for another one.
    pub gives_way: CancellationToken,
}

/// Reason for rejecting a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// The server works on as many requests of this client as the client may have connections.
    Share,
    /// The server works on as many requests as the listener may have connections.
    Full,
}

impl ConnectionLimiter {
    /// Limits a listener to `most` connections, `per_client` of them from one address.
    pub fn new(most: usize, per_client: usize) -> Self {
        Self {
            most,
            per_client,
            guests: Arc::default(),
        }
    }

    /// Seats a connection from this address; another connection may give way to it.
    pub fn seat(&self, peer: IpAddr) -> Result<Seat, NoSeat> {
        let client = client(peer);
        let mut guests = lock(&self.guests);
        if guests.count(client) >= self.per_client {
            let longest = guests.longest(|guest| guest.client == client);
            guests.dismiss(longest.ok_or(NoSeat::Share)?);
        } else if guests.all.len() >= self.most {
            let longest = guests.longest(|_| true);
            guests.dismiss(longest.ok_or(NoSeat::Full)?);
        }
        let (turn, gives_way) = (Turn::new(), CancellationToken::new());
        let id = guests.next;
        guests.next += 1;
        let guest = Guest {
            client,
            turn: turn.clone(),
            gives_way: gives_way.clone(),
        };
        guests.all.insert(id, guest);
        Ok(Seat {
            id,
            guests: Arc::clone(&self.guests),
            turn,
            gives_way,
        })
    }
}

impl Guests {
    fn count(&self, client: IpAddr) -> usize {
        let all = self.all.values();
        all.filter(|guest| guest.client == client).count()
    }

    /// Returns the connection that has waited longest for its client, of the client with the most.
    fn longest(&self, may: impl Fn(&Guest) -> bool) -> Option<u64> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for guest in self.all.values() {
            *counts.entry(guest.client).or_default() += 1;
        }
        let waiting = self.all.iter().filter(|(_, guest)| may(guest));
        let waiting = waiting.filter_map(|(id, guest)| {
            let since = guest.turn.client_since()?;
            Some((counts[&guest.client], since, *id))
        });
        // The most connections, then the earliest time, then the earliest connection.
        let first = waiting.max_by(|(count, since, id), (other, others, other_id)| {
            count
                .cmp(other)
                .then(others.cmp(since))
                .then(other_id.cmp(id))
        });
        first.map(|(.., id)| id)
    }

    fn dismiss(&mut self, id: u64) {
        if let Some(guest) = self.all.remove(&id) {
            guest.gives_way.cancel();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.guests).all.remove(&self.id);
    }
}

/// Returns the part of an address that identifies a client.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let kept = u128::MAX << (Ipv6Addr::BITS - IPV6_CLIENT_BITS);
            Ipv6Addr::from_bits(ip.to_bits() & kept).into()
        }
        ip => ip,
    }
}

/// Locks the state, which is consistent even after a panic: no code panics while it holds the lock.
fn lock(guests: &Mutex<Guests>) -> MutexGuard<'_, Guests> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{advance, timeout};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_with_most_gives_way_first_and_work_never_does() {
        let room = ConnectionLimiter::new(4, 3);
        let few = room.seat(ip("10.0.0.1")).unwrap();
        advance(Duration::from_secs(5)).await;
        let early = room.seat(ip("10.0.0.2")).unwrap();
        advance(Duration::from_secs(1)).await;
        let late = room.seat(ip("10.0.0.2")).unwrap();
        let works = room.seat(ip("10.0.0.2")).unwrap();
        works.turn.server();
        // Full: the client with three gives way, with its connection that has waited longest.
        let other = room.seat(ip("10.0.0.3")).unwrap();
        assert!(early.gives_way.is_cancelled());
        assert!(!few.gives_way.is_cancelled() && !late.gives_way.is_cancelled());
        let again = room.seat(ip("10.0.0.3")).unwrap();
        assert!(late.gives_way.is_cancelled());
        assert!(!few.gives_way.is_cancelled() && !works.gives_way.is_cancelled());
        // No connection waits for its client.
        for seat in [&few, &other, &again] {
            seat.turn.server();
        }
        assert_eq!(room.seat(ip("10.0.0.4")).unwrap_err(), NoSeat::Full);
        drop(few);
        assert!(room.seat(ip("10.0.0.4")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_its_share_and_keeps_nobody_else_out() {
        let room = ConnectionLimiter::new(100, 2);
        let first = room.seat(ip("2001:db8::1")).unwrap();
        let second = room.seat(ip("2001:db8::2")).unwrap();
        // The same network is the same client: its own connection gives way.
        let third = room.seat(ip("2001:db8::3")).unwrap();
        assert!(first.gives_way.is_cancelled());
        drop(first);
        for seat in [&second, &third] {
            seat.turn.server();
        }
        assert_eq!(room.seat(ip("2001:db8::4")).unwrap_err(), NoSeat::Share);
        assert!(room.seat(ip("2001:db8:0:1::1")).is_ok());
        assert_eq!(client(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_unread_answer_is_too_late() {
        let longest = Duration::from_secs(30);
        let turn = Turn::new();
        for idle in [Turn::sender, Turn::server] {
            idle(&turn);
            let late = timeout(longest * 3, turn.unread_for(longest)).await;
            assert!(late.is_err());
        }
        turn.reader();
        assert!(timeout(longest * 2, turn.unread_for(longest)).await.is_ok());
    }
}
