//! JSON Schemas of payloads: made of the types, or read from the operator's folder.

use std::path::Path;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::fault::{Fault, Faults};
use super::payload::{RiskEvent, Transaction, WalletSnapshot, surely_keeps};

/// Faults that are told of one payload.
const FAULTS_MAX: usize = 16;
/// Characters of a path that are told, and of what is wrong there.
const TOLD_CHARS_MAX: usize = 128;

/// The contract of one event type.
#[derive(Debug)]
pub struct Contract {
    /// The event type.
    pub event_type: String,
    /// The JSON Schema of its payload.
    pub document: Value,
    /// Whether it is one of those that this program brings.
    pub is_built_in: bool,
    /// The fast way: whether a payload surely keeps the contract. It is only ever wrong in that
    /// it declines one that does; then the schema decides.
    pub(super) surely_keeps: fn(&str) -> bool,
    validator: Validator,
}

impl Contract {
    fn built_in<T>(event_type: &str, surely_keeps: fn(&str) -> bool) -> Result<Self, String>
    where
        T: JsonSchema,
    {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
        });
        let schema = settings.into_generator().into_root_schema_for::<T>();
        Ok(Self {
            surely_keeps,
            is_built_in: true,
            ..Self::new(event_type, schema.to_value())?
        })
    }

    fn new(event_type: &str, document: Value) -> Result<Self, String> {
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            // Without backtracking, so that no payload makes a pattern slow.
            .with_pattern_options(PatternOptions::regex())
            .build(&document)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            event_type: event_type.to_owned(),
            document,
            is_built_in: false,
            surely_keeps: |_| false,
            validator,
        })
    }

    /// What of a payload, a JSON object, breaks the contract.
    pub fn faults(&self, payload: &str) -> Faults {
        if (self.surely_keeps)(payload) {
            return Faults::default();
        }
        self.told(payload)
    }

    /// [`Self::faults`] by the schema alone.
    #[cold]
    pub(super) fn told(&self, payload: &str) -> Faults {
        let value: Value = match serde_json::from_str(payload) {
            Ok(value) => value,
            // A number beyond all measure, or half a surrogate pair.
            Err(error) => return Faults(vec![at_top(format!("cannot be read: {error}"))]),
        };
        let mut errors = self.validator.iter_errors(&value);
        let mut faults: Vec<Fault> = errors.by_ref().take(FAULTS_MAX).map(fault).collect();
        match errors.count() {
            0 => {}
            more => faults.push(at_top(format!("has {more} more"))),
        }
        Faults(faults)
    }
}

fn at_top(rule: String) -> Fault {
    let path = "payload".to_owned();
    Fault { path, rule }
}

/// Where a fault is and what it is.
fn fault(error: ValidationError<'_>) -> Fault {
    let mut path = format!("payload{}", error.instance_path());
    let rule = match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            path.push('/');
            path.push_str(&name.replace('~', "~0").replace('/', "~1"));
            "is missing".to_owned()
        }
        ValidationErrorKind::AnyOf { context } => match alternatives(context) {
            Some(names) => format!("one of {names} is missing"),
            None => "matches none of what it may be".to_owned(),
        },
        ValidationErrorKind::Pattern { pattern } => format!("must match {pattern}"),
        _ => error.masked_with("it").to_string(),
    };
    // Names of fields come from the sender.
    let bounded = |text: String| {
        let shown = text.chars().filter(|c| !c.is_control());
        shown.take(TOLD_CHARS_MAX).collect()
    };
    Fault {
        path: bounded(path),
        rule: bounded(rule),
    }
}

/// The names of the fields, where each alternative only lacks one.
fn alternatives(context: &[Vec<ValidationError<'_>>]) -> Option<String> {
    let names: Option<Vec<&str>> = context
        .iter()
        .map(|errors| match errors.as_slice() {
            [error] => match error.kind() {
                ValidationErrorKind::Required { property } => property.as_str(),
                _ => None,
            },
            _ => None,
        })
        .collect();
    names.map(|names| names.join(", "))
}

/// The contracts that this program brings.
pub(super) fn built_in() -> Result<Vec<Contract>, String> {
    Ok(vec![
        Contract::built_in::<RiskEvent<'_>>("risk_event", |payload| {
            surely_keeps::<RiskEvent<'_>>(payload)
        })?,
        Contract::built_in::<Transaction<'_>>("transaction", |payload| {
            surely_keeps::<Transaction<'_>>(payload)
        })?,
        Contract::built_in::<WalletSnapshot<'_>>("wallet_snapshot", |payload| {
            surely_keeps::<WalletSnapshot<'_>>(payload)
        })?,
    ])
}

/// The contracts in a folder: each `<event_type>.json` is one.
///
/// # Errors
/// Every file's faults.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<Contract>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut contracts = Vec::new();
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match in_file(&path) {
            Ok(contract) => contracts.push(contract),
            Err(fault) => faults.push(format!("{} {fault}", path.display())),
        }
    }
    if faults.is_empty() {
        return Ok(contracts);
    }
    faults.sort();
    Err(faults.join("; "))
}

fn in_file(path: &Path) -> Result<Contract, String> {
    let event_type = path.file_stem().and_then(|stem| stem.to_str());
    let event_type = event_type.ok_or("has a name that is not UTF-8")?;
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let document: Value =
        serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))?;
    let dialect = document.get("$schema").map(Value::as_str);
    const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
    if dialect.is_some_and(|dialect| dialect != Some(DIALECT)) {
        return Err(format!("must have the $schema {DIALECT}, or none"));
    }
    Contract::new(event_type, document).map_err(|error| format!("is no JSON Schema: {error}"))
}
