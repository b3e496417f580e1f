//! `dead-letters replay`.

mod once;
mod search;

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::command::produce::Pace;
use crate::dead_letter::{Letters, LettersError};

use super::select::{Chosen, Found};
use super::{DeadLettersError, ReplayArgs, list};
use once::{NotReplayed, Replays};

/// Letters under way at once; each is held in memory whole.
const WINDOW: usize = 16;
/// How often the pace is looked at.
const TICK: Duration = Duration::from_millis(5);

/// What has become of the letters so far.
#[derive(Debug, Default)]
struct Counts {
    chosen: u64,
    replayed: u64,
    gone: u64,
    failed: u64,
}

/// Publishes letters again and removes them.
pub(super) async fn replay(
    args: &ReplayArgs,
    letters: &Letters,
    context: &Context,
    stream: &str,
    shutdown: &CancellationToken,
) -> Result<(), DeadLettersError> {
    if args.dry_run {
        let count = list::table(letters, &args.selection).await?;
        println!("would replay {count} letters");
        return Ok(());
    }
    let mut chosen = Chosen::new(letters, &args.selection);
    let mut counts = Counts::default();
    let mut pace = Pace::new(args.rate, Instant::now());
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
            Some(Found::LaterPart(part)) => {
                letters.remove_orphan(part.sequence, &part.head).await?;
            }
            Some(Found::Intent { sequence, letter }) => {
                let removed = letters.remove_intent_without_letter(sequence, letter);
                removed.await?;
            }
            Some(Found::Letter(head)) => {
                pace.spend();
                counts.chosen += 1;
                replays.push(once.one(head));
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
    counts.tell(shutdown.is_cancelled())
}

impl Counts {
    fn add(&mut self, (sequence, replayed): (u64, Result<(), NotReplayed>)) {
        match replayed {
            Ok(()) => self.replayed += 1,
            Err(NotReplayed::Letters(LettersError::NoLetter { .. })) => self.gone += 1,
            Err(error) => {
                error!(letter = sequence, %error, "Letter not replayed; it stays where it is");
                self.failed += 1;
            }
        }
    }

    fn tell(&self, stopped: bool) -> Result<(), DeadLettersError> {
        println!("replayed {} letters", self.replayed);
        if self.gone > 0 {
            println!("{} were replayed or removed by others", self.gone);
        }
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
