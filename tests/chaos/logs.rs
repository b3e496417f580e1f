//! The daemons' logs: panics, and how often each defence was needed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Result;
use risksignal::claiming::log_lines::{LOG_GONE, OTHER_LOG};
use risksignal::pipeline::log_lines::{
    INSERT_FAILED, LOST, OUTSIDE_FENCE, SETTLED, SPLIT, STREAM_WENT_BACK, TAKEN_OVER, VIEW_REFUSED,
};
use serde_json::Value;
use telemetry::log_lines::FOUND_STORED;

/// Lines that report a defence at work; `true` for one that counts signals.
const DEFENCES: [(&str, bool); 10] = [
    (FOUND_STORED, true),
    (INSERT_FAILED, false),
    (OUTSIDE_FENCE, false),
    (TAKEN_OVER, false),
    (SETTLED, false),
    (VIEW_REFUSED, false),
    (SPLIT, false),
    (OTHER_LOG, false),
    (LOG_GONE, false),
    (STREAM_WENT_BACK, false),
];
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
