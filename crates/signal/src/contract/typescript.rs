//! Contracts as Zod schemas, from which TypeScript infers its types. The translation covers the
//! part of JSON Schema that the built-in contracts use, and rejects the rest, so that no rule is
//! lost.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::field::COUNT_MAX;

/// A keyword without a translation.
#[derive(Debug, thiserror::Error)]
#[error("{at}: there is no Zod for {what}")]
pub struct Untranslatable {
    at: String,
    what: String,
}

type Zod = Result<String, Untranslatable>;

/// Generates a module with a schema and a type for each of these, by its name.
///
/// # Errors
/// Returns [`Untranslatable`], which names the keyword.
pub fn module(schemas: &[(String, Value)]) -> Zod {
    let mut text = String::from(
        "// Made by `risksignal schema export --typescript`. Do not edit.\n\
         import { z } from \"zod\";\n\
         import { characters, isTime, matches, oneOf, when } from \"./rules.js\";\n",
    );
    let mut writer = Writer::default();
    for (name, schema) in schemas {
        let zod = writer.root(schema, name)?;
        let about = one_line(&schema["description"]);
        let _ = write!(
            text,
            "\n/** {about} */\nexport const {name} = {zod};\nexport type {name} = z.infer<typeof {name}>;\n"
        );
        writer.written.push(name);
    }
    Ok(text)
}

/// Writes schemas; refers to those that it has written by name.
#[derive(Default)]
struct Writer<'a> {
    written: Vec<&'a str>,
}

impl Writer<'_> {
    /// Translates a schema, and the rules that span several of its fields.
    fn root(&self, schema: &Value, at: &str) -> Zod {
        if let Some(title) = schema["title"].as_str()
            && self.written.contains(&title)
        {
            return Ok(title.to_owned());
        }
        let mut zod = self.any(schema, at)?;
        for rule in schema["allOf"].as_array().into_iter().flatten() {
            let at = format!("{at}.allOf");
            match (&rule["if"], &rule["anyOf"]) {
                (Value::Null, Value::Array(fields)) => zod += &one_of(fields, &at)?,
                (Value::Object(condition), Value::Null) => {
                    let properties = condition.get("properties").and_then(Value::as_object);
                    let only = properties.and_then(|fields| fields.iter().next());
                    let (field, values) = only.ok_or_else(|| cannot(&at, "this if"))?;
                    let then = &rule["then"];
                    let mut inner = self.object(then, &at)?;
                    if let Value::Array(fields) = &then["anyOf"] {
                        inner += &one_of(fields, &at)?;
                    }
                    let values = &values["enum"];
                    let _ = write!(
                        zod,
                        "\n  .superRefine(when(\"{field}\", {values}, {inner}))"
                    );
                }
                _ => return Err(cannot(&at, "this rule")),
            }
        }
        Ok(zod)
    }

    /// Translates a schema by its types.
    fn any(&self, schema: &Value, at: &str) -> Zod {
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            // A pattern that applies to strings.
            Value::Null => {
                let pattern = schema["pattern"].as_str();
                let pattern = pattern.ok_or_else(|| cannot(at, "a schema without a type"))?;
                return Ok(format!("z.unknown().refine(matches({}))", regex(pattern)));
            }
            _ => return Err(cannot(at, "this type")),
        };
        keywords_are_known(schema, at)?;
        let each: Result<Vec<String>, _> = types
            .iter()
            .filter(|kind| **kind != "null")
            .map(|kind| self.one(schema, kind, at))
            .collect();
        let each = each?;
        let mut zod = match each.as_slice() {
            [only] => only.clone(),
            several => format!("z.union([{}])", several.join(", ")),
        };
        if types.contains(&"null") {
            zod += ".nullable()";
        }
        Ok(zod)
    }

    fn one(&self, schema: &Value, kind: &str, at: &str) -> Zod {
        match kind {
            "string" => Ok(string(schema)),
            "integer" => Ok(integer(schema)),
            "number" => Ok(format!("z.number(){}", bounds(schema, ""))),
            "array" => {
                let items = self.any(&schema["items"], at)?;
                let max = schema.get("maxItems");
                let max = max.map_or_else(String::new, |max| format!(".max({max})"));
                Ok(format!("z.array({items}){max}"))
            }
            "object" => match schema.get("additionalProperties") {
                Some(values) => {
                    let names = string(&schema["propertyNames"]);
                    Ok(format!("z.record({names}, {})", self.any(values, at)?))
                }
                None => self.object(schema, at),
            },
            other => Err(cannot(at, other)),
        }
    }

    /// Translates an object, whose further fields may have any value.
    fn object(&self, schema: &Value, at: &str) -> Zod {
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let required = schema["required"].as_array();
        let is_required =
            |name: &String| required.is_some_and(|names| names.iter().any(|other| other == name));
        let mut zod = String::from("z.looseObject({");
        for (name, property) in properties {
            let at = format!("{at}.{name}");
            if property["description"].is_string() && property["title"].is_null() {
                let _ = write!(zod, "\n  /** {} */", one_line(&property["description"]));
            }
            let optional = if is_required(name) { "" } else { ".optional()" };
            let _ = write!(zod, "\n  {name}: {}{optional},", self.root(property, &at)?);
        }
        zod += if properties.is_empty() { "})" } else { "\n})" };
        Ok(zod)
    }
}

