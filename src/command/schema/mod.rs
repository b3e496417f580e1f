//! `risksignal schema`: the contracts of payloads, for those who send some.

mod check;
mod export;

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::contract::Mode;
use crate::settings::Settings;

/// What to do with the contracts.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// List the event types that have a contract, and what is made of payloads that break it
    List,
    /// Print the JSON Schemas of a signal and of each type's payload, as one JSON object
    Export(ExportArgs),
    /// Check a file of signals, one JSON object a line, as `run` would judge them
    #[command(
        after_help = "Tells of each line that `run` would not take as it is. The exit status is 0 when there is none,\n3 when there are some, and 1 when the file cannot be read."
    )]
    Check(CheckArgs),
}

/// Arguments of `risksignal schema export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Write each into a file of this folder instead: signal.json and <event_type>.json
    #[arg(long, value_name = "DIR", conflicts_with = "typescript")]
    pub dir: Option<PathBuf>,

    /// Print TypeScript with Zod schemas instead, of what is built in
    #[arg(long)]
    pub typescript: bool,
}

/// Arguments of `risksignal schema check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The subject of signals that do not tell their type [default: the stream's prefix]
    #[arg(long)]
    pub subject: Option<String>,
}

/// Does it, and returns the exit status.
///
/// # Errors
/// When a file cannot be read or written.
pub fn schema(command: &SchemaCommand, settings: &Settings) -> Result<u8> {
    match command {
        SchemaCommand::List => list(settings)?,
        SchemaCommand::Export(args) => export::export(args, settings)?,
        SchemaCommand::Check(args) => return check::check(args, settings),
    }
    Ok(0)
}

fn list(settings: &Settings) -> Result<()> {
    let mut stdout = io::stdout().lock();
    for (contract, mode) in settings.validation.contracts.iter() {
        let origin = match contract.is_built_in {
            true => "built in",
            false => "validation.schemas",
        };
        let mode = match mode {
            Mode::Off => "off",
            Mode::Warn => "warn",
            Mode::Enforce => "enforce",
        };
        writeln!(stdout, "{:<24} {mode:<8} {origin}", contract.event_type)?;
    }
    Ok(())
}
