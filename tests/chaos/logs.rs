//! What the daemons' logs say: panics, and how often each defence was needed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

/// Lines that tell of a defence at work, each with whether it counts signals or itself.
const DEFENCES: [(&str, bool); 10] = [
    ("Acked signals that ClickHouse had already", true),
    ("Insert failed; the same batch is sent again", false),
    ("Insert came outside its fence; its claim is settled", false),
    (
        "Completing a claim that another process has left open",
        false,
    ),
    ("A claim is settled", false),
    (
        "A materialized view refused rows that the table has; the view lacks them",
        false,
    ),
    (
        "ClickHouse does not take a batch as it is; it is split",
        false,
    ),
    ("The claims log is not the one that was read", false),
    (
        "The claims log is gone, although signals were claimed",
        false,
    ),
    ("The stream of signals went back:", false),
];
/// Tells of messages that are in no table, no letter and no stream.
const LOST: &str = "Messages are lost";

#[derive(Debug, Default)]
pub struct Logs {
    pub panics: Vec<String>,
    /// Messages that the daemons gave up as lost.
    pub losses: Vec<String>,
    defences: [u64; DEFENCES.len()],
}

impl Logs {
    /// Reads every daemon's log in a folder.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut logs = Self::default();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("daemon-") {
                logs.read_one(&path)?;
            }
        }
        Ok(logs)
    }

    fn read_one(&mut self, path: &Path) -> Result<()> {
        for line in BufReader::new(File::open(path)?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if line.contains("panicked at") {
                self.panics.push(format!("{}: {line}", path.display()));
            }
            if line.contains(LOST) {
                self.losses.push(format!("{}: {line}", path.display()));
            }
            for ((message, counts_signals), sum) in DEFENCES.iter().zip(&mut self.defences) {
                if line.contains(message) {
                    // The last line of a daemon that was killed may be cut off.
                    let line: Value = serde_json::from_str(&line).unwrap_or_default();
                    *sum += match line["count"].as_u64() {
                        Some(count) if *counts_signals => count,
                        _ => 1,
                    };
                }
            }
        }
        Ok(())
    }

    /// The defences and how often each was needed, a line each.
    pub fn defences(&self) -> impl Iterator<Item = String> {
        let of = |counts_signals| if counts_signals { "signals" } else { "times" };
        DEFENCES
            .iter()
            .zip(self.defences)
            .map(move |((message, counts_signals), sum)| {
                format!("  {sum:>6} {}: {message}", of(*counts_signals))
            })
    }
}
