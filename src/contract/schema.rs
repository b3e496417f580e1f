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
/// Bytes of a payload in which all faults are looked for. The crate collects every fault before it
/// gives the first: 137 ms for a list of 0.8 MB.
const WHOLE_BYTES_MAX: usize = 16 * 1024;
/// Members of an object or a list in which faults are looked for, in a payload that is longer.
const MEMBERS_MAX: usize = 64;
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
        let mut value: Value = match serde_json::from_str(payload) {
            Ok(value) => value,
            // A number beyond all measure, or half a surrogate pair.
            Err(error) => return Faults(vec![at_top(format!("cannot be read: {error}"))]),
        };
        let mut is_cut = false;
        if payload.len() > WHOLE_BYTES_MAX {
            // Stops at the first fault, and collects none.
            if self.validator.is_valid(&value) {
                return Faults::default();
            }
            let named = self.document.get("properties");
            is_cut = cut(&mut value, &|name| {
                named.is_some_and(|named| named.get(name).is_some())
            });
        }
        let mut errors = self.validator.iter_errors(&value);
        let mut faults: Vec<Fault> = errors.by_ref().take(FAULTS_MAX).map(fault).collect();
        if errors.next().is_some() {
            faults.push(at_top("has more".to_owned()));
        } else if is_cut {
            faults.push(at_top(format!(
                "has {} bytes, so that only the first {MEMBERS_MAX} members of each object and list were looked through",
                payload.len()
            )));
        }
        Faults(faults)
    }
}

/// Leaves the first members of each object and list, and all that are `named`; reports whether that
/// took any away.
fn cut(value: &mut Value, named: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Array(items) => {
            let is_long = items.len() > MEMBERS_MAX;
            items.truncate(MEMBERS_MAX);
            let items = items.iter_mut();
            items.fold(is_long, |is_cut, item| cut(item, &|_| false) | is_cut)
        }
        Value::Object(members) => {
            let is_long = members.len() > MEMBERS_MAX;
            if is_long {
                let mut others = 0;
                members.retain(|name, _| {
                    others += usize::from(!named(name));
                    others <= MEMBERS_MAX || named(name)
                });
            }
            let members = members.values_mut();
            members.fold(is_long, |is_cut, member| cut(member, &|_| false) | is_cut)
        }
        _ => false,
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