fn one_of(alternatives: &[Value], at: &str) -> Zod {
    let fields: Option<Vec<&str>> = alternatives
        .iter()
        .map(|alternative| alternative["required"][0].as_str())
        .collect();
    let fields = fields.ok_or_else(|| cannot(at, "this anyOf"))?;
    Ok(format!("\n  .superRefine(oneOf({}))", Value::from(fields)))
}

fn string(schema: &Value) -> String {
    let mut zod = String::from("z.string()");
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(zod, ".regex({})", regex(pattern));
    }
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    match (bound("minLength"), bound("maxLength")) {
        (None, None) => {}
        (min, Some(max)) => {
            let _ = write!(zod, ".refine(characters({}, {max}))", min.unwrap_or(0));
        }
        (Some(min), None) => {
            let _ = write!(zod, ".refine(characters({min}, Infinity))");
        }
    }
    if schema["format"] == "date-time" {
        zod += ".refine(isTime)";
    }
    zod
}

/// Translates an integer. One that may exceed 2^53 may be a bigint, since a number would not be
/// exact.
fn integer(schema: &Value) -> String {
    let number = format!("z.number().int(){}", bounds(schema, ""));
    let is_exact = schema["maximum"]
        .as_u64()
        .is_some_and(|max| max <= COUNT_MAX);
    if is_exact {
        return number;
    }
    format!("{number}, z.bigint(){}", bounds(schema, "n"))
}

fn bounds(schema: &Value, suffix: &str) -> String {
    [("minimum", "min"), ("maximum", "max")]
        .into_iter()
        .filter_map(|(keyword, method)| {
            let bound = schema.get(keyword)?;
            Some(format!(".{method}({bound}{suffix})"))
        })
        .collect()
}

fn regex(pattern: &str) -> String {
    format!("/{}/u", pattern.replace('/', "\\/"))
}

fn keywords_are_known(schema: &Value, at: &str) -> Result<(), Untranslatable> {
    const KNOWN: [&str; 19] = [
        "$schema",
        "title",
        "description",
        "default",
        "type",
        "format",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "items",
        "maxItems",
        "properties",
        "required",
        "propertyNames",
        "additionalProperties",
        "allOf",
        "$id",
    ];
    let mut keywords = schema.as_object().into_iter().flat_map(Map::keys);
    match keywords.find(|keyword| !KNOWN.contains(&keyword.as_str())) {
        Some(keyword) => Err(cannot(at, keyword)),
        None => Ok(()),
    }
}

fn one_line(text: &Value) -> String {
    text.as_str().unwrap_or_default().replace('\n', " ")
}

fn cannot(at: &str, what: &str) -> Untranslatable {
    Untranslatable {
        at: at.to_owned(),
        what: what.to_owned(),
    }
}
