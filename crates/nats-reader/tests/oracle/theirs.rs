//! Everything that async-nats makes of a server's bytes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerError, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio::task::yield_now;

use crate::peer::Peer;

/// Turns of the other tasks until all effects show. A few are needed.
const TURNS_MAX: usize = 1_000;

/// Events in the order in which they came.
type Events = Arc<Mutex<Vec<Event>>>;

/// A client of async-nats that has subscribed.
pub struct Theirs {
    client: Client,
    subscriber: Subscriber,
    socket: TcpStream,
    events: Events,
    /// Messages of the subscription.
    pub messages: Vec<async_nats::Message>,
    /// It has refused bytes: it closed the connection, or its task panicked.
    pub is_broken: bool,
    pongs: Vec<u8>,
}

/// Other effects of the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Answers to pings.
    pub pongs: usize,
    /// Texts of errors.
    pub errors: Vec<String>,
    /// Announcements that the server shuts down.
    pub lame_ducks: usize,
}

impl Theirs {
    /// Connects, and reads these pieces, each by itself.
    pub async fn read(pieces: &[&[u8]]) -> Self {
        let mut theirs = Self::connect().await;
        let statistics = theirs.client.statistics();
        let read = || statistics.in_bytes.load(Ordering::Relaxed);
        let mut sent = read();
        for piece in pieces {
            sent += piece.len() as u64;
            let mut rest = *piece;
            // A client that has closed the connection reads no more, and its socket is full at some
            // time.
            while !theirs.is_broken && (!rest.is_empty() || read() < sent) {
                if let Some(Ok(written)) = theirs.socket.write(rest).now_or_never() {
                    rest = &rest[written..];
                }
                yield_now().await;
                theirs.take();
            }
        }
        theirs
    }

    async fn connect() -> Self {
        let peer = Peer::start().await;
        let events = Events::default();
        let log = Arc::clone(&events);
        let options = ConnectOptions::new().event_callback(move |event| {
            log.lock().unwrap().push(event);
            std::future::ready(())
        });
        let subscribe = async {
            let client = options.connect(peer.address()).await.unwrap();
            let subscriber = client.subscribe("oracle").await.unwrap();
            (client, subscriber)
        };
        let ((client, subscriber), socket) = tokio::join!(subscribe, peer.accept());
        Self {
            client,
            subscriber,
            socket,
            events,
            messages: Vec::new(),
            is_broken: false,
            pongs: Vec::new(),
        }
    }

    /// Takes the messages that are there.
    fn take(&mut self) {
        while let Some(next) = unconstrained(self.subscriber.next()).now_or_never() {
            let Some(message) = next else {
                // Its task has panicked.
                self.is_broken = true;
                return;
            };
            self.messages.push(message);
        }
        self.is_broken |= self.client.connection_state() != State::Connected;
    }

    /// Returns the other effects. Turns of the other tasks after a flush bound the wait for
    /// `least`, so that a difference shows at once.
    pub async fn effects(&mut self, least: &Effects) -> Effects {
        if !self.is_broken {
            self.client.flush().await.unwrap();
        }
        let mut found = self.found();
        for _ in 0..TURNS_MAX {
            if found.pongs >= least.pongs
                && found.errors.len() >= least.errors.len()
                && found.lame_ducks >= least.lame_ducks
            {
                break;
            }
            yield_now().await;
            let _ = self.socket.try_read_buf(&mut self.pongs);
            found = self.found();
        }
        found
    }

    fn found(&self) -> Effects {
        let mut found = Effects::default();
        for event in self.events.lock().unwrap().iter() {
            match event {
                Event::ServerError(ServerError::Other(text)) => found.errors.push(text.clone()),
                Event::LameDuckMode => found.lame_ducks += 1,
                _ => {}
            }
        }
        let pongs = String::from_utf8_lossy(&self.pongs);
        found.pongs = pongs.matches("PONG\r\n").count();
        found
    }
}
