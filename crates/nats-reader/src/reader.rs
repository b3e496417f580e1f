//! The handle of a connection, and the task that keeps it up.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::dial::{Link, dial};
use crate::error::{DialError, NotConnected};
use crate::inbox::Queue;
use crate::message::Message;
use crate::options::{FailedAttempt, Options};
use crate::serve::serve;
use crate::server::Pool;
use crate::shared::Shared;

/// A connection that has lasted for so long begins the delays of reconnects again, so that a server
/// that accepts connections only to close them is not connected to in a circle.
const STEADY: Duration = Duration::from_secs(2);
/// Longest pause between two rounds of attempts.
const PAUSE_MAX: Duration = Duration::from_millis(3200);

/// Reason for which no server could be connected to at first.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no server to connect to.
    #[error("no server is configured")]
    NoServer,
    /// The last attempt failed.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// A connection to NATS that reads messages and writes their acks. It reconnects by itself until
/// all clones are dropped.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    inbox_prefix: Arc<str>,
    _task: Arc<Task>,
}

/// Ends the task when the last handle is dropped.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reader {
    /// Connects to the first server that accepts the connection.
    ///
    /// # Errors
    /// Fails with the last attempt's error when none does.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        let mut pool = Pool::new(options.servers.clone());
        let link = match round(&mut pool, &options).await {
            Ok(link) => link,
            Err(mut failed) => {
                let last = failed.pop().ok_or(ConnectError::NoServer)?;
                return Err(last.error.into());
            }
        };
        let shared = Arc::<Shared>::default();
        shared.up(&link.info);
        let inbox_prefix = options.inbox_prefix.as_str().into();
        let task = tokio::spawn(keep_up(link, pool, options, Arc::clone(&shared)));
        Ok(Self {
            shared,
            inbox_prefix,
            _task: Arc::new(Task(task.abort_handle())),
        })
    }

    /// Reports whether the connection is up.
    pub fn is_connected(&self) -> bool {
        self.shared.lock().outgoing.is_up
    }

    /// Returns the number of connects so far.
    pub fn connects(&self) -> u64 {
        self.shared.lock().outgoing.connects
    }

    /// Returns the largest message that the server accepts, in bytes.
    pub fn max_payload(&self) -> usize {
        self.shared.max_payload()
    }

    /// Opens an inbox over the present connection. When that is lost, nothing comes any more.
    ///
    /// # Errors
    /// Fails when the connection is lost.
    pub fn subscribe(&self) -> Result<Inbox, NotConnected> {
        let subject = format!("{}.{}", self.inbox_prefix, Uuid::new_v4().simple());
        let mut state = self.shared.lock();
        if !state.outgoing.is_up {
            return Err(NotConnected);
        }
        let (sid, queue) = state.inboxes.open();
        state.outgoing.subscribe(&subject, sid);
        drop(state);
        self.shared.to_write.notify_one();
        Ok(Inbox {
            subject,
            sid,
            queue,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Sends a message over the present connection. Waits while much else waits to be written.
    ///
    /// # Errors
    /// Fails when the connection is lost; one that is lost soon after loses the message.
    pub async fn publish(
        &self,
        subject: &str,
        reply: Option<&str>,
        body: &[u8],
    ) -> Result<(), NotConnected> {
        let (subject, reply) = (subject.as_bytes(), reply.map(str::as_bytes));
        let added = self.shared.until(|state| {
            if !state.outgoing.is_up {
                return Some(Err(NotConnected));
            }
            state.outgoing.has_room().then(|| {
                state.outgoing.publish(subject, reply, body);
                Ok(())
            })
        });
        added.await?;
        self.shared.to_write.notify_one();
        Ok(())
    }

    /// Sends the same body to many subjects, in as few writes as possible. With `connects` they go
    /// over that connection and no later one; without, those that there is room for wait for the
    /// next connection. Waits while much else waits to be written.
    ///
    /// # Errors
    /// Fails when that connection is lost, or, without a connection, there is no room.
    pub async fn send(
        &self,
        subjects: impl IntoIterator<Item: AsRef<[u8]>>,
        body: &[u8],
        connects: Option<u64>,
    ) -> Result<(), NotConnected> {
        let mut subjects = subjects.into_iter().peekable();
        while subjects.peek().is_some() {
            let added = self.shared.until(|state| {
                let outgoing = &mut state.outgoing;
                let is_meant = |connects| outgoing.is_up && outgoing.connects == connects;
                if !connects.is_none_or(is_meant) || !outgoing.is_up && !outgoing.has_room() {
                    return Some(Err(NotConnected));
                }
                let has_room = outgoing.has_room();
                while outgoing.has_room()
                    && let Some(subject) = subjects.next()
                {
                    outgoing.publish(subject.as_ref(), None, body);
                }
                has_room.then_some(Ok(()))
            });
            added.await?;
            self.shared.to_write.notify_one();
        }
        Ok(())
    }

    /// Waits until the server has processed all that was sent before.
    ///
    /// # Errors
    /// Fails when the connection is lost.
    pub async fn flush(&self) -> Result<(), NotConnected> {
        let (ping, connects) = {
            let outgoing = &mut self.shared.lock().outgoing;
            if !outgoing.is_up {
                return Err(NotConnected);
            }
            (outgoing.ping(), outgoing.connects)
        };
        self.shared.to_write.notify_one();
        let answered = self.shared.until(|state| {
            if !state.outgoing.is_up || state.outgoing.connects != connects {
                return Some(Err(NotConnected));
            }
            (state.pongs >= ping).then_some(Ok(()))
        });
        answered.await
    }
}

/// Messages to one subject. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Inbox {
    subject: String,
    sid: u64,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
}

impl Inbox {
    /// Returns the subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Waits for messages, and adds those that are there to `chunk`, until it has `max`. Returns
    /// `None` when none will come any more. Cancelled, it loses none.
    pub async fn receive(&self, chunk: &mut Vec<Message>, max: usize) -> Option<()> {
        self.queue.receive(chunk, max).await
    }

    /// Takes the messages that are there.
    pub fn take_received(&self) -> Vec<Message> {
        self.queue.take_all()
    }

    /// Unsubscribes; what the server has sent until then still comes.
    ///
    /// # Errors
    /// Fails when the connection is lost.
    pub fn drain(&self) -> Result<(), NotConnected> {
        let mut state = self.shared.lock();
        if state.inboxes.find(self.sid).is_none() {
            return Err(NotConnected);
        }
        state.outgoing.unsubscribe(self.sid);
        let ping = state.outgoing.ping();
        state.inboxes.end_at(self.sid, ping);
        drop(state);
        self.shared.to_write.notify_one();
        Ok(())
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.inboxes.close(self.sid) {
            state.outgoing.unsubscribe(self.sid);
        }
        drop(state);
        self.queue.abandon();
        self.shared.to_write.notify_one();
    }
}

/// Serves one connection after the other. Never ends.
async fn keep_up(mut link: Link, mut pool: Pool, options: Options, shared: Arc<Shared>) {
    let (mut attempts, mut again) = (0, false);
    loop {
        let began = Instant::now();
        options.reports.connected(&link.server, again);
        let ended = serve(link, &shared, &options, &mut pool).await;
        shared.down();
        options.reports.ended(&ended);
        if began.elapsed() >= STEADY {
            attempts = 0;
        }
        link = loop {
            sleep(pause(attempts)).await;
            attempts += 1;
            match round(&mut pool, &options).await {
                Ok(link) => break link,
                Err(failed) => options.reports.failed(&failed),
            }
        };
        shared.up(&link.info);
        again = true;
    }
}

/// Tries each server once.
async fn round(pool: &mut Pool, options: &Options) -> Result<Link, Vec<FailedAttempt>> {
    let mut failed = Vec::new();
    for server in pool.order() {
        match dial(&server, options).await {
            Ok(link) => {
                pool.connected(&server);
                return Ok(link);
            }
            Err(error) => {
                pool.failed(&server);
                failed.push(FailedAttempt { server, error });
            }
        }
    }
    Err(failed)
}

/// Returns the pause before a round: none at first, since a restarted server is often back within
/// the second, then one that doubles. Clients of one server are apart by a random part.
fn pause(attempts: u32) -> Duration {
    match attempts {
        0 => Duration::ZERO,
        n => {
            let full = Duration::from_millis(100 << (n - 1).min(5)).min(PAUSE_MAX);
            full.mul_f64(rand::random_range(0.75..1.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        assert_eq!(pause(0), Duration::ZERO);
        for (attempts, full_ms) in [(1, 100), (2, 200), (6, 3200), (u32::MAX, 3200)] {
            let full = Duration::from_millis(full_ms);
            let pause = pause(attempts);
            assert!(pause <= full && pause >= full / 2, "{attempts}: {pause:?}");
        }
    }
}
