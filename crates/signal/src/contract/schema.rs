//! JSON Schemas of payloads: derived from the types, or read from the operator's folder.

use std::collections::BTreeSet;
use std::path::Path;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::budget::{self, VALUES_MAX};
use super::fault::{PayloadFault, PayloadFaults};
use super::payload::{RiskEvent, Transaction, WalletSnapshot, surely_keeps};
use crate::scan::Members;

/// Most faults reported of one payload.
const FAULTS_MAX: usize = 16;
/// Largest payload, in bytes, that is searched for all faults. The validator crate collects every
/// fault before it yields the first: 137 ms for a list of 0.8 MB.
const WHOLE_BYTES_MAX: usize = 16 * 1024;
/// Members of an object or a list that are searched for faults, in a larger payload.
const MEMBERS_MAX: usize = 64;
/// Longest reported path, and longest reported rule, in characters.
const TOLD_CHARS_MAX: usize = 128;

/// Contract of one event type.
#[derive(Debug)]
pub struct Contract {
    /// Event type.
    pub event_type: String,
    /// JSON Schema of its payload.
    pub document: Value,
    /// True if the contract is built in.
    pub is_built_in: bool,
    /// Fast check that a payload satisfies the contract. Its only error is to decline one that
    /// does; then the schema decides.
    pub(super) surely_keeps: fn(&Members<'_>) -> bool,
    validator: Validator,
    /// Names of fields in the schema: logs and pages quote no other names.
    names: BTreeSet<String>,
}

impl Contract {
    fn built_in<T>(event_type: &str, surely_keeps: fn(&Members<'_>) -> bool) -> Result<Self, String>
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
        let mut names = BTreeSet::new();
        collect_names(&document, &mut names);
        Ok(Self {
            event_type: event_type.to_owned(),
            names,
            document,
            is_built_in: false,
            surely_keeps: |_| false,
            validator,
        })
    }

    /// Finds the faults of a payload, a JSON object. A payload of more than `VALUES_MAX` values
    /// that the fast check declines is not searched, which is its one fault.
    pub(super) fn faults(&self, members: &Members<'_>) -> PayloadFaults {
        if (self.surely_keeps)(members) {
            return PayloadFaults::default();
        }
        let payload = members.text();
        if budget::exceeds(payload) {
            let rule = format!("has more than {VALUES_MAX} values, and is not searched");
            return PayloadFaults(vec![PayloadFault::whole_payload(rule)]);
        }
        self.schema_faults(payload)
    }

    /// Returns the result of [`Self::faults`] from the schema alone.
    #[cold]
    pub(super) fn schema_faults(&self, payload: &str) -> PayloadFaults {
        let mut value: Value = match serde_json::from_str(payload) {
            Ok(value) => value,
            // A number out of range, or half a surrogate pair.
            Err(error) => {
                let rule = format!("cannot be read: {error}");
                return PayloadFaults(vec![PayloadFault::whole_payload(rule)]);
            }
        };
        let mut is_cut = false;
        if payload.len() > WHOLE_BYTES_MAX {
            // Stops at the first fault without collecting any.
            if self.validator.is_valid(&value) {
                return PayloadFaults::default();
            }
            let named = self.document.get("properties");
            is_cut = cut(&mut value, &|name| {
                named.is_some_and(|named| named.get(name).is_some())
            });
        }
        let mut errors = self.validator.iter_errors(&value);
        let first = errors.by_ref().take(FAULTS_MAX);
        let mut faults: Vec<PayloadFault> = first.map(|error| self.fault(&error, &value)).collect();
        if errors.next().is_some() {
            faults.push(PayloadFault::whole_payload("has more".to_owned()));
        } else if is_cut {
            faults.push(PayloadFault::whole_payload(format!(
                "has {} bytes, so only the first {MEMBERS_MAX} members of each object and list were searched",
                payload.len()
            )));
        }
        PayloadFaults(faults)
    }

    /// Describes a fault of a payload: its path, its rule, and both for logs and pages.
    fn fault(&self, error: &ValidationError<'_>, payload: &Value) -> PayloadFault {
        let pointer = error.instance_path().as_str();
        let (mut path, mut public) = (format!("payload{pointer}"), "payload".to_owned());
        let mut at = Some(payload);
        for escaped in pointer.split('/').skip(1) {
            let name = escaped.replace("~1", "/").replace("~0", "~");
            let is_public = at.is_some_and(Value::is_array) || self.names.contains(&name);
            public.push('/');
            public.push_str(if is_public { escaped } else { "*" });
            at = at.and_then(|at| match at {
                Value::Object(members) => members.get(&name),
                Value::Array(items) => items.get(name.parse::<usize>().ok()?),
                _ => None,
            });
        }
        if let ValidationErrorKind::Required { property } = error.kind() {
            let name = property.as_str().unwrap_or_default();
            let escaped = name.replace('~', "~0").replace('/', "~1");
            for path in [&mut path, &mut public] {
                path.push('/');
                path.push_str(&escaped);
            }
        }
        let rule = bounded(&rule(error));
        let public_rule = unnamed_rule(error.kind()).unwrap_or_else(|| rule.clone());
        PayloadFault {
            path: bounded(&path),
            public: format!("{}: {public_rule}", bounded(&public)),
            rule,
        }
    }
}

/// Collects the names of fields in a schema, at any depth.
fn collect_names(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                names.extend(properties.keys().cloned());
            }
            members.values().for_each(|it| collect_names(it, names));
        }
        Value::Array(items) => items.iter().for_each(|it| collect_names(it, names)),
        _ => {}
    }
}

