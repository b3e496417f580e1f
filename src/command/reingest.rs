//! `risksignal reingest`: messages that a restored table lacks land again.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Result, bail};

use crate::claiming::{Servers, reopen};
use crate::cli::ReingestArgs;
use crate::jetstream;
use crate::settings::Settings;
use crate::store::Store;

/// Has running daemons look messages up, and land those that are stored nowhere.
///
/// # Errors
/// When it is not confirmed, the stream has none of the messages, or a server fails.
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
            "stream {stream} has the messages {} to {} and none of those",
            state.first_sequence,
            state.last_sequence
        );
    }
    let mut stdout = io::stdout();
    if first > args.from {
        writeln!(
            stdout,
            "stream {stream} has no message below {first} any more; those cannot land again"
        )?;
    }
    if !args.yes {
        confirm(stream, first, last)?;
    }
    reopen(&context, &store, settings, first..=last, |seconds| {
        println!(
            "waiting up to {seconds} s by ClickHouse's clock, until no insert that is under way can land"
        );
    })
    .await?;
    writeln!(
        stdout,
        "messages {first} to {last} of stream {stream} are in doubt now; running daemons look them up, and land those that neither the table nor the dead letters have"
    )?;
    Ok(())
}

fn confirm(stream: &str, first: u64, last: u64) -> Result<()> {
    if !io::stdin().is_terminal() {
        bail!(
            "nothing was changed; rows that were erased on purpose come back, and there is no terminal to ask on, so give --yes"
        );
    }
    print!(
        "Land messages {first} to {last} of stream {stream} again where the table lacks them? Rows that were erased on purpose come back. [y/N] "
    );
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was changed"),
    }
}
