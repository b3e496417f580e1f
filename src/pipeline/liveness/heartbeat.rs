//! Signs of life of the stages. A stage is at a step, which its time-outs bound, or waits for
//! what may rightly never come, such as a message. A step that does not end is a hang.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// In place of the time at which a step began.
const WAITING: u64 = u64::MAX;

/// Sign of life of one task.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    zero: Instant,
    /// Begin of the step under way, in ms since `zero`.
    step_began_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    fn new(zero: Instant) -> Self {
        let heartbeat = Self {
            zero,
            step_began_ms: Arc::default(),
        };
        heartbeat.step();
        heartbeat
    }

    /// The heartbeat of a task besides the stages, which nothing looks at.
    pub fn unwatched(&self) -> Self {
        Self::new(self.zero)
    }

    /// A step begins, and the one before it has ended.
    pub fn step(&self) {
        let now_ms = self.zero.elapsed().as_millis() as u64;
        self.step_began_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Waits for what may never come. Only the wait is excused: a thread that is blocked
    /// within `future` is at a step.
    pub async fn waiting<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            self.step();
            let poll = future.as_mut().poll(context);
            if poll.is_pending() {
                self.step_began_ms.store(WAITING, Ordering::Relaxed);
            }
            poll
        })
        .await
    }
}

/// A task that is looked at for as long as it holds its heartbeat.
#[derive(Debug)]
struct Task {
    stage: &'static str,
    step_began_ms: Weak<AtomicU64>,
}

/// The heartbeats of all tasks of one pipeline.
#[derive(Debug)]
pub struct Heartbeats {
    zero: Instant,
    tasks: Vec<Task>,
}

impl Heartbeats {
    /// None yet.
    pub fn new() -> Self {
        Self {
            zero: Instant::now(),
            tasks: Vec::new(),
        }
    }

    /// The heartbeat of one more task.
    pub fn add(&mut self, stage: &'static str) -> Heartbeat {
        let heartbeat = Heartbeat::new(self.zero);
        self.tasks.push(Task {
            stage,
            step_began_ms: Arc::downgrade(&heartbeat.step_began_ms),
        });
        heartbeat
    }

    /// The stages that are at one step for longer than `step_max`, not counting the time
    /// before `since`.
    pub fn hung(&self, since: Instant, step_max: Duration) -> Vec<&'static str> {
        let is_hung = |task: &&Task| {
            let began_ms = task.step_began_ms.upgrade();
            match began_ms.map_or(WAITING, |ms| ms.load(Ordering::Relaxed)) {
                WAITING => false,
                ms => since.max(self.zero + Duration::from_millis(ms)).elapsed() > step_max,
            }
        };
        let hung = self.tasks.iter().filter(is_hung);
        hung.map(|task| task.stage).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{sleep, timeout};

    use super::*;

    const STEP_MAX: Duration = Duration::from_secs(10);
    const LONG: Duration = Duration::from_secs(11);

    #[tokio::test(start_paused = true)]
    async fn a_step_that_does_not_end_is_a_hang() {
        let mut heartbeats = Heartbeats::new();
        let began = Instant::now();
        let (insert, ack) = (heartbeats.add("insert"), heartbeats.add("ack"));
        sleep(LONG).await;
        insert.step();
        assert_eq!(heartbeats.hung(began, STEP_MAX), ["ack"]);
        ack.step();
        assert!(heartbeats.hung(began, STEP_MAX).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_none_and_what_follows_it_is_a_step() {
        let mut heartbeats = Heartbeats::new();
        let began = Instant::now();
        let heartbeat = heartbeats.add("insert");
        let _ = timeout(LONG, heartbeat.waiting(pending::<()>())).await;
        assert!(heartbeats.hung(began, STEP_MAX).is_empty());
        heartbeat.waiting(sleep(LONG)).await;
        assert!(heartbeats.hung(began, STEP_MAX).is_empty());
        sleep(LONG).await;
        assert_eq!(heartbeats.hung(began, STEP_MAX), ["insert"]);
        drop(heartbeat);
        assert!(heartbeats.hung(began, STEP_MAX).is_empty(), "it has ended");
    }

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "blocks the thread, which the test is about"
    )]
    async fn a_thread_that_is_blocked_within_a_wait_is_at_a_step() {
        let mut heartbeats = Heartbeats::new();
        let began = Instant::now();
        let heartbeat = heartbeats.add("insert");
        let seen = heartbeat.waiting(async {
            std::thread::sleep(Duration::from_millis(20));
            heartbeats.hung(began, Duration::from_millis(10))
        });
        assert_eq!(seen.await, ["insert"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_excused_does_not_count() {
        let mut heartbeats = Heartbeats::new();
        let _pulse = heartbeats.add("ack");
        sleep(LONG).await;
        assert!(heartbeats.hung(Instant::now(), STEP_MAX).is_empty());
    }
}
