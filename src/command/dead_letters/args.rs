//! Arguments of `risksignal dead-letters`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use fault_point::FaultPoints;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Most dead letters of `list --newest`, which are held in memory.
const NEWEST_MAX: u64 = 10_000;

/// Subcommands of `risksignal dead-letters`.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadLettersCommand {
    /// List dead letters, the oldest first; or count them, or follow them
    List(ListArgs),
    /// Show one dead letter with its headers and its body
    Show(ShowArgs),
    /// Publish dead letters to their original subjects again, and remove them
    #[command(
        after_help = "Removes a dead letter once JetStream has acknowledged its publish. A message that fails again\nbecomes a new dead letter, which keeps the time first seen, the attempts and the earlier reasons.\nAn interrupted replay may be repeated at any time: it finds the messages that it had published."
    )]
    Replay(ReplayArgs),
    /// Remove dead letters for good
    Purge(PurgeArgs),
    /// Export dead letters with headers and bodies as JSON, one object a line
    #[command(
        after_help = "A body that is UTF-8 is in \"body\", any other in \"body_base64\". Nothing is removed."
    )]
    Export(ExportArgs),
}

/// Selection of dead letters. Without any of these: all.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which letters")]
pub struct Selection {
    /// Sequences of dead letters, such as 1,5-9
    #[arg(long, value_name = "SEQS", value_delimiter = ',', value_parser = sequences)]
    pub seq: Vec<RangeInclusive<u64>>,

    /// Reason, such as not_json; separate several with commas. Any is accepted: other releases have
    /// further ones
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    pub reason: Vec<String>,

    /// Pattern of the original subject, such as signals.transaction, signals.* or signals.>
    #[arg(long, value_name = "PATTERN", value_parser = subject)]
    pub subject: Option<String>,

    /// Earliest write time: RFC 3339, or a duration ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<OffsetDateTime>,

    /// Latest write time: RFC 3339, or a duration ago such as 30m
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<OffsetDateTime>,

    /// Most dead letters to select, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

impl Selection {
    /// Returns true if it selects every dead letter.
    pub fn is_everything(&self) -> bool {
        self.seq.is_empty()
            && self.reason.is_empty()
            && self.subject.is_none()
            && self.since.is_none()
            && self.until.is_none()
            && self.limit.is_none()
    }
}

/// Arguments of `dead-letters list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would show it.
    pub selection: Selection,

    /// Select the newest N, and list the newest first
    #[arg(long, value_name = "N", conflicts_with_all = ["limit", "summary"], value_parser = clap::value_parser!(u64).range(1..=NEWEST_MAX))]
    pub newest: Option<u64>,

    /// Count the dead letters by reason, type and source, with the first and last time
    #[arg(long)]
    pub summary: bool,

    /// Print new dead letters as they come, until Ctrl-C; first those of --newest, oldest first, or
    /// of --since
    #[arg(long, conflicts_with_all = ["limit", "seq", "summary", "until"])]
    pub follow: bool,

    /// Print one JSON object a line, for programs
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dead-letters show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// Sequence of the dead letter, as listed
    #[arg(value_name = "SEQ")]
    pub sequence: u64,

    /// Print only the body, byte for byte
    #[arg(long)]
    pub raw: bool,

    /// Print one JSON object, as in an export
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
}

/// Arguments of `dead-letters replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would show it.
    pub selection: Selection,

    /// Select every dead letter; required without another selection
    #[arg(long)]
    pub all: bool,

    /// List the dead letters that would be replayed, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print one JSON object: replayed, gone (replayed or removed by others) and failed; with
    /// --dry-run would_replay, and no list
    #[arg(long)]
    pub json: bool,

    /// Dead letters per second; 0 is as fast as the server accepts them
    #[arg(long, value_name = "R", default_value_t = 0)]
    pub rate: u64,

    /// Also publish dead letters that an interrupted replay may have published, when the stream has
    /// lost messages and cannot show it: they may then be there twice
    #[arg(long)]
    pub again: bool,

    /// Point at which a test stops the process, such as replay-published.
    #[cfg(feature = "fault-points")]
    #[arg(long, hide = true)]
    pub fault_point: Option<FaultPoints>,
}

