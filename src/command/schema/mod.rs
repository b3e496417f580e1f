//! `risksignal schema`: contracts of payloads, for senders.

mod check;
mod export;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use signal::contract::Mode;

use crate::command::output;
use crate::settings::Settings;

/// Subcommands of `risksignal schema`.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// List the event types with a contract, and the treatment of payloads that break it
    List {
        /// Print one JSON object a line: event_type, mode and built_in
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schemas of a signal and of each type's payload, as one JSON object
    Export(SchemaExportArgs),
    /// Check a file of signals, one JSON object a line, by the rules of `run`
    #[command(
        after_help = "Reports each line that `run` would not accept without faults. The exit status is 0 if there is\nnone, 3 if there are some, and 1 if the file cannot be read."
    )]
    Check(SchemaCheckArgs),
}

/// Arguments of `risksignal schema export`.
#[derive(Debug, Args)]
pub struct SchemaExportArgs {
    /// Write each schema to a file in this folder instead: signal.json and <event_type>.json
    #[arg(long, value_name = "DIR", conflicts_with = "typescript")]
    pub dir: Option<PathBuf>,

    /// Print TypeScript with Zod schemas for the built-in contracts instead
    #[arg(long)]
    pub typescript: bool,
}

/// Arguments of `risksignal schema check`.
#[derive(Debug, Args)]
pub struct SchemaCheckArgs {
    /// File to check; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Subject of signals without a type [default: the stream's prefix]
    #[arg(long)]
    pub subject: Option<String>,

    /// Print one JSON object for each faulty line: line, outcome (faulty_payload, dead_letter),
    /// code and text; and no summary
    #[arg(long)]
    pub json: bool,
}

/// Runs a subcommand, and returns the exit status.
///
/// # Errors
/// Fails when a file cannot be read or written.
pub fn schema(command: &SchemaCommand, settings: &Settings) -> Result<u8> {
    match command {
        SchemaCommand::List { json } => list(settings, *json)?,
        SchemaCommand::Export(args) => export::export(args, settings)?,
        SchemaCommand::Check(args) => return check::check(args, settings),
    }
    Ok(0)
}

fn list(settings: &Settings, is_json: bool) -> Result<()> {
    let mut out = output::standard();
    for (contract, mode) in settings.validation.contracts().iter() {
        let event_type = &contract.event_type;
        let origin = match contract.is_built_in {
            true => "built in",
            false => "validation.schemas",
        };
        let mode = match mode {
            Mode::Off => "off",
            Mode::Warn => "warn",
            Mode::Enforce => "enforce",
        };
        if is_json {
            let built_in = contract.is_built_in;
            let line = json!({ "event_type": event_type, "mode": mode, "built_in": built_in });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{event_type:<24} {mode:<8} {origin}")?;
        }
    }
    Ok(out.flush()?)
}
