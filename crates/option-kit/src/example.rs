//! Files and pages that are generated from the declared settings.

use serde_json::{Map, Value, json};

use crate::field::{FILE_SUFFIX, Field, Table};
use crate::kind::Shape;

/// Writes `.env.example`: every variable with its default and its line.
pub fn env_example(table: Table) -> String {
    let mut text = String::from(
        "# Every environment variable of risksignal, with its default. Copy to .env and uncomment\n\
         # what you change. A variable that is set and empty counts as unset. Where two names are\n\
         # given for a setting, the RISKSIGNAL__ one wins. A name that ends in _FILE takes the path\n\
         # of a file that holds the secret; only one of both may be set.\n",
    );
    let mut section = "";
    for field in table.iter().filter(|field| field.retired.is_none()) {
        if field.section() != section {
            section = field.section();
            text += &format!("\n# --- {section}\n");
        }
        text.push('\n');
        text += &comment(field);
        let names = field.alias.map(str::to_owned).into_iter();
        for name in names.chain([field.variable()]) {
            text += &format!("#{name}={}\n", field.default);
            if field.secret {
                text += &format!("#{name}{FILE_SUFFIX}=\n");
            }
        }
    }
    text
}

/// Writes `risksignal.example.toml`: every setting with its default and its line.
pub fn toml_example(table: Table) -> String {
    let mut text = String::from(
        "# Every setting of risksignal, with its default. Copy to risksignal.toml, or name the copy\n\
         # with --config, and uncomment what you change. The environment wins over this file. A\n\
         # secret may be given as the path of a file that holds it; only one of both may be set.\n",
    );
    let mut section = "";
    for field in table.iter().filter(|field| field.retired.is_none()) {
        if field.section() != section {
            section = field.section();
            text += &format!("\n[{section}]\n");
        }
        let key = field.name();
        text += &comment(field);
        text += &format!("#{key} = {}\n", toml_value(field));
        if field.secret {
            text += &format!("#{key}_file = \"\"\n");
        }
    }
    text
}

/// Writes the reference page: a table of settings for each section, in Markdown.
pub fn reference(table: Table, shapes: &[Shape]) -> String {
    let mut text = String::from(
        "# Settings\n\n\
         Values come from the defaults, `risksignal.toml` (or the file that `--config` names), `.env`,\n\
         systemd's credentials and the environment, in that order. A fault of any of them ends the\n\
         start with every fault at once. `risksignal.schema.json` beside this page gives editors\n\
         completion and checks. This page is generated from the code.\n",
    );
    let mut section = "";
    for (field, shape) in in_force(table, shapes) {
        if field.section() != section {
            section = field.section();
            text += &format!(
                "\n## {section}\n\n| Setting | Default | Value | Meaning |\n|---|---|---|---|\n"
            );
        }
        let default = match field.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let mut notes = escaped(field.about());
        notes += ". ";
        notes += &format!("`{}`", field.variable());
        if let Some(alias) = field.alias {
            notes += &format!(" or `{alias}`");
        }
        if field.secret {
            notes += &format!(
                ". A secret: `{}_file` takes the path of its file",
                field.name()
            );
        }
        if field.live {
            notes += ". SIGHUP changes it";
        }
        let words = escaped(&in_words(shape));
        text += &format!("| `{}` | {default} | {words} | {notes}. |\n", field.key);
    }
    text
}

/// Writes the JSON Schema (draft 2020-12) of the TOML file, for editors.
pub fn json_schema(table: Table, shapes: &[Shape]) -> Value {
    let mut sections = Map::new();
    for (field, shape) in table.iter().zip(shapes) {
        let section = sections.entry(field.section()).or_insert_with(
            || json!({"type": "object", "additionalProperties": false, "properties": {}}),
        );
        let mut property = schema(shape);
        property["description"] = json!(field.about());
        if let Some(instead) = field.retired {
            property["deprecated"] = json!(true);
            property["description"] = json!(format!("Retired: {instead}"));
        }
        if !field.default.is_empty() {
            property["default"] = default_value(field, shape);
        }
        section["properties"][field.name()] = property;
        if field.secret {
            section["properties"][format!("{}_file", field.name())] = json!({
                "type": "string",
                "description": format!("Path of a file that holds {}", field.key),
            });
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "risksignal.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    })
}

/// Iterates over the settings that are not retired, with their forms.
fn in_force(table: Table, shapes: &[Shape]) -> impl Iterator<Item = (&'static Field, &Shape)> {
    let all = table.iter().zip(shapes);
    all.filter(|(field, _)| field.retired.is_none())
}

fn comment(field: &Field) -> String {
    let live = if field.live {
        " (SIGHUP changes it)"
    } else {
        ""
    };
    format!("# {}{live}\n", field.about())
}

fn toml_value(field: &Field) -> String {
    let bare = field.default.parse::<u64>().is_ok() || ["true", "false"].contains(&field.default);
    if bare {
        field.default.to_owned()
    } else {
        format!("\"{}\"", field.default)
    }
}

fn default_value(field: &Field, shape: &Shape) -> Value {
    let parsed = match shape {
        Shape::Integer { .. } | Shape::Number | Shape::Boolean => {
            serde_json::from_str(field.default).ok()
        }
        _ => None,
    };
    parsed.unwrap_or_else(|| json!(field.default))
}

fn schema(shape: &Shape) -> Value {
    let bound = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    match shape {
        Shape::Integer { min, max } => {
            json!({"type": "integer", "minimum": bound(min), "maximum": bound(max)})
        }
        Shape::Number => json!({"type": "number"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Words(words) => json!({"enum": words}),
        Shape::Duration(_) | Shape::Size(_) | Shape::Text => json!({"type": "string"}),
    }
}

fn in_words(shape: &Shape) -> String {
    match shape {
        Shape::Integer { min, max } => format!("a number from {min} to {max}"),
        Shape::Number => "a number".to_owned(),
        Shape::Boolean => "true or false".to_owned(),
        Shape::Words(words) => words.join(", "),
        Shape::Duration(bounds) => format!("a duration {bounds}"),
        Shape::Size(bounds) => format!("a size {bounds}"),
        Shape::Text => "a text".to_owned(),
    }
}

/// Escapes the column separator of Markdown tables, and `<`, which would begin a tag.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
