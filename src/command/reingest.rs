//! `risksignal reingest`: inserts messages again that a restored table lacks.

use anyhow::{Result, bail};
use serde_json::json;
use store::Store;

use crate::claiming::{Servers, reopen};
use crate::cli::ReingestArgs;
use crate::command::output::{confirmed, note, print, print_json};
use crate::settings::Settings;

/// Makes running daemons look messages up, and insert those that are stored nowhere.
///
/// # Errors
/// Fails when the user does not confirm, the stream has none of the messages, or a server fails.
pub async fn reingest(args: &ReingestArgs, settings: &Settings) -> Result<()> {
    let store = Store::new(&settings.clickhouse)?;
    let client = jetstream::connect(&settings.nats, "risksignal reingest").await?;
    let context = jetstream::context(&client, &settings.nats);
    let state = Servers::new(&context, &store, settings)
        .stream_info()
        .await?
        .state;
    let stream = &settings.stream.name;
    let first = args.from.max(state.first_sequence);
    let last = args.to.unwrap_or(u64::MAX).min(state.last_sequence);
    if first > last {
        bail!(
            "stream {stream} has messages {} to {}, none of which were requested",
            state.first_sequence,
            state.last_sequence
        );
    }
    if first > args.from {
        note(format_args!(
            "stream {stream} no longer has messages below {first}; those cannot be inserted again"
        ));
    }
    if !args.yes {
        confirm(stream, first, last)?;
    }
    reopen(&context, &store, settings, first..=last, |seconds| {
        note(format_args!(
            "waiting up to {seconds} s by ClickHouse's clock, until no earlier insert can land"
        ));
    })
    .await?;
    if args.json {
        let document = json!({ "stream": stream, "first_seq": first, "last_seq": last });
        return Ok(print_json(&document)?);
    }
    print(format_args!(
        "messages {first} to {last} of stream {stream} are in doubt now; running daemons look them up, and insert those that neither the table nor the dead letters have"
    ))?;
    Ok(())
}

fn confirm(stream: &str, first: u64, last: u64) -> Result<()> {
    let question = format_args!(
        "Insert messages {first} to {last} of stream {stream} again if the table lacks them? Rows that were erased on purpose come back."
    );
    match confirmed(question)? {
        Some(true) => Ok(()),
        Some(false) => bail!("nothing was changed"),
        None => bail!(
            "nothing was changed; rows that were erased on purpose come back, and there is no terminal for a confirmation, so give --yes"
        ),
    }
}
