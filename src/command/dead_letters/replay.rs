//! `dead-letters replay`.

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::backoff::Backoff;
use crate::command::produce::Pace;
use crate::dead_letter::{Head, Letters, LettersError, Whole};

use super::select::{Chosen, Found};
use super::{DeadLettersError, ReplayArgs, list};

/// Letters under way at once; each is held in memory whole.
const WINDOW: usize = 16;
/// How often the pace is looked at.
const TICK: Duration = Duration::from_millis(5);
/// Longest line of the protocol, after its verb, that nats-server takes by default.
const CONTROL_LINE_BYTES_MAX: usize = 4096;
/// The lengths of headers and message in such a line, and what is between.
const LENGTHS_BYTES_MAX: usize = 24;
/// Tries of one publish.
const TRIES: u32 = 5;

/// Why one letter stays where it is.
#[derive(Debug, thiserror::Error)]
enum NotReplayed {
    #[error(transparent)]
    Letters(#[from] LettersError),
    #[error("its headers do not name the original subject, so this program did not write it")]
    NoSubject,
    #[error(
        "with the headers of a replay it is larger than the server takes: {0}; raise max_payload for the time of the replay, or export it"
    )]
    TooLarge(PublishError),
    #[error(
        "its subject has {bytes} bytes, and the server's lines (max_control_line, 4 KiB by default) have room for {max} in a publish that is answered; export it"
    )]
    LongSubject {
        /// Bytes of the subject.
        bytes: usize,
        /// Bytes that there is room for.
        max: usize,
    },
    #[error("JetStream did not take it on {subject}: {source}")]
    Publish {
        subject: String,
        source: PublishError,
    },
}

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
            Some(Found::Letter(head)) => {
                pace.spend();
                counts.chosen += 1;
                replays.push(one(head, letters, context));
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

/// Replays one letter: publishes it, and removes it once that is acknowledged.
async fn one(head: Head, letters: &Letters, context: &Context) -> (u64, Result<(), NotReplayed>) {
    let replayed = async {
        let letter = letters.whole(head.sequence).await?;
        publish(&letter, letters, context).await?;
        letters.remove_sequences(&letter.sequences).await?;
        Ok(())
    };
    (head.sequence, replayed.await)
}

/// Refuses a subject over which the server would close the connection, and with it fail every
/// other replay.
fn check_subject(subject: &str, context: &Context) -> Result<(), NotReplayed> {
    // The subject of an answer is an inbox with one more token of the same length as its own.
    let inbox = context.client().new_inbox();
    let token = inbox.rsplit('.').next().map_or(0, str::len) + 1;
    let max = CONTROL_LINE_BYTES_MAX.saturating_sub(inbox.len() + token + LENGTHS_BYTES_MAX);
    if subject.len() <= max {
        return Ok(());
    }
    Err(NotReplayed::LongSubject {
        bytes: subject.len(),
        max,
    })
}

async fn publish(letter: &Whole, letters: &Letters, context: &Context) -> Result<(), NotReplayed> {
    let Whole { head, body, .. } = letter;
    if head.subject.is_empty() {
        return Err(NotReplayed::NoSubject);
    }
    check_subject(&head.subject, context)?;
    // The letter's own id: a replay that is repeated is a duplicate, one that died again and
    // became another letter is not.
    let id = format!(
        "replay-{}-{}-{}",
        letters.stream(),
        letters.created_ns(),
        head.sequence
    );
    let headers = head.replay_headers(&body.headers, &id);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut tries = 0;
    loop {
        let publish = async {
            let subject = head.subject.clone();
            context
                .publish_with_headers(subject, headers.clone(), body.bytes.clone())
                .await?
                .await
        };
        let source = match publish.await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        tries += 1;
        match source.kind() {
            PublishErrorKind::MaxPayloadExceeded => return Err(NotReplayed::TooLarge(source)),
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe if tries < TRIES => {
                warn!(letter = head.sequence, error = %source, "No answer to a replay; it is published again");
                sleep(backoff.pause()).await;
            }
            _ => {
                return Err(NotReplayed::Publish {
                    subject: head.subject.clone(),
                    source,
                });
            }
        }
    }
}
