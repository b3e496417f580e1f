//! `risksignal schema check`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::settings::Settings;
use crate::signal::Signal;

use super::CheckArgs;

/// Where some lines are not as they should be.
const EXIT_FAULTS: u8 = 3;

/// Lines by what `run` would make of them.
#[derive(Default)]
struct Counts {
    lines: u64,
    tagged: u64,
    dead: u64,
}

pub(super) fn check(args: &CheckArgs, settings: &Settings) -> Result<u8> {
    let shown = args.file.display();
    let prefix = &settings.stream.subject_prefix;
    let subject = args.subject.as_deref().unwrap_or(prefix);
    let mut input = open(&args.file).with_context(|| format!("cannot open {shown}"))?;
    let mut stdout = io::stdout().lock();
    let mut counts = Counts::default();
    let mut line = Vec::new();
    // A line that is too large is no signal, and need not be kept in full.
    let line_max = settings.validation.max_signal_bytes as u64 + 2;
    loop {
        line.clear();
        let read = (&mut input).take(line_max).read_until(b'\n', &mut line);
        if read.with_context(|| format!("cannot read {shown}"))? == 0 {
            break;
        }
        counts.lines += 1;
        let is_whole = line.ends_with(b"\n");
        let body = line.trim_ascii_end();
        if body.is_empty() && is_whole {
            continue;
        }
        let number = counts.lines;
        match Signal::parse(body, subject, &settings.validation) {
            Ok(signal) if signal.payload_faults.is_empty() => {}
            Ok(signal) => {
                counts.tagged += 1;
                writeln!(
                    stdout,
                    "line {number}: lands, with {}",
                    signal.payload_faults
                )?;
            }
            Err(invalid) => {
                counts.dead += 1;
                let code = invalid.code();
                writeln!(stdout, "line {number}: dead letter ({code}): {invalid}")?;
            }
        }
        if !is_whole {
            input
                .skip_until(b'\n')
                .with_context(|| format!("cannot read {shown}"))?;
        }
    }
    let Counts {
        lines,
        tagged,
        dead,
    } = counts;
    writeln!(
        stdout,
        "{lines} lines: {dead} would be dead letters, {tagged} would land with faults of their payloads"
    )?;
    Ok(if tagged + dead > 0 { EXIT_FAULTS } else { 0 })
}

fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(file)?)))
}
