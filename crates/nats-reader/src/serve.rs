//! One connection, from its login to its end: reads, writes and pings.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::dial::Link;
use crate::error::{Ended, ServerError, ServerErrorKind};
use crate::inbox::Queue;
use crate::incoming::{Control, Incoming};
use crate::info::Info;
use crate::message::Message;
use crate::options::Options;
use crate::server::{Address, Pool};
use crate::shared::Shared;
use crate::stream::Stream;

/// Pings after which a server that has sent nothing meanwhile is lost.
const PINGS_MAX: u64 = 2;

/// Signs of life of the server.
#[derive(Debug, Default)]
struct Life {
    /// It has sent something since the last ping.
    is_heard: AtomicBool,
    /// Its bytes wait for room in an inbox.
    is_kept_waiting: AtomicBool,
}

/// Moves bytes until the connection ends. Cancelled, it may have written a part of an operation.
pub async fn serve(link: Link, shared: &Shared, options: &Options, pool: &mut Pool) -> Ended {
    let (from_server, to_server) = split(link.stream);
    let life = Life::default();
    let mut reading = Reading {
        server: link.server,
        incoming: link.incoming,
        shared,
        options,
        pool,
        life: &life,
    };
    reading.take_info(link.info);
    for control in link.controls {
        if let Err(ended) = reading.control(control) {
            return ended;
        }
    }
    let ended = tokio::select! {
        ended = reading.run(from_server) => ended,
        ended = write(to_server, shared) => ended,
        ended = ping(shared, &life, options.ping_interval) => ended,
    };
    match ended {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

/// The reading half of a connection.
struct Reading<'a> {
    server: Address,
    incoming: Incoming,
    shared: &'a Shared,
    options: &'a Options,
    pool: &'a mut Pool,
    life: &'a Life,
}

impl Reading<'_> {
    async fn run(&mut self, mut from: ReadHalf<Stream>) -> Result<Infallible, Ended> {
        let (mut messages, mut controls) = (Vec::new(), Vec::new());
        loop {
            // What was read with the login is parsed already.
            if from.read_buf(self.incoming.buffer()).await? == 0 {
                return Err(Ended::Closed);
            }
            self.life.is_heard.store(true, Ordering::Relaxed);
            let parsed = self.incoming.parse(&mut messages, &mut controls);
            let full = self.hand_on(&mut messages);
            for control in controls.drain(..) {
                self.control(control)?;
            }
            parsed?;
            if let Some(queue) = full {
                self.life.is_kept_waiting.store(true, Ordering::Relaxed);
                queue.room(self.options.inbox_max).await;
                self.life.is_kept_waiting.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Adds messages to their inboxes; returns one that holds too much.
    fn hand_on(&self, messages: &mut Vec<(u64, Message)>) -> Option<Arc<Queue>> {
        let mut full = None;
        let mut rest = messages.drain(..).peekable();
        while let Some((sid, _)) = rest.peek() {
            let sid = *sid;
            let of_sid = std::iter::from_fn(|| rest.next_if(|(next, _)| *next == sid));
            let of_sid = of_sid.map(|(_, message)| message);
            let found = self.shared.lock().inboxes.find(sid);
            match found {
                Some(queue) => {
                    if queue.add(of_sid) > self.options.inbox_max {
                        full = Some(queue);
                    }
                }
                // They were on their way when the inbox was closed.
                None => of_sid.for_each(drop),
            }
        }
        full
    }

    fn control(&mut self, control: Control) -> Result<(), Ended> {
        match control {
            Control::Ping => {
                self.shared.lock().outgoing.pong();
                self.shared.to_write.notify_one();
            }
            Control::Pong => self.shared.pong(),
            Control::Info(json) => self.take_info(Info::parse(&json).ok_or(Ended::Info)?),
            Control::Error(words) => {
                let error = ServerError::new(words);
                if error.kind != ServerErrorKind::Request {
                    return Err(Ended::Server(error));
                }
                self.options.reports.refused(&error);
            }
        }
        Ok(())
    }

    fn take_info(&mut self, info: Info) {
        self.shared.set_max_payload(info.max_payload);
        self.pool.discovered(&info.connect_urls, &self.server);
        if info.is_leaving {
            // It closes the connection when it has handed its streams on. Until then it is as good
            // as any other, and leaving it at once would only have more messages delivered again.
            self.pool.leaving(&self.server);
            self.options.reports.leaving(&self.server);
        }
    }
}

/// Writes what waits, all in one piece.
async fn write(mut to: WriteHalf<Stream>, shared: &Shared) -> Result<Infallible, Ended> {
    let mut bytes = Vec::new();
    loop {
        shared.lock().outgoing.take(&mut bytes);
        if bytes.is_empty() {
            shared.to_write.notified().await;
            continue;
        }
        shared.changed.notify_waiters();
        to.write_all(&bytes).await?;
        to.flush().await?;
    }
}

/// Pings the server, and ends when it shows no sign of life.
async fn ping(shared: &Shared, life: &Life, interval: Duration) -> Result<Infallible, Ended> {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pings = 0;
    loop {
        ticks.tick().await;
        let is_heard = life.is_heard.swap(false, Ordering::Relaxed);
        pings = match is_heard || life.is_kept_waiting.load(Ordering::Relaxed) {
            true => 0,
            false => pings + 1,
        };
        if pings > PINGS_MAX {
            return Err(Ended::Stale);
        }
        shared.lock().outgoing.ping();
        shared.to_write.notify_one();
    }
}
