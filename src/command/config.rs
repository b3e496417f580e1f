//! `risksignal config`: settings of this process, without any server.

use std::io::{self, Write as _};

use clap::Subcommand;
use option_kit::{Origin, json_schema};
use serde::Serialize;

use crate::command::output;
use crate::settings::{Settings, TABLE};

/// Subcommands of `risksignal config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting that a command would run with here, and its origin; secrets are ***
    Show {
        /// Print one JSON object: by each key its value, and its origin with kind and source
        #[arg(long)]
        json: bool,

        /// Show only settings that are not the default
        #[arg(long)]
        changed: bool,
    },
    /// Check the configuration without any server, and report all faults at once
    #[command(
        after_help = "The exit status is 0 without a fault and 78 with one. `risksignal check` tries the servers too."
    )]
    Check {
        /// Print the JSON document of `risksignal check`, with the findings of the settings
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of risksignal.toml, for editors
    Schema,
}

/// Kind of an origin, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum OriginKind {
    Default,
    File,
    DotEnv,
    Environment,
    Credential,
    SecretFile,
    InForce,
}

/// A setting with its origin, for programs.
#[derive(Debug, Serialize)]
struct Setting {
    value: String,
    origin: OriginKind,
    /// Path, variable or credential; `None` for a default.
    source: Option<String>,
}

impl Setting {
    fn new(value: String, origin: &Origin) -> Self {
        let (origin, source) = match origin {
            Origin::Default => (OriginKind::Default, None),
            Origin::File(path) => (OriginKind::File, Some(path)),
            Origin::DotEnv(variable) => (OriginKind::DotEnv, Some(variable)),
            Origin::Environment(variable) => (OriginKind::Environment, Some(variable)),
            Origin::Credential(name) => (OriginKind::Credential, Some(name)),
            Origin::SecretFile(path, _) => (OriginKind::SecretFile, Some(path)),
            Origin::InForce => (OriginKind::InForce, None),
        };
        Self {
            value,
            origin,
            source: source.cloned(),
        }
    }
}

/// Prints the settings with their origins, all or only those that are not the default.
///
/// # Errors
/// Fails when the output cannot be written.
pub fn show(settings: &Settings, is_json: bool, changed: bool) -> io::Result<()> {
    let shown = settings
        .shown()
        .filter(|(_, _, origin)| !changed || **origin != Origin::Default);
    if is_json {
        let document: serde_json::Map<String, serde_json::Value> = shown
            .map(|(key, value, origin)| {
                let setting = serde_json::to_value(Setting::new(value, origin))?;
                Ok((key.to_owned(), setting))
            })
            .collect::<serde_json::Result<_>>()?;
        return output::print_json(&document);
    }
    let mut out = output::standard();
    for (key, value, origin) in shown {
        writeln!(out, "{key:<38} {value:<28} {origin}")?;
    }
    out.flush()
}

/// Prints the JSON Schema of risksignal.toml.
///
/// # Errors
/// Fails when the output cannot be written.
pub fn schema() -> io::Result<()> {
    output::print_json(&json_schema(TABLE, &Settings::shapes()))
}
