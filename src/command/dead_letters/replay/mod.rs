//! `dead-letters replay`.

mod once;
mod search;

use std::io;
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jetstream::dead_letter::{DeadLetterStream, DeadLetterStreamError};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::command::produce::RateLimiter;

use super::output::{print, print_json};
use super::select::{Chosen, Selected};
use super::{DeadLettersError, ReplayArgs, list};

use once::{NotReplayed, Replays};

/// Concurrent replays; each dead letter is held in memory completely.
const WINDOW: usize = 16;
/// Interval of checking the rate.
const TICK: Duration = Duration::from_millis(5);

/// Results of the replays so far.
#[derive(Debug, Default)]
struct Counts {
    chosen: u64,
    replayed: u64,
    gone: u64,
    failed: u64,
}

/// Publishes dead letters again and removes them.
pub(super) async fn replay(
    args: &ReplayArgs,
    letters: &DeadLetterStream,
    context: &Context,
    stream: &str,
    shutdown: &CancellationToken,
) -> Result<(), DeadLettersError> {
    if args.dry_run {
        let count = list::preview(letters, &args.selection, args.json).await?;
        return Ok(match args.json {
            true => print_json(&json!({ "would_replay": count })),
            false => print(format_args!("would replay {count} dead letters")),
        }?);
    }
    let mut chosen = Chosen::new(letters, &args.selection);
    let mut counts = Counts::default();
    let mut pace = RateLimiter::new(args.rate, Instant::now());
    let faults = args.fault_points();
    let once = Replays::new(letters, context, stream, args.again, WINDOW, faults).await?;
    let mut replays = FuturesUnordered::new();
    while !shutdown.is_cancelled() {
        pace.grant(Instant::now());
        if !pace.allows() {
            tokio::select! {
                Some(replayed) = replays.next(), if !replays.is_empty() => counts.add(replayed),
                () = sleep(TICK) => {}
            }
            continue;
        }
        match chosen.next().await? {
            None => break,
            Some(Selected::LaterPart(part)) => {
                letters.remove_orphan(part.sequence, &part.head).await?;
            }
            Some(Selected::Intent { sequence, letter }) => {
                let removed = letters.remove_intent_without_letter(sequence, letter);
                removed.await?;
            }
            Some(Selected::Letter(letter)) => {
                pace.spend();
                counts.chosen += 1;
                replays.push(once.one(letter.head));
            }
        }
        while replays.len() >= WINDOW
            && let Some(replayed) = replays.next().await
        {
            counts.add(replayed);
        }
    }
    while let Some(replayed) = replays.next().await {
        counts.add(replayed);
    }
    counts.print(args.json)?;
    counts.verdict(shutdown.is_cancelled())
}

impl Counts {
    fn add(&mut self, (sequence, replayed): (u64, Result<(), NotReplayed>)) {
        match replayed {
            Ok(()) => self.replayed += 1,
            Err(NotReplayed::Letters(DeadLetterStreamError::NoLetter { .. })) => self.gone += 1,
            Err(error) => {
                error!(letter = sequence, %error, "Dead letter not replayed; it stays in the stream");
                self.failed += 1;
            }
        }
    }

    fn print(&self, is_json: bool) -> io::Result<()> {
        let Self {
            replayed,
            gone,
            failed,
            ..
        } = self;
        if is_json {
            let counts = json!({ "replayed": replayed, "gone": gone, "failed": failed });
            return print_json(&counts);
        }
        print(format_args!("replayed {replayed} dead letters"))?;
        if *gone > 0 {
            print(format_args!("{gone} were replayed or removed by others"))?;
        }
        Ok(())
    }

    /// Returns an error if some of the work is left.
    fn verdict(&self, stopped: bool) -> Result<(), DeadLettersError> {
        if self.failed > 0 {
            return Err(DeadLettersError::NotAllReplayed {
                failed: self.failed,
                chosen: self.chosen,
            });
        }
        match stopped {
            true => Err(DeadLettersError::Stopped),
            false => Ok(()),
        }
    }
}
