//! Arguments of `risksignal tap`.

use std::ops::RangeInclusive;

use clap::Args;
use time::OffsetDateTime;

use crate::command::dead_letters::moment;

/// Arguments of `risksignal tap`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct TapArgs {
    /// Event type; repeat it, or separate several with commas
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,

    /// Severity, such as 3, 3-5 or 4- (4 and above)
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = severities)]
    pub severity: Vec<RangeInclusive<i64>>,

    /// Address of a wallet
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub wallet: Vec<String>,

    /// Sender (source_id)
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub source: Vec<String>,

    /// Only messages that cannot become a row
    #[arg(long)]
    pub invalid: bool,

    /// Begin with signals stored since then: RFC 3339, or a duration ago such as 10m. Skips none
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<OffsetDateTime>,

    /// End after this many signals [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Print one JSON object a line, for programs
    #[arg(long)]
    pub json: bool,
}

const HELP: &str = "\
Values of one flag are alternatives; different flags all apply. A type is filtered by the server, by
the subject; the rest here. Reads with a consumer of its own that acknowledges nothing and ends with
the command, so the daemon's consumer never waits for it. A tap that is more than 10,000 messages
behind skips to the newest ones, and prints how many it skipped.";

/// Parses one severity, a range, or a range without an end.
fn severities(text: &str) -> Result<RangeInclusive<i64>, String> {
    let number = |text: &str| text.trim().parse::<u32>().ok().map(i64::from);
    let range = match text.split_once('-') {
        None => number(text).map(|only| only..=only),
        Some((first, "")) => number(first).map(|first| first..=i64::MAX),
        Some((first, last)) => number(first).zip(number(last)).map(|(a, b)| a..=b),
    };
    range
        .filter(|range| !range.is_empty())
        .ok_or_else(|| "must be a severity such as 3, 3-5 or 4-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_numbers_and_ranges() {
        assert_eq!(severities("3"), Ok(3..=3));
        assert_eq!(severities("3-5"), Ok(3..=5));
        assert_eq!(severities("4-"), Ok(4..=i64::MAX));
        for text in ["", "-", "-3", "5-3", "high", "3-x"] {
            assert!(severities(text).is_err(), "{text}");
        }
    }
}
