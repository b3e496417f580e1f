//! `dead-letters purge`.

use std::io::{self, BufRead, IsTerminal, Write};

use async_nats::jetstream::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::dead_letter::{Letters, LettersError};

use super::select::{Chosen, Found};
use super::{DeadLettersError, PurgeArgs, Selection, list};

/// Removals under way at once.
const REMOVALS: usize = 64;

/// Removes letters, once that is confirmed.
pub(super) async fn purge(
    args: &PurgeArgs,
    letters: &Letters,
    context: &Context,
) -> Result<(), DeadLettersError> {
    if args.dry_run {
        let count = list::table(letters, &args.selection).await?;
        println!("would remove {count} letters");
        return Ok(());
    }
    if !args.yes {
        confirm(&args.selection, letters)?;
    }
    if args.selection.is_everything() {
        let messages = at_once(letters, context).await?;
        println!(
            "removed {messages} messages of the stream {}",
            letters.stream()
        );
        return Ok(());
    }
    let count = one_by_one(&args.selection, letters).await?;
    println!("removed {count} letters");
    Ok(())
}

fn confirm(selection: &Selection, letters: &Letters) -> Result<(), DeadLettersError> {
    if !io::stdin().is_terminal() {
        return Err(DeadLettersError::NotConfirmed);
    }
    let which = if selection.is_everything() {
        "every dead letter"
    } else {
        "the chosen dead letters (--dry-run shows them)"
    };
    print!(
        "Remove {which} of stream {} for good? [y/N] ",
        letters.stream()
    );
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(DeadLettersError::Declined),
    }
}

/// Lets the server remove all letters that were there when the stream was opened; returns how
/// many messages that were.
async fn at_once(letters: &Letters, context: &Context) -> Result<u64, DeadLettersError> {
    let failed = |source| DeadLettersError::Purge {
        stream: letters.stream().to_owned(),
        source,
    };
    let stream = context.get_stream_no_info(letters.stream()).await;
    let stream = stream.map_err(|error| {
        failed(async_nats::jetstream::stream::PurgeError::with_source(
            async_nats::jetstream::stream::PurgeErrorKind::Request,
            error,
        ))
    })?;
    let purge = stream.purge().sequence(letters.last_sequence() + 1);
    Ok(purge.await.map_err(failed)?.purged)
}

async fn one_by_one(selection: &Selection, letters: &Letters) -> Result<u64, LettersError> {
    let mut chosen = Chosen::new(letters, selection);
    let mut removals = FuturesUnordered::new();
    let mut intents = Vec::new();
    let mut count = 0;
    loop {
        while removals.len() < REMOVALS
            && let Some(found) = chosen.next().await?
        {
            match found {
                // One for each letter whose replay did not end: a few, which may now be of no use.
                Found::Intent { sequence, letter } => intents.push((sequence, letter)),
                found => removals.push(remove(letters, found)),
            }
        }
        match removals.next().await {
            Some(removed) => count += u64::from(removed?),
            None => break,
        }
    }
    for (sequence, letter) in intents {
        let removed = letters.remove_intent_without_letter(sequence, letter);
        removed.await?;
    }
    Ok(count)
}

/// Removes what was found; `true` for a letter, `false` for what had no letter any more.
async fn remove(letters: &Letters, found: Found) -> Result<bool, LettersError> {
    match found {
        Found::Letter(head) => letters.remove(&head).await,
        Found::LaterPart(part) => {
            letters.remove_orphan(part.sequence, &part.head).await?;
            Ok(false)
        }
        Found::Intent { .. } => Ok(false),
    }
}
