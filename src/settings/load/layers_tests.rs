use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

fn fault_texts(file: &str, variables: &[(&str, &[u8])]) -> Vec<String> {
    let mut layers = Layers::defaults(TABLE);
    layers.add_file("r.toml", file);
    let variables = variables
        .iter()
        .map(|(name, value)| (name.to_string(), OsString::from_vec(value.to_vec())));
    layers.add_variables(variables, Origin::Environment);
    let faults = Settings::from_layers(layers).map_or_else(|faults| faults.0, |_| Vec::new());
    faults.into_iter().map(|fault| fault.message).collect()
}

#[test]
fn malformed_toml_is_reported_with_its_place_and_without_the_line() {
    for (file, message) in [
        (
            "[nats]\npassword = \"hunter2",
            "r.toml is not TOML at line 2, column 20: invalid basic string, expected `\"`",
        ),
        (
            "[nats]\npassword = hunter2",
            "r.toml is not TOML at line 2, column 12: string values must be quoted, expected literal string",
        ),
        (
            "[nats]\nhunter2",
            "r.toml is not TOML at line 2, column 8: key with no value, expected `=`",
        ),
        (
            "[nats]\npassword = 99999999999999999999",
            "r.toml is not TOML: number too large to fit in target type",
        ),
    ] {
        assert_eq!(fault_texts(file, &[]), [message], "{file}");
    }
}

#[test]
fn a_file_that_cannot_be_understood_contradicts_nothing() {
    // The user may be set in the file.
    let variables: &[(&str, &[u8])] = &[
        ("RISKSIGNAL__NATS__PASSWORD", b"hunter2"),
        ("RISKSIGNAL__BATCH__MAX_ROWS", b"0"),
    ];
    let texts = fault_texts("[nats]\nuser = app", variables);
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].starts_with("r.toml is not TOML at line 2"),
        "{texts:?}"
    );
    assert!(texts[1].starts_with("batch.max_rows "), "{texts:?}");
}

#[test]
fn a_file_may_begin_with_a_byte_order_mark() {
    assert_eq!(fault_texts("\u{feff}[batch]\nmax_rows = 5", &[]), [""; 0]);
}

#[test]
fn a_text_must_be_a_string_and_a_number_need_not() {
    let file = "[nats]\nuser = true\npassword = 0x10\n[stream]\nname = 2024\n[batch]\nmax_rows = 0x10\nmax_bytes = 1_048_576";
    assert_eq!(
        fault_texts(file, &[]),
        [
            "nats.user (in r.toml) must be a string, in quotes",
            "nats.password (in r.toml) must be a string, in quotes",
            "stream.name (in r.toml) must be a string, in quotes",
        ]
    );
}

#[test]
fn our_variables_must_be_utf_8_and_those_of_others_need_not() {
    let variables: &[(&str, &[u8])] = &[
        ("CLICKHOUSE_PASSWORD", b"hunter\xff"),
        ("RISKSIGNAL__NATS__URL", b"\xff"),
        ("LS_COLORS", b"\xff"),
        // The full name wins over this one, which is then not judged.
        ("NATS_URL", b"\xff"),
    ];
    assert_eq!(
        fault_texts("", variables),
        [
            "nats.url (environment variable RISKSIGNAL__NATS__URL) is not UTF-8",
            "clickhouse.password (environment variable CLICKHOUSE_PASSWORD) is not UTF-8",
        ]
    );
}

#[test]
fn names_of_variables_that_are_not_known_are_reported() {
    for (name, value, message) in [
        (
            "RISKSIGNAL__BATCH__MAXROWS",
            "",
            "batch.maxrows (environment variable RISKSIGNAL__BATCH__MAXROWS) is no setting; did you mean RISKSIGNAL__BATCH__MAX_ROWS (batch.max_rows)?",
        ),
        (
            "RISKSIGNAL__batch__max_rows",
            "5",
            "batch.max_rows (environment variable RISKSIGNAL__batch__max_rows) must be in capitals; did you mean RISKSIGNAL__BATCH__MAX_ROWS?",
        ),
        (
            "risksignal__batch__max_rows",
            "5",
            "batch.max_rows (environment variable risksignal__batch__max_rows) must be in capitals; did you mean RISKSIGNAL__BATCH__MAX_ROWS?",
        ),
    ] {
        assert_eq!(fault_texts("", &[(name, value.as_bytes())]), [message]);
    }
}
