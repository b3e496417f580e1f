//! Published signals without a final answer.

use std::time::{Duration, Instant};

use clock::Backoff;
use jetstream::{Ticket, Tickets};

use super::source::Outgoing;

/// Most bytes of bodies in the window, so that large lines do not multiply with its length.
const BYTES_MAX: usize = 64 * 1024 * 1024;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A signal without a final answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub outgoing: Outgoing,
    /// Number of publishes.
    pub tries: u32,
    /// Number of temporary rejections by the server.
    pub refusals: u32,
    backoff: Option<Backoff>,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Sent { at: Instant },
    Resting { until: Instant },
}

/// All signals without a final answer, bounded in number and size.
#[derive(Debug)]
pub(super) struct PublishWindow {
    unanswered: Tickets<Pending>,
    max: usize,
    bytes: usize,
}

impl PublishWindow {
    pub(super) fn new(max: usize) -> Self {
        Self {
            unanswered: Tickets::with_capacity(max),
            max,
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.unanswered.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Reports whether one more may be published.
    pub(super) fn has_room(&self) -> bool {
        self.unanswered.len() < self.max && self.bytes < BYTES_MAX
    }

    /// Adds a signal published at `now`.
    pub(super) fn insert(&mut self, outgoing: Outgoing, now: Instant) -> Ticket {
        self.bytes += outgoing.body.len();
        self.unanswered.insert(Pending {
            outgoing,
            tries: 1,
            refusals: 0,
            backoff: None,
            state: State::Sent { at: now },
        })
    }

    /// Removes a signal with its final answer. Returns `None` if it was removed before: the server
    /// answers each attempt.
    pub(super) fn settle(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.unanswered.remove(ticket)?;
        self.bytes -= pending.outgoing.body.len();
        Some(pending)
    }

    /// Delays a signal after a temporary rejection. Returns `false` after the `refusals_max`-th
    /// one; the signal then stays for [`PublishWindow::settle`].
    pub(super) fn refuse(&mut self, ticket: Ticket, refusals_max: u32, now: Instant) -> bool {
        let Some(pending) = self.unanswered.get_mut(ticket) else {
            return true;
        };
        pending.refusals += 1;
        pending.rest(now);
        pending.refusals < refusals_max
    }

    /// Delays signals whose answer is late at `now`, and returns their number.
    pub(super) fn expire(&mut self, timeout: Duration, now: Instant) -> usize {
        let mut expired = 0;
        for pending in self.unanswered.values_mut() {
            if let State::Sent { at } = pending.state
                && now.saturating_duration_since(at) >= timeout
            {
                pending.rest(now);
                expired += 1;
            }
        }
        expired
    }

    /// Schedules signals that an old connection may have lost. Without an id the server would store
    /// a second copy, so those wait for their timeout.
    pub(super) fn reconnected(&mut self, now: Instant) {
        for pending in self.unanswered.values_mut() {
            if matches!(pending.state, State::Sent { .. }) && pending.outgoing.id.is_some() {
                pending.rest(now);
            }
        }
    }

    /// Returns the signals whose delay is over.
    pub(super) fn due(&self, now: Instant) -> Vec<Ticket> {
        self.unanswered
            .iter()
            .filter(
                |(_, pending)| matches!(pending.state, State::Resting { until } if until <= now),
            )
            .map(|(ticket, _)| ticket)
            .collect()
    }

    /// Returns the signal to publish again at `now`; `None` if it was answered meanwhile.
    pub(super) fn try_again(&mut self, ticket: Ticket, now: Instant) -> Option<Outgoing> {
        let pending = self.unanswered.get_mut(ticket)?;
        pending.tries = pending.tries.saturating_add(1);
        pending.state = State::Sent { at: now };
        Some(pending.outgoing.clone())
    }
}

impl Pending {
    fn rest(&mut self, now: Instant) {
        let backoff = self
            .backoff
            .get_or_insert_with(|| Backoff::new(RETRY_MIN, RETRY_MAX));
        self.state = State::Resting {
            until: now + backoff.pause(),
        };
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::source::{MessageId, MessageOrigin};
    use super::*;

    #[test]
    fn a_new_connection_tries_again_what_the_server_would_recognise() {
        let now = Instant::now();
        let mut window = PublishWindow::new(2);
        window.insert(outgoing(1), now);
        let known = window.insert(
            Outgoing {
                id: MessageId::Uuid(uuid::Uuid::nil()),
                ..outgoing(1)
            },
            now,
        );
        window.reconnected(now);
        assert_eq!(window.due(now + RETRY_MIN), [known]);
    }

    fn outgoing(bytes: usize) -> Outgoing {
        Outgoing {
            subject: "signals.test".into(),
            id: MessageId::None,
            body: Bytes::from(vec![b' '; bytes]),
            origin: MessageOrigin::Line(1),
            invalid: false,
        }
    }

    #[test]
    fn the_window_is_bounded_in_number_and_size() {
        let now = Instant::now();
        let mut window = PublishWindow::new(2);
        let first = window.insert(outgoing(1), now);
        window.insert(outgoing(1), now);
        assert!(!window.has_room());
        assert!(window.settle(first).is_some());
        assert!(window.has_room());
        window.insert(outgoing(BYTES_MAX), now);
        let mut window = PublishWindow::new(10);
        let large = window.insert(outgoing(BYTES_MAX), now);
        assert!(!window.has_room());
        window.settle(large);
        assert!(window.has_room() && window.is_empty());
    }

    #[test]
    fn a_late_answer_means_another_try_after_a_rest() {
        let (now, timeout) = (Instant::now(), Duration::from_secs(5));
        let mut window = PublishWindow::new(2);
        let ticket = window.insert(outgoing(1), now);
        assert_eq!(window.expire(timeout, now + timeout / 2), 0);
        let late = now + timeout;
        assert_eq!(window.expire(timeout, late), 1);
        assert_eq!(window.expire(timeout, late), 0);
        assert_eq!(window.due(late), []);
        assert_eq!(window.due(late + RETRY_MIN), [ticket]);
        assert!(window.try_again(ticket, late + RETRY_MIN).is_some());
        assert_eq!(window.due(late + RETRY_MIN), []);
        assert_eq!(window.settle(ticket).unwrap().tries, 2);
        assert!(window.try_again(ticket, late).is_none());
    }

    #[test]
    fn refusals_come_to_an_end() {
        let now = Instant::now();
        let mut window = PublishWindow::new(1);
        let ticket = window.insert(outgoing(1), now);
        assert!(window.refuse(ticket, 2, now));
        assert!(!window.refuse(ticket, 2, now));
        assert!(window.settle(ticket).is_some());
    }
}
