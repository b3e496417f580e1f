//! Arguments of `risksignal produce`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use synthetic::{Mix, SignalKind};

/// Number of signals without `--count` and `--file`.
const DEFAULT_COUNT: u64 = 10_000;

/// Publish test signals to JetStream, or the lines of a file.
#[derive(Debug, Clone, Args)]
pub struct ProduceArgs {
    /// Number of signals to publish, 0 for no end; with --file the number of lines, 0 for all
    /// [default: 10000, with --file: 0]
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Signals per second; 0 is as fast as the server accepts them
    #[arg(long, value_name = "R", default_value_t = 0)]
    pub rate: u64,

    /// Kind of the generated signals
    #[arg(long, value_enum, value_name = "KIND", default_value_t = KindArg::Mixed)]
    pub kind: KindArg,

    /// Publish each line of this file unchanged instead of generated signals; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "invalid", "seed"])]
    pub file: Option<PathBuf>,

    /// Share of deliberately bad signals, in percent
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = percent)]
    pub invalid: f64,

    /// Seed: the same one gives the same signals, with the same ids, at a new time. JetStream drops
    /// those that it stored within its duplicate window [default: random, and logged]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,

    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,

    /// Signals without an answer at once
    #[arg(long, value_name = "N", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub window: u32,
}

impl ProduceArgs {
    /// Returns the most signals or lines; `None` means no bound.
    pub fn limit(&self) -> Option<u64> {
        let default = if self.file.is_some() {
            0
        } else {
            DEFAULT_COUNT
        };
        Some(self.count.unwrap_or(default)).filter(|count| *count > 0)
    }
}

/// Kind of generated signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum KindArg {
    /// Transfers and calls on several chains
    Transaction,
    /// Rules that fired
    RiskEvent,
    /// Balances of wallets
    WalletSnapshot,
    /// 70 % transactions, 20 % risk events, 10 % wallet snapshots
    Mixed,
}

impl From<KindArg> for Mix {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Transaction => Self::Only(SignalKind::Transaction),
            KindArg::RiskEvent => Self::Only(SignalKind::RiskEvent),
            KindArg::WalletSnapshot => Self::Only(SignalKind::WalletSnapshot),
            KindArg::Mixed => Self::Mixed,
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&percent) {
        Ok(percent)
    } else {
        Err("must be from 0 to 100".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: ProduceArgs,
    }

    fn parse(line: &str) -> Result<ProduceArgs, clap::Error> {
        let words = std::iter::once("produce").chain(line.split_whitespace());
        Command::try_parse_from(words).map(|command| command.args)
    }

    #[test]
    fn the_count_depends_on_the_source() {
        assert_eq!(parse("").unwrap().limit(), Some(10_000));
        assert_eq!(parse("--count 0").unwrap().limit(), None);
        assert_eq!(parse("--file -").unwrap().limit(), None);
        assert_eq!(parse("--file - --count 5").unwrap().limit(), Some(5));
    }

    #[test]
    fn a_file_is_not_generated() {
        for line in ["--kind mixed", "--invalid 1", "--seed 1"] {
            assert!(parse(&format!("--file x {line}")).is_err(), "{line}");
        }
        let args = parse("--kind risk_event --invalid 2.5 --seed 1").unwrap();
        assert_eq!((args.kind, args.invalid), (KindArg::RiskEvent, 2.5));
    }

    #[test]
    fn values_out_of_range_are_rejected() {
        for line in ["--invalid 101", "--invalid NaN", "--window 0", "--rate -1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
