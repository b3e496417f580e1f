//! `dead-letters show`.

use std::io::{self, Write};

use jetstream::dead_letter::{DeadLetterStream, WholeDeadLetter};

use super::json::{WholeJson, sorted};
use super::output::{self, harmless, harmless_lines};
use super::{DeadLettersError, ShowArgs};

/// Shows one dead letter.
pub(super) async fn show(
    args: &ShowArgs,
    letters: &DeadLetterStream,
) -> Result<(), DeadLettersError> {
    let head = letters.head(args.sequence).await?;
    let letter = letters.whole(head.sequence).await?;
    let mut out = output::standard();
    if args.raw {
        out.write_all(&letter.body.bytes)?;
    } else if args.json {
        serde_json::to_writer(&mut out, &WholeJson::from(&letter)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write(&mut out, &letter)?;
    }
    Ok(out.flush()?)
}

fn write(out: &mut impl Write, letter: &WholeDeadLetter) -> io::Result<()> {
    let head = &letter.head;
    let mut replays = head.replays.to_string();
    if !head.earlier_reasons.is_empty() {
        replays += &format!(", earlier reasons: {}", head.earlier_reasons.join(", "));
    }
    let parts = match letter.sequences.as_slice() {
        [_] => String::new(),
        sequences => format!(", in {} parts", sequences.len()),
    };
    for (name, value) in [
        ("Letter", format!("{}{parts}", head.sequence)),
        ("Written", output::time(head.time)),
        ("Reason", head.reason.clone()),
        ("Error", head.error.clone()),
        ("Subject", head.subject.clone()),
        (
            "Stream",
            format!("{}, sequence {}", head.stream, head.stream_sequence),
        ),
        ("Published", head.published.clone()),
        ("First seen", head.first_seen.clone()),
        ("Attempts", head.attempts.to_string()),
        ("Replays", replays),
        ("Version", head.version.clone()),
    ] {
        writeln!(out, "{name:<11} {}", harmless(&value))?;
    }
    writeln!(out, "\nHeaders")?;
    let headers = sorted(&letter.body.headers);
    if headers.is_empty() {
        writeln!(out, "  none")?;
    }
    for (name, values) in headers {
        for value in values {
            writeln!(out, "  {}: {}", harmless(&name), harmless(value))?;
        }
    }
    let bytes = &letter.body.bytes;
    let text = String::from_utf8_lossy(bytes);
    let note = match std::str::from_utf8(bytes) {
        Ok(_) => "",
        Err(_) => ", not UTF-8; --raw gives every byte",
    };
    writeln!(out, "\nBody ({} bytes{note})", bytes.len())?;
    writeln!(out, "{}", harmless_lines(&text))
}
