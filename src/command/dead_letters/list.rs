//! `dead-letters list`.

use std::io::{self, Write};

use jetstream::dead_letter::{DeadLetterHead, DeadLetterStream};

use super::json::HeadJson;
use super::newest::newest;
use super::output::{self, StandardOutput, TextTable, harmless};
use super::select::Chosen;
use super::{DeadLettersError, ListArgs, Selection};

const HEADINGS: [&str; 7] = [
    "SEQ", "TIME", "REASON", "SUBJECT", "ATTEMPTS", "BYTES", "ERROR",
];

/// A list on standard output.
pub(super) enum Listing {
    /// A table, for people.
    Table(TextTable<StandardOutput>),
    /// One object a line, for programs.
    Json(StandardOutput),
}

impl Listing {
    /// Creates an empty list.
    pub fn new(is_json: bool) -> Self {
        let out = output::standard();
        match is_json {
            true => Self::Json(out),
            false => Self::Table(TextTable::new(out, output::columns(), &HEADINGS)),
        }
    }

    /// Adds a dead letter.
    pub fn add(&mut self, head: &DeadLetterHead) -> io::Result<()> {
        match self {
            Self::Table(table) => table.row(row(head)),
            Self::Json(out) => {
                serde_json::to_writer(&mut *out, &HeadJson::from(head)).map_err(io::Error::from)?;
                writeln!(out)
            }
        }
    }

    /// Writes the dead letters so far.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Table(table) => table.flush(),
            Self::Json(out) => out.flush(),
        }
    }
}

/// Lists dead letters as a table, or as JSON.
pub(super) async fn list(
    args: &ListArgs,
    letters: &DeadLetterStream,
) -> Result<(), DeadLettersError> {
    let mut listing = Listing::new(args.json);
    let count = match args.newest {
        None => add_chosen(&mut listing, letters, &args.selection).await?,
        Some(most) => {
            let heads = newest(letters, &args.selection, most).await?;
            heads.iter().try_for_each(|head| listing.add(head))?;
            heads.len() as u64
        }
    };
    if count > 0 {
        listing.flush()?;
    } else if !args.json {
        let stream = letters.stream();
        output::note(format_args!("no dead letters match in stream {stream}"));
    }
    Ok(())
}

/// Returns the number of selected dead letters for JSON output, or else writes a table of them too.
pub(super) async fn preview(
    letters: &DeadLetterStream,
    selection: &Selection,
    is_json: bool,
) -> Result<u64, DeadLettersError> {
    if !is_json {
        let mut listing = Listing::new(false);
        let count = add_chosen(&mut listing, letters, selection).await?;
        if count > 0 {
            listing.flush()?;
        }
        return Ok(count);
    }
    let mut chosen = Chosen::new(letters, selection);
    let mut count = 0;
    while chosen.next_letter().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Adds the selected dead letters, and returns their number.
pub(super) async fn add_chosen(
    listing: &mut Listing,
    letters: &DeadLetterStream,
    selection: &Selection,
) -> Result<u64, DeadLettersError> {
    let mut chosen = Chosen::new(letters, selection);
    let mut count = 0;
    while let Some(head) = chosen.next_letter().await? {
        listing.add(&head)?;
        count += 1;
    }
    Ok(count)
}

fn row(head: &DeadLetterHead) -> Vec<String> {
    vec![
        head.sequence.to_string(),
        output::time(head.time),
        harmless(&head.reason),
        harmless(&head.subject),
        head.attempts.to_string(),
        head.bytes.unwrap_or_default().to_string(),
        harmless(&head.error),
    ]
}
