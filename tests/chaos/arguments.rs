//! The command line: this program's own arguments, and those of cargo's test programs, since
//! `cargo test` gives the same ones to every test program.

use std::path::PathBuf;

use clap::Parser;

use super::case::Case;

/// Kills, cuts and stops everything while signals are published, and then checks that each of
/// them has arrived exactly once.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
pub struct Arguments {
    /// Only cases whose name contains one of these
    pub filters: Vec<String>,
    /// The run to make again; without it, one that has not been made
    #[arg(long)]
    pub seed: Option<u64>,
    /// Time for which faults are injected in each case [default: 3 with --all, else less]
    #[arg(long)]
    pub minutes: Option<f64>,
    /// Signals a second
    #[arg(long, default_value_t = 2000)]
    pub rate: u64,
    /// Every case, not only those of the short run
    #[arg(long, alias = "include-ignored")]
    pub all: bool,
    /// Put NATS' data back from copies, too: what was published since is lost by that
    #[arg(long)]
    pub put_back: bool,
    /// Another release's program, which may do worse; it is only killed at fault points
    #[arg(long)]
    pub daemon: Option<PathBuf>,
    /// Keep the servers' data and logs of good runs, too
    #[arg(long)]
    pub keep: bool,

    /// Be the publisher: the servers' addresses
    #[arg(long, hide = true, requires_all = ["seed", "count"])]
    pub publish_to: Option<String>,
    #[arg(long, hide = true)]
    pub count: Option<u64>,

    #[command(flatten)]
    pub libtest: Libtest,
}

/// Options of cargo's test programs. Most of them mean nothing here.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "As cargo's test programs")]
pub struct Libtest {
    /// Print the names of the cases and end
    #[arg(long)]
    pub list: bool,
    /// A filter is a whole name
    #[arg(long)]
    exact: bool,
    /// Not the cases whose name contains this
    #[arg(long)]
    skip: Vec<String>,
    /// Only what a short run leaves out
    #[arg(long)]
    ignored: bool,
    #[arg(long, hide = true)]
    test: bool,
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    no_capture: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(short, long, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    test_threads: Option<usize>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    logfile: Option<String>,
    #[arg(short = 'Z', hide = true)]
    unstable: Option<String>,
}

impl Arguments {
    /// The cases to run, of those that there are.
    pub fn cases(&self) -> Vec<Case> {
        let matches = |name: &str, filter: &String| {
            if self.libtest.exact {
                name == filter
            } else {
                name.contains(filter)
            }
        };
        Case::ALL
            .into_iter()
            .filter(|case| {
                let name = case.name();
                let any = |filters: &[String]| filters.iter().any(|filter| matches(name, filter));
                let is_wanted = if self.libtest.ignored {
                    !case.is_short()
                } else {
                    self.all || case.is_short()
                };
                is_wanted
                    && (self.filters.is_empty() || any(&self.filters))
                    && !any(&self.libtest.skip)
            })
            .collect()
    }
}
