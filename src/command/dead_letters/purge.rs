//! `dead-letters purge`.

use async_nats::jetstream::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jetstream::dead_letter::{DeadLetterStream, DeadLetterStreamError};
use serde_json::json;

use crate::command::output::confirmed;

use super::output::{print, print_json};
use super::select::{Chosen, Selected};
use super::{DeadLettersError, PurgeArgs, Selection, list};

/// Concurrent removals.
const REMOVALS: usize = 64;

/// Removes dead letters after a confirmation.
pub(super) async fn purge(
    args: &PurgeArgs,
    letters: &DeadLetterStream,
    context: &Context,
) -> Result<(), DeadLettersError> {
    if args.dry_run {
        let count = list::preview(letters, &args.selection, args.json).await?;
        return Ok(match args.json {
            true => print_json(&json!({ "would_remove": count })),
            false => print(format_args!("would remove {count} dead letters")),
        }?);
    }
    if !args.yes {
        confirm(&args.selection, letters)?;
    }
    let is_everything = args.selection.is_everything();
    let removed = match is_everything {
        true => at_once(letters, context).await?,
        false => one_by_one(&args.selection, letters).await?,
    };
    if args.json {
        return Ok(print_json(&json!({ "removed": removed }))?);
    }
    Ok(match is_everything {
        true => print(format_args!(
            "removed {removed} messages from stream {}",
            letters.stream()
        )),
        false => print(format_args!("removed {removed} dead letters")),
    }?)
}

fn confirm(selection: &Selection, letters: &DeadLetterStream) -> Result<(), DeadLettersError> {
    let which = if selection.is_everything() {
        "every dead letter"
    } else {
        "the selected dead letters (--dry-run shows them)"
    };
    let stream = letters.stream();
    let question = format_args!("Remove {which} from stream {stream} for good?");
    match confirmed(question)? {
        Some(true) => Ok(()),
        Some(false) => Err(DeadLettersError::Declined),
        None => Err(DeadLettersError::NotConfirmed),
    }
}

/// Lets the server remove all dead letters that the stream had at opening; returns the number of
/// removed messages.
async fn at_once(letters: &DeadLetterStream, context: &Context) -> Result<u64, DeadLettersError> {
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

async fn one_by_one(
    selection: &Selection,
    letters: &DeadLetterStream,
) -> Result<u64, DeadLetterStreamError> {
    let mut chosen = Chosen::new(letters, selection);
    let mut removals = FuturesUnordered::new();
    let mut intents = Vec::new();
    let mut count = 0;
    loop {
        while removals.len() < REMOVALS
            && let Some(found) = chosen.next().await?
        {
            match found {
                // One for each dead letter whose replay did not end: a few, which may now be
                // obsolete.
                Selected::Intent { sequence, letter } => intents.push((sequence, letter)),
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

/// Removes an item; returns `true` for a dead letter, `false` for an item without one.
async fn remove(
    letters: &DeadLetterStream,
    found: Selected,
) -> Result<bool, DeadLetterStreamError> {
    match found {
        Selected::Letter(letter) => letters.remove(&letter.head).await,
        Selected::LaterPart(part) => {
            letters.remove_orphan(part.sequence, &part.head).await?;
            Ok(false)
        }
        Selected::Intent { .. } => Ok(false),
    }
}