/// Keeps the first members of each object and list, and all `named` ones; reports whether it
/// removed any.
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

/// Describes the broken rule. The text may quote names of fields, which come from the sender.
fn rule(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Required { .. } => "is missing".to_owned(),
        ValidationErrorKind::AnyOf { context } => match alternatives(context) {
            Some(names) => format!("one of {names} is missing"),
            None => "matches none of the alternatives".to_owned(),
        },
        ValidationErrorKind::Pattern { pattern } => format!("must match {pattern}"),
        _ => error.masked_with("it").to_string(),
    }
}

/// Describes a rule without the names of fields that it would quote.
fn unnamed_rule(kind: &ValidationErrorKind) -> Option<String> {
    match kind {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let count = unexpected.len();
            Some(format!("has fields that are not allowed ({count})"))
        }
        ValidationErrorKind::UnevaluatedItems { unexpected } => {
            let count = unexpected.len();
            Some(format!("has items that are not allowed ({count})"))
        }
        ValidationErrorKind::PropertyNames { .. } => {
            Some("has a field whose name is not allowed".to_owned())
        }
        _ => None,
    }
}

/// Returns the beginning of a text, without control characters.
fn bounded(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    shown.take(TOLD_CHARS_MAX).collect()
}

/// Returns the names of the fields if each alternative only lacks one.
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

/// Returns the built-in contracts.
pub(super) fn built_in() -> Result<Vec<Contract>, String> {
    Ok(vec![
        Contract::built_in::<RiskEvent<'_>>("risk_event", |members| {
            surely_keeps::<RiskEvent<'_>>(members)
        })?,
        Contract::built_in::<Transaction<'_>>("transaction", |members| {
            surely_keeps::<Transaction<'_>>(members)
        })?,
        Contract::built_in::<WalletSnapshot<'_>>("wallet_snapshot", |members| {
            surely_keeps::<WalletSnapshot<'_>>(members)
        })?,
    ])
}

/// Reads the contracts of a folder, one in each `<event_type>.json`.
///
/// # Errors
/// Returns the faults of every file.
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
        serde_json::from_str(&text).map_err(|error| format!("is not JSON: {error}"))?;
    let dialect = document.get("$schema").map(Value::as_str);
    const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
    if dialect.is_some_and(|dialect| dialect != Some(DIALECT)) {
        return Err(format!("must have the $schema {DIALECT}, or none"));
    }
    Contract::new(event_type, document).map_err(|error| format!("is not a JSON Schema: {error}"))
}
