//! A circuit breaker for ClickHouse: when inserts fail one after the other, one at a time
//! tries whether the server is back, instead of all.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep_until};

use clock::Backoff;

/// Failures in a row that open the circuit.
const FAILURES_TO_OPEN: u32 = 3;

/// A circuit that all inserts share.
#[derive(Debug)]
pub struct Circuit {
    state: Mutex<State>,
    /// Permit to try while the circuit is open.
    probe: Semaphore,
}

#[derive(Debug)]
struct State {
    failures: u32,
    backoff: Backoff,
    next_try: Instant,
}

/// Effect of a failure or a success on the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitChange {
    /// It opened: from now on only one at a time tries.
    Opened,
    /// It closed: everybody may try.
    Closed,
    /// It stayed as it was.
    None,
}

impl Circuit {
    /// A closed circuit, whose tries are `backoff` apart after failures.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            state: Mutex::new(State {
                failures: 0,
                backoff,
                next_try: Instant::now(),
            }),
            probe: Semaphore::new(1),
        }
    }

    /// Waits until a try is due. While the circuit is open the permit is the only one.
    pub async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        loop {
            let permit = if self.is_open() {
                // Never closed, so an error means nothing here.
                self.probe.acquire().await.ok()
            } else {
                None
            };
            let next_try = self.lock().next_try;
            sleep_until(next_try).await;
            // What others found meanwhile counts for this one too.
            if self.lock().next_try <= Instant::now() && self.is_open() == permit.is_some() {
                return permit;
            }
        }
    }

    /// Pauses as those of the circuit, from the shortest one on.
    pub fn backoff(&self) -> Backoff {
        let mut backoff = self.lock().backoff.clone();
        backoff.reset();
        backoff
    }

    /// A try failed; `pause_max` waits as long as the backoff ever does.
    pub fn failed(&self, pause_max: bool) -> CircuitChange {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        let pause = state.backoff.pause();
        let pause = if pause_max {
            state.backoff.longest()
        } else {
            pause
        };
        state.next_try = Instant::now() + pause;
        if state.failures == FAILURES_TO_OPEN {
            CircuitChange::Opened
        } else {
            CircuitChange::None
        }
    }

    /// A try succeeded.
    pub fn succeeded(&self) -> CircuitChange {
        let mut state = self.lock();
        let was_open = state.failures >= FAILURES_TO_OPEN;
        state.failures = 0;
        state.backoff.reset();
        state.next_try = Instant::now();
        if was_open {
            CircuitChange::Closed
        } else {
            CircuitChange::None
        }
    }

    /// Reports whether the circuit is open, and a try is under way or about to be. Without one, the
    /// next task that has something to insert is the one that asks.
    pub fn is_asking(&self) -> bool {
        self.is_open() && self.probe.available_permits() == 0
    }

    fn is_open(&self) -> bool {
        self.lock().failures >= FAILURES_TO_OPEN
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn circuit() -> Arc<Circuit> {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        Arc::new(Circuit::new(backoff))
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_three_failures_and_closes_with_a_success() {
        let circuit = circuit();
        assert!(circuit.permit().await.is_none(), "closed: nobody is alone");
        assert_eq!(circuit.failed(false), CircuitChange::None);
        assert_eq!(circuit.failed(false), CircuitChange::None);
        assert_eq!(circuit.failed(false), CircuitChange::Opened);
        assert_eq!(circuit.failed(false), CircuitChange::None);
        assert!(circuit.permit().await.is_some());
        assert_eq!(circuit.succeeded(), CircuitChange::Closed);
        assert!(circuit.permit().await.is_none());
        assert_eq!(circuit.succeeded(), CircuitChange::None);
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_open_one_tries_and_the_others_wait_for_what_it_finds() {
        let circuit = circuit();
        for _ in 0..3 {
            circuit.failed(false);
        }
        assert!(!circuit.is_asking());
        let probe = circuit.permit().await;
        assert!(circuit.is_asking());
        let others: Vec<_> = (0..3)
            .map(|_| {
                let circuit = Arc::clone(&circuit);
                tokio::spawn(async move { circuit.permit().await.is_none() })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(others.iter().all(|other| !other.is_finished()));
        circuit.succeeded();
        drop(probe);
        for other in others {
            assert!(other.await.unwrap());
        }
        assert!(!circuit.is_asking());
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_apart_by_the_backoff() {
        let circuit = circuit();
        let began = Instant::now();
        circuit.failed(true);
        circuit.permit().await;
        assert_eq!(began.elapsed(), Duration::from_secs(8));
    }
}