impl ReplayArgs {
    /// Returns the points at which a test stops the process; none outside of tests.
    pub fn fault_points(&self) -> FaultPoints {
        #[cfg(feature = "fault-points")]
        return self.fault_point.clone().unwrap_or_default();
        #[cfg(not(feature = "fault-points"))]
        FaultPoints::default()
    }
}

/// Arguments of `dead-letters purge`.
#[derive(Debug, Clone, Args)]
pub struct PurgeArgs {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would show it.
    pub selection: Selection,

    /// Skip the confirmation; required without a terminal
    #[arg(long)]
    pub yes: bool,

    /// List the dead letters that would be removed, and remove none
    #[arg(long)]
    pub dry_run: bool,

    /// Print one JSON object: removed; with --dry-run would_remove, and no list
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dead-letters export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// File to write, which must not exist; - is standard output
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show it.
    pub selection: Selection,
}

fn sequences(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u64>().ok().filter(|number| *number > 0);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err("must be sequences from 1 on, such as 5 or 5-9".to_owned()),
    }
}

/// Parses a subject in which `*` matches one token and a last `>` one or more.
fn subject(pattern: &str) -> Result<String, String> {
    let tokens: Vec<&str> = pattern.split('.').collect();
    let bad = |token: &&str| {
        token.is_empty()
            || token.contains(|c: char| c.is_whitespace() || c.is_control())
            || (token.len() > 1 && token.contains(['*', '>']))
    };
    let ends_early = tokens.iter().rev().skip(1).any(|token| *token == ">");
    if ends_early || tokens.iter().any(bad) {
        return Err(
            "must be a subject: tokens separated by dots, * for any one, > at the end for the rest"
                .to_owned(),
        );
    }
    Ok(pattern.to_owned())
}

/// Parses RFC 3339, or a duration ago.
///
/// # Errors
/// Fails with the expected form.
pub fn moment(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(since_epoch(time));
    }
    let ago = text.strip_suffix("ago").unwrap_or(text).trim();
    humantime::parse_duration(ago)
        .ok()
        .and_then(|ago: Duration| {
            let ago = time::Duration::try_from(ago).ok()?;
            OffsetDateTime::now_utc().checked_sub(ago)
        })
        .map(since_epoch)
        .ok_or_else(|| {
            "must be a time such as 2026-11-24T18:00:00Z, or a duration ago such as 2h".to_owned()
        })
}

/// Bounds a time from below: nats-server counts nanoseconds in 64 bits, and no message is so old.
fn since_epoch(time: OffsetDateTime) -> OffsetDateTime {
    time.max(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_numbers_and_ranges() {
        assert_eq!(sequences("5"), Ok(5..=5));
        assert_eq!(sequences("5-9"), Ok(5..=9));
        for text in ["", "0", "9-5", "-5", "5-", "x"] {
            assert!(sequences(text).is_err(), "{text}");
        }
    }

    #[test]
    fn subjects_are_patterns() {
        for text in ["signals.x", "signals.*", "signals.>", ">", "*.x"] {
            assert!(subject(text).is_ok(), "{text}");
        }
        for text in ["", "signals.", "signals.>.x", "a b", "signals.x*"] {
            assert!(subject(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_times_or_ages() {
        let hour = time::Duration::hours(1);
        for text in ["1h", "1h ago", "60m"] {
            let time = moment(text).unwrap();
            let age = OffsetDateTime::now_utc() - time;
            assert!(age >= hour && age < hour * 1.01, "{text}");
        }
        let time = moment("2026-11-24T18:00:00+02:00").unwrap();
        assert_eq!(time.unix_timestamp(), 1_795_536_000);
        for text in ["400years", "1000-01-01T00:00:00Z"] {
            assert_eq!(moment(text), Ok(OffsetDateTime::UNIX_EPOCH), "{text}");
        }
        assert!(moment("yesterday").is_err());
    }
}
