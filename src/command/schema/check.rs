//! `risksignal schema check`.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use signal::{Limits, Signal};

use crate::command::{exit, output};
use crate::settings::Settings;

use super::SchemaCheckArgs;

/// A line that `run` would not insert without faults.
#[derive(Debug, Serialize)]
struct FaultyLine {
    line: u64,
    outcome: Outcome,
    /// Reason of a dead letter.
    code: Option<&'static str>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    FaultyPayload,
    DeadLetter,
}

impl FaultyLine {
    /// Judges a line by the rules of `run`.
    fn judge(line: u64, body: &[u8], subject: &str, limits: &Limits) -> Option<Self> {
        let (outcome, code, text) = match Signal::parse(body, subject, limits) {
            Ok(signal) if signal.payload_faults.is_empty() => return None,
            Ok(signal) => (
                Outcome::FaultyPayload,
                None,
                signal.payload_faults.to_string(),
            ),
            Err(invalid) => (
                Outcome::DeadLetter,
                Some(invalid.code()),
                invalid.to_string(),
            ),
        };
        Some(Self {
            line,
            outcome,
            code,
            text,
        })
    }
}

impl Display for FaultyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line, code, text, ..
        } = self;
        match code {
            Some(code) => write!(f, "line {line}: dead letter ({code}): {text}"),
            None => write!(f, "line {line}: would be inserted, with {text}"),
        }
    }
}

pub(super) fn check(args: &SchemaCheckArgs, settings: &Settings) -> Result<u8> {
    let shown = args.file.display();
    let limits = &settings.validation;
    let prefix = &settings.stream.subject_prefix;
    let subject = args.subject.as_deref().unwrap_or(prefix);
    let mut input = open(&args.file).with_context(|| format!("cannot open {shown}"))?;
    let mut out = output::standard();
    let (mut lines, mut dead, mut tagged) = (0_u64, 0_u64, 0_u64);
    let mut line = Vec::new();
    // A line that exceeds the limit is no signal, and need not be kept completely.
    let line_max = limits.max_signal_bytes as u64 + 2;
    loop {
        line.clear();
        let read = (&mut input).take(line_max).read_until(b'\n', &mut line);
        if read.with_context(|| format!("cannot read {shown}"))? == 0 {
            break;
        }
        lines += 1;
        let is_whole = line.ends_with(b"\n");
        let body = line.trim_ascii_end();
        if body.is_empty() && is_whole {
            continue;
        }
        if let Some(faulty) = FaultyLine::judge(lines, body, subject, limits) {
            match faulty.outcome {
                Outcome::FaultyPayload => tagged += 1,
                Outcome::DeadLetter => dead += 1,
            }
            match args.json {
                true => writeln!(out, "{}", serde_json::to_string(&faulty)?)?,
                false => writeln!(out, "{faulty}")?,
            }
            // Standard input may pause for long.
            out.flush()?;
        }
        if !is_whole {
            input
                .skip_until(b'\n')
                .with_context(|| format!("cannot read {shown}"))?;
        }
    }
    if !args.json {
        writeln!(
            out,
            "{lines} lines: {dead} would be dead letters, {tagged} would be inserted with faulty payloads"
        )?;
    }
    out.flush()?;
    Ok(match tagged + dead {
        0 => 0,
        _ => exit::NOT_READY,
    })
}

fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(file)?)))
}
