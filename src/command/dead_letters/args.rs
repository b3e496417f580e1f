//! The arguments of `risksignal dead-letters`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::fault_point::FaultPoints;

/// What to do with the dead letters.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadLettersCommand {
    /// List letters, the oldest first
    List(ListArgs),
    /// Show one letter: what is known of it, its headers and its body
    Show(ShowArgs),
    /// Publish letters to their original subjects again, and remove them
    #[command(
        after_help = "A letter is removed once JetStream has acknowledged its publish. A message that dies again\nbecomes a new letter that keeps the time first seen, the attempts and the earlier reasons.\nA replay that was interrupted may be repeated at any time: what it had published is found."
    )]
    Replay(ReplayArgs),
    /// Remove letters for good
    Purge(PurgeArgs),
    /// Write letters with headers and bodies as JSON, one object a line
    #[command(
        after_help = "A body that is UTF-8 is in \"body\", any other in \"body_base64\". Nothing is removed."
    )]
    Export(ExportArgs),
}

/// Which letters. Without any of these: all.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which letters")]
pub struct Selection {
    /// Letters with these sequences, such as 1,5-9
    #[arg(long, value_name = "SEQS", value_delimiter = ',', value_parser = sequences)]
    pub seq: Vec<RangeInclusive<u64>>,

    /// Letters with this reason, such as not_json; several are separated by commas
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    pub reason: Vec<String>,

    /// Letters whose original subject matches, such as signals.transaction, signals.* or
    /// signals.>
    #[arg(long, value_name = "PATTERN", value_parser = subject)]
    pub subject: Option<String>,

    /// Letters written from then on: RFC 3339, or a duration ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<OffsetDateTime>,

    /// Letters written until then: RFC 3339, or a duration ago such as 30m
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<OffsetDateTime>,

    /// So many letters at most, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

impl Selection {
    /// Whether it leaves out no letter.
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

    /// One JSON object a line, for programs
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dead-letters show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The letter's sequence, as the list shows it
    #[arg(value_name = "SEQ")]
    pub sequence: u64,

    /// Only the body, byte for byte
    #[arg(long)]
    pub raw: bool,

    /// One JSON object, as in an export
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
}

/// Arguments of `dead-letters replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would show it.
    pub selection: Selection,

    /// Every letter; needed when nothing narrows the choice
    #[arg(long)]
    pub all: bool,

    /// Tell which letters would be replayed, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Letters a second; 0 is as fast as the server takes them
    #[arg(long, value_name = "R", default_value_t = 0)]
    pub rate: u64,

    /// Publish also those letters of which it cannot be told whether an interrupted replay has
    /// published them, since the stream has lost messages: they may then be there twice
    #[arg(long)]
    pub again: bool,

    /// Where a test stops the process, such as replay-published.
    #[cfg(feature = "fault-points")]
    #[arg(long, hide = true)]
    pub fault_point: Option<FaultPoints>,
}

impl ReplayArgs {
    /// Where a test stops the process; nowhere but in a test.
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

    /// Do not ask; needed where there is no terminal to ask on
    #[arg(long)]
    pub yes: bool,

    /// Tell which letters would be removed, and remove none
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `dead-letters export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// The file to write, which must not exist; - is standard output
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

/// A subject in which `*` stands for a token and a last `>` for one or more.
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

/// RFC 3339, or how long ago.
fn moment(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time);
    }
    let ago = text.strip_suffix("ago").unwrap_or(text).trim();
    humantime::parse_duration(ago)
        .ok()
        .and_then(|ago: Duration| {
            let ago = time::Duration::try_from(ago).ok()?;
            OffsetDateTime::now_utc().checked_sub(ago)
        })
        .ok_or_else(|| {
            "must be a time such as 2026-11-24T18:00:00Z, or a duration ago such as 2h".to_owned()
        })
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
        assert!(moment("yesterday").is_err());
    }
}
