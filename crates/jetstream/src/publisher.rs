//! Publisher that sends several messages at once and waits for JetStream's answer to each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::connection::State;
use async_nats::header::{HeaderMap, HeaderValue, NATS_MESSAGE_ID};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::{PublishAnswer, Ticket, Tickets};

/// A message to publish.
#[derive(Debug, Clone)]
pub struct Message {
    /// Subject of the message.
    pub subject: String,
    /// Id by which JetStream detects duplicates.
    pub id: HeaderValue,
    /// Body of the message.
    pub body: Bytes,
}

/// Outcome of a published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// JetStream has answered.
    Answered(PublishAnswer),
    /// The message exceeds the server's limit.
    TooLarge,
    /// No answer arrived in time. JetStream may have the message all the same.
    Unanswered,
}

/// Reason for which no message was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPublished {
    /// NATS is disconnected.
    Away,
    /// Too many messages wait for their answers.
    Busy,
}

/// Publishes on one connection, with a bounded number of unanswered messages.
#[derive(Debug, Clone)]
pub struct Publisher {
    client: Client,
    inbox: String,
    unanswered: Arc<Mutex<Tickets<Waiting>>>,
    unanswered_max: usize,
    timeout: Duration,
}

/// An unanswered message.
#[derive(Debug)]
struct Waiting {
    group: Arc<Group>,
    place: usize,
}

/// Messages that are published together.
#[derive(Debug)]
struct Group {
    state: Mutex<GroupState>,
    complete: Notify,
}

#[derive(Debug)]
struct GroupState {
    outcomes: Vec<Outcome>,
    open: usize,
}

impl Group {
    fn settle(&self, place: usize, outcome: Outcome) {
        let mut state = locked(&self.state);
        state.outcomes[place] = outcome;
        state.open -= 1;
        if state.open == 0 {
            self.complete.notify_one();
        }
    }
}

impl Publisher {
    /// Creates a publisher with at most `unanswered_max` unanswered messages. It gives up on an
    /// answer after `timeout`.
    pub async fn new(
        client: Client,
        unanswered_max: usize,
        timeout: Duration,
    ) -> Result<Self, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await?;
        let unanswered = Arc::new(Mutex::new(Tickets::with_capacity(0)));
        tokio::spawn(take_answers(answers, Arc::clone(&unanswered)));
        Ok(Self {
            client,
            inbox,
            unanswered,
            unanswered_max,
            timeout,
        })
    }

    /// Reports whether NATS is connected.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Publishes all messages in order, and returns the outcome of each.
    ///
    /// # Errors
    /// Fails when none is published.
    pub async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Outcome>, NotPublished> {
        // Without a connection the client would queue the messages and send them at an unknown
        // time.
        if !self.is_connected() {
            return Err(NotPublished::Away);
        }
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut sent = self.enter(messages.len())?;
        let deadline = Instant::now() + self.timeout;
        // An error means that the time is over; messages without an answer stay unanswered.
        let _ = timeout_at(deadline, async {
            for (place, message) in messages.into_iter().enumerate() {
                self.send(&mut sent, place, message).await;
            }
            sent.group.complete.notified().await;
        })
        .await;
        let outcomes = std::mem::take(&mut locked(&sent.group.state).outcomes);
        Ok(outcomes)
    }

    /// Reserves room for a group.
    fn enter(&self, messages: usize) -> Result<Sent, NotPublished> {
        let group = Arc::new(Group {
            state: Mutex::new(GroupState {
                outcomes: vec![Outcome::Unanswered; messages],
                open: messages,
            }),
            complete: Notify::new(),
        });
        let mut unanswered = locked(&self.unanswered);
        if unanswered.len() + messages > self.unanswered_max {
            return Err(NotPublished::Busy);
        }
        let tickets = (0..messages).map(|place| {
            let group = Arc::clone(&group);
            unanswered.insert(Waiting { group, place })
        });
        Ok(Sent {
            tickets: tickets.collect(),
            unanswered: Arc::clone(&self.unanswered),
            group,
        })
    }

    async fn send(&self, sent: &mut Sent, place: usize, message: Message) {
        let ticket = sent.tickets[place];
        let reply = format!("{}.{}", self.inbox, ticket.to_token());
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, message.id);
        let Message { subject, body, .. } = message;
        let published = self
            .client
            .publish_with_reply_and_headers(subject, reply, headers, body)
            .await;
        let Err(error) = published else {
            return;
        };
        let outcome = match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Outcome::TooLarge,
            _ => Outcome::Answered(PublishAnswer::NotNow(error.to_string())),
        };
        // The answer cannot have arrived before the message was sent.
        if locked(&self.unanswered).remove(ticket).is_some() {
            sent.group.settle(place, outcome);
        }
    }
}

/// A pending group; dropping it ends the wait for its messages.
struct Sent {
    tickets: Vec<Ticket>,
    unanswered: Arc<Mutex<Tickets<Waiting>>>,
    group: Arc<Group>,
}

impl Drop for Sent {
    fn drop(&mut self) {
        let mut unanswered = locked(&self.unanswered);
        for ticket in &self.tickets {
            unanswered.remove(*ticket);
        }
    }
}

async fn take_answers(mut answers: Subscriber, unanswered: Arc<Mutex<Tickets<Waiting>>>) {
    while let Some(message) = answers.next().await {
        let ticket = Ticket::from_subject(&message.subject);
        let waiting = ticket.and_then(|ticket| locked(&unanswered).remove(ticket));
        match waiting {
            Some(Waiting { group, place }) => {
                group.settle(place, Outcome::Answered(PublishAnswer::parse(&message)));
            }
            None => debug!("An answer of JetStream came too late"),
        }
    }
}

/// Locks a mutex. No code panics while it holds the lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
