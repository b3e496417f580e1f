use std::ffi::OsString;

use option_kit::{env_example, json_schema, reference, toml_example};
use serde_json::Value;

use super::*;
use crate::shipped::assert_shipped;

fn load(toml: &str) -> Result<Settings, Faults> {
    let mut layers = Layers::defaults(TABLE);
    layers.add_file("risksignal.toml", toml);
    Settings::from_layers(layers)
}

#[test]
fn the_examples_and_the_reference_list_every_setting_with_its_default() {
    assert_shipped(".env.example", &env_example(TABLE));
    assert_shipped("risksignal.example.toml", &toml_example(TABLE));
    let shapes = Settings::shapes();
    assert_eq!(shapes.len(), TABLE.iter().count());
    assert_shipped("docs/settings.md", &reference(TABLE, &shapes));
    let schema = serde_json::to_string_pretty(&json_schema(TABLE, &shapes)).unwrap();
    assert_shipped("docs/risksignal.schema.json", &(schema + "\n"));
}

#[test]
fn the_json_schema_takes_the_defaults_and_refuses_what_the_program_refuses() {
    let schema = json_schema(TABLE, &Settings::shapes());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let document = |toml: &str| -> Value {
        serde_json::to_value(toml::from_str::<toml::Table>(toml).unwrap()).unwrap()
    };
    assert!(validator.is_valid(&document(&uncommented())));
    for (toml, is_valid) in [
        ("[batch]\nmax_rows = 5", true),
        ("[clickhouse]\npassword_file = \"/run/secrets/ch\"", true),
        ("[batch]\nmax_rows = 0", false),
        ("[batch]\nmax_row = 5", false),
        ("[consumer]\nack_policy = \"none\"", false),
        ("[clickhouse]\nmigrate = \"yes\"", false),
        ("[bach]\nmax_rows = 5", false),
    ] {
        assert_eq!(validator.is_valid(&document(toml)), is_valid, "{toml}");
        assert_eq!(
            load(toml).is_ok() || toml.contains("password_file"),
            is_valid,
            "{toml}"
        );
    }
}

/// Returns the TOML example with every line active.
fn uncommented() -> String {
    toml_example(TABLE)
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn the_examples_with_every_line_active_are_the_defaults() {
    assert_eq!(load(&uncommented()).unwrap(), Settings::default());
    let variables: Vec<(String, OsString)> = env_example(TABLE)
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .filter(|(name, _)| !name.contains(' '))
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect();
    assert!(variables.len() > TABLE.iter().count());
    let mut layers = Layers::defaults(TABLE);
    layers.add_variables(variables.into_iter(), Origin::DotEnv);
    assert_eq!(Settings::from_layers(layers).unwrap(), Settings::default());
}
