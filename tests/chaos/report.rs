//! The printed report.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::case::{Case, Options, Outcome};
use super::oracle::Findings;

/// The first line of a case.
pub fn start(case: Case, options: &Options, dir: &Path) -> String {
    let Options {
        seed, length, rate, ..
    } = *options;
    format!(
        "{}: seed {seed}, faults for {} at {rate} signals a second; logs in {}",
        case.name(),
        humantime::format_duration(length),
        dir.display()
    )
}

/// The table of faults.
pub fn faults(counts: &BTreeMap<&'static str, u64>) -> String {
    let mut table = String::from("faults\n");
    for (kind, count) in counts {
        let _ = writeln!(table, "  {count:>6}  {kind}");
    }
    let kills = kills(counts);
    let _ = write!(table, "  {kills:>6}  processes killed with SIGKILL in all");
    table
}

/// Processes that were killed with SIGKILL.
pub fn kills(counts: &BTreeMap<&'static str, u64>) -> u64 {
    let kills = counts.iter().filter(|(kind, _)| kind.ends_with("SIGKILL"));
    kills.map(|(_, count)| count).sum()
}

/// Prints the verdict; whether it is a good one.
pub fn verdict(
    case: Case,
    options: &Options,
    outcome: &Result<Outcome>,
    failures: &[String],
) -> bool {
    let failures = match outcome {
        Ok(outcome) => {
            println!("what the daemons did against them");
            outcome.logs.defences().for_each(|line| println!("{line}"));
            println!("what was found\n{}", found(&outcome.findings));
            outcome.failures.clone()
        }
        Err(error) => [&[format!("{error:#}")], failures].concat(),
    };
    if failures.is_empty() {
        println!("test {} ... ok\n", case.name());
        return true;
    }
    for failure in failures {
        println!("  {failure}");
    }
    let minutes = options.length.as_secs_f64() / 60.0;
    println!(
        "test {} ... FAILED\nagain with: make chaos CASE={} SEED={} MINUTES={minutes} RATE={}{}",
        case.name(),
        case.name(),
        options.seed,
        options.rate,
        if options.puts_back { " PUT_BACK=1" } else { "" }
    );
    false
}

fn found(findings: &Findings) -> String {
    let Findings {
        published,
        valid,
        rows,
        invalid,
        letters,
        taken_back,
        ..
    } = findings;
    format!(
        "  published {published}: {valid} valid, {rows} rows; {invalid} invalid, {letters} dead letters\n  \
         taken out of the stream by an operator {taken_back}\n  \
         lost {}, repeated {}, both row and letter {}, altered {}",
        findings.lost.len(),
        findings.repeated.len(),
        findings.both.len(),
        findings.altered.len()
    )
}
