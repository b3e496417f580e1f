//! Publishes some messages at once and waits until JetStream has answered for each.

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

use super::{Answer, Ticket, Tickets};

/// A message to publish.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub subject: String,
    /// What JetStream recognises it by.
    pub id: HeaderValue,
    pub body: Bytes,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// JetStream has answered.
    Answered(Answer),
    /// The server takes no message of this size.
    TooLarge,
    /// No answer came in time. JetStream may have it all the same.
    Unanswered,
}

/// Why none of the messages was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPublished {
    /// There is no connection to NATS.
    Away,
    /// Too many messages wait for their answer.
    Busy,
}

/// Publishes on one connection, with a bounded number of messages unanswered.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    client: Client,
    inbox: String,
    unanswered: Arc<Mutex<Tickets<Waiting>>>,
    unanswered_max: usize,
    timeout: Duration,
}

/// A message without an answer.
#[derive(Debug)]
struct Waiting {
    group: Arc<Group>,
    place: usize,
}

/// The messages that are published together.
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
    /// A publisher with at most `unanswered_max` messages unanswered, each of which is given up
    /// when its answer takes longer than `timeout`.
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

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Publishes all of them, in their order, and tells what became of each.
    ///
    /// # Errors
    /// When none is published.
    pub async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Outcome>, NotPublished> {
        // Without one the client would queue them, and send them who knows when.
        if !self.is_connected() {
            return Err(NotPublished::Away);
        }
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut sent = self.enter(messages.len())?;
        let deadline = Instant::now() + self.timeout;
        // An error means that the time is over; what has no answer is unanswered.
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

    /// Takes room for a group.
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
            _ => Outcome::Answered(Answer::NotNow(error.to_string())),
        };
        // The answer cannot have come before it was sent.
        if locked(&self.unanswered).remove(ticket).is_some() {
            sent.group.settle(place, outcome);
        }
    }
}

/// A group that waits; its messages are not waited for any more when this is dropped.
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
                group.settle(place, Outcome::Answered(Answer::of(&message)));
            }
            None => debug!("An answer of JetStream came too late"),
        }
    }
}

/// No code panics while it holds a lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
