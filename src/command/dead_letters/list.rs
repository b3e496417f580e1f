//! `dead-letters list`.

use std::io::Write;

use crate::dead_letter::{Head, Letters};

use super::json::HeadJson;
use super::output::{self, Table, harmless};
use super::select::Chosen;
use super::{DeadLettersError, ListArgs, Selection};

const HEADINGS: [&str; 7] = [
    "SEQ", "TIME", "REASON", "SUBJECT", "ATTEMPTS", "BYTES", "ERROR",
];

/// Lists letters as a table, or as JSON.
pub(super) async fn list(args: &ListArgs, letters: &Letters) -> Result<(), DeadLettersError> {
    if args.json {
        let mut out = output::standard();
        let mut chosen = Chosen::new(letters, &args.selection);
        while let Some(head) = chosen.next_letter().await? {
            serde_json::to_writer(&mut out, &HeadJson::from(&head))
                .map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        return Ok(out.flush()?);
    }
    let count = table(letters, &args.selection).await?;
    if count == 0 {
        eprintln!("no dead letters match in stream {}", letters.stream());
    }
    Ok(())
}

/// Writes a table of the chosen letters and returns how many there are.
pub(super) async fn table(
    letters: &Letters,
    selection: &Selection,
) -> Result<u64, DeadLettersError> {
    let mut table = Table::new(output::standard(), output::columns(), &HEADINGS);
    let mut chosen = Chosen::new(letters, selection);
    let mut count = 0;
    while let Some(head) = chosen.next_letter().await? {
        table.row(row(&head))?;
        count += 1;
    }
    if count > 0 {
        table.finish()?;
    }
    Ok(count)
}

fn row(head: &Head) -> Vec<String> {
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
