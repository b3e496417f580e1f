//! `risksignal schema export`.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};
use signal::contract::{Modes, Schemas, typescript};
use signal::json_schema;

use crate::command::output;
use crate::settings::Settings;

use super::SchemaExportArgs;

/// Name of the schema of a whole signal. No event type has this name, which would overwrite the
/// file.
const SIGNAL: &str = "signal";

pub(super) fn export(args: &SchemaExportArgs, settings: &Settings) -> Result<()> {
    if args.typescript {
        let mut out = output::standard();
        out.write_all(in_typescript(settings)?.as_bytes())?;
        return Ok(out.flush()?);
    }
    let limits = &settings.validation;
    let mut documents = Map::new();
    for (contract, _) in limits.contracts().iter() {
        documents.insert(contract.event_type.clone(), contract.document.clone());
    }
    documents.insert(SIGNAL.to_owned(), json_schema(limits));
    match &args.dir {
        Some(dir) => write(dir, &documents),
        None => Ok(output::print_json(&documents)?),
    }
}

fn write(dir: &Path, documents: &Map<String, Value>) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, document) in documents {
        let path = dir.join(format!("{name}.json"));
        std::fs::write(&path, pretty(document)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn pretty(value: &impl serde::Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value)
}

/// Generates TypeScript from the built-in contracts only, whatever the operator's folder has.
fn in_typescript(settings: &Settings) -> Result<String> {
    let schemas = Schemas::read("").map_err(anyhow::Error::msg)?;
    let mut limits = settings.validation.clone();
    limits.schemas = schemas;
    limits.payload = Modes::default();
    let mut modules: Vec<(String, Value)> = limits
        .contracts()
        .iter()
        .map(|(contract, _)| {
            let name = contract.document["title"].as_str().unwrap_or_default();
            (name.to_owned(), contract.document.clone())
        })
        .collect();
    modules.push(("Signal".to_owned(), json_schema(&limits)));
    Ok(typescript::module(&modules)?)
}
