use std::ffi::OsString;
use std::time::Duration;

use super::*;

/// Loads settings from these layers.
fn load(
    file: &str,
    dot_env: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> Result<Settings, Faults> {
    let owned = |variables: &[(&str, &str)]| -> Vec<(String, OsString)> {
        let pairs = variables
            .iter()
            .map(|(name, text)| (name.to_string(), text.into()));
        pairs.collect()
    };
    let mut layers = Layers::defaults(TABLE);
    layers.add_file("risksignal.toml", file);
    layers.add_variables(owned(dot_env).into_iter(), Origin::DotEnv);
    layers.add_variables(owned(environment).into_iter(), Origin::Environment);
    Settings::from_layers(layers)
}

fn messages(result: Result<Settings, Faults>) -> Vec<String> {
    let faults = result.unwrap_err().0;
    faults.into_iter().map(|fault| fault.message).collect()
}

#[test]
fn the_defaults_have_no_faults() {
    let settings = Settings::default();
    assert_eq!(settings.consumer.name, "signals-to-clickhouse");
    assert_eq!(settings.batch.max_bytes, 16 << 20);
    assert_eq!(settings.batch.max_wait, Duration::from_millis(250));
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let file = "[batch]\nmax_rows = 1000\nmax_wait = \"1s\"\nmax_bytes = \"1MiB\"\n[clickhouse]\nmigrate = false";
    let dot_env = [
        ("RISKSIGNAL__BATCH__MAX_ROWS", "2000"),
        ("RISKSIGNAL__BATCH__MAX_WAIT", "2s"),
    ];
    let environment = [("RISKSIGNAL__BATCH__MAX_ROWS", "3000")];
    let settings = load(file, &dot_env, &environment).unwrap();
    assert_eq!(settings.batch.max_rows, 3000);
    assert_eq!(settings.batch.max_wait, Duration::from_secs(2));
    assert_eq!(settings.batch.max_bytes, 1 << 20);
    assert!(!settings.clickhouse.migrate);
}

#[test]
fn conventional_names_work_and_the_full_name_wins_over_them() {
    let environment = [
        ("NATS_URL", "nats://a:1"),
        ("CLICKHOUSE_URL", "http://b:2"),
        ("CLICKHOUSE_USER", "c"),
        ("CLICKHOUSE_PASSWORD", "d"),
        ("CLICKHOUSE_DATABASE", "e"),
        ("RUST_LOG", "debug"),
    ];
    let settings = load("", &[], &environment).unwrap();
    assert_eq!(settings.nats.url, "nats://a:1");
    assert_eq!(settings.clickhouse.url, "http://b:2");
    assert_eq!(settings.clickhouse.user, "c");
    assert_eq!(settings.clickhouse.password.expose(), "d");
    assert_eq!(settings.clickhouse.database, "e");
    assert_eq!(settings.log.filter, "debug");
    let both = [
        ("RISKSIGNAL__NATS__URL", "nats://full:1"),
        ("NATS_URL", "nats://short:1"),
    ];
    assert_eq!(load("", &[], &both).unwrap().nats.url, "nats://full:1");
}

#[test]
fn an_empty_variable_is_unset() {
    let settings = load(
        "[batch]\nmax_rows = 7",
        &[],
        &[("RISKSIGNAL__BATCH__MAX_ROWS", "")],
    );
    assert_eq!(settings.unwrap().batch.max_rows, 7);
}

#[test]
fn each_fault_names_its_key_its_source_and_what_is_allowed() {
    for (file, variable, message) in [
        (
            "[batch]\nmax_rows = 0",
            None,
            "batch.max_rows (in risksignal.toml) is \"0\", must be a whole number from 1 to 1000000",
        ),
        (
            "[batch]\nmax_row = 5",
            None,
            "batch.max_row (in risksignal.toml) is no setting; did you mean batch.max_rows?",
        ),
        (
            "batch = 5",
            None,
            "batch (in risksignal.toml) is a section and has no value of its own",
        ),
        (
            "[batch]\nmax_rows = [1]",
            None,
            "batch.max_rows (in risksignal.toml) must be a single value",
        ),
        (
            "[batch.max_rows]\nx = 1",
            None,
            "batch.max_rows (in risksignal.toml) must be a single value",
        ),
        (
            "",
            Some(("RISKSIGNAL__BATCH", "5")),
            "batch (environment variable RISKSIGNAL__BATCH) is a section and has no value of its own",
        ),
        (
            "",
            Some(("RISKSIGNAL__WHAT__EVER", "5")),
            "what.ever (environment variable RISKSIGNAL__WHAT__EVER) is no setting; .env.example lists them all",
        ),
        (
            "",
            Some(("RISKSIGNAL_NATS_URL", "nats://a:1")),
            "nats.url (environment variable RISKSIGNAL_NATS_URL) is not read; did you mean RISKSIGNAL__NATS__URL?",
        ),
        (
            "",
            Some(("RISKSIGNAL_CLICKHOUSE_PASSWORD_FILE", "/x")),
            "clickhouse.password (environment variable RISKSIGNAL_CLICKHOUSE_PASSWORD_FILE) is not read; did you mean RISKSIGNAL__CLICKHOUSE__PASSWORD_FILE?",
        ),
        (
            "",
            Some(("NATS_URL", "http://u:p@x")),
            "nats.url (environment variable NATS_URL) is \"http://u:***@x\", http://u:***@x is not a NATS server; it must look like nats://host:4222 or tls://host:4222",
        ),
        (
            "",
            Some(("CLICKHOUSE_URL", "http://u:p@x")),
            "clickhouse.url (environment variable CLICKHOUSE_URL) is \"http://u:***@x\", must hold no user and no password; they have settings of their own",
        ),
        (
            "",
            Some(("CLICKHOUSE_URL", "http://x/?password=hunter2")),
            "clickhouse.url (environment variable CLICKHOUSE_URL) is \"http://x/?***\", must hold nothing after a ? or #",
        ),
        (
            "",
            Some(("NATS_URL", "nats://app:hun/ter2@h")),
            "nats.url (environment variable NATS_URL) is \"nats://app:***@h\", nats://app:***@h is not a NATS server; it must look like nats://host:4222 or tls://host:4222",
        ),
        (
            "",
            Some(("CLICKHOUSE_PASSWORD", "hunter2\n")),
            "clickhouse.password (environment variable CLICKHOUSE_PASSWORD) is \"***\", must hold no line break and no other control character",
        ),
        (
            "",
            Some(("RISKSIGNAL__STREAM__SUBJECT_PREFIX", "a.*")),
            "stream.subject_prefix (environment variable RISKSIGNAL__STREAM__SUBJECT_PREFIX) is \"a.*\", must be tokens separated by dots, without spaces, * or >, not beginning with $",
        ),
        (
            "",
            Some(("RISKSIGNAL__BATCH__MAX_WAIT", "5")),
            "batch.max_wait (environment variable RISKSIGNAL__BATCH__MAX_WAIT) is \"5\", must be a duration such as 250ms, 30s or 2m, from 1ms to 10m",
        ),
        (
            "",
            Some(("RISKSIGNAL__BATCH__MAX_BYTES", "1KiB")),
            "batch.max_bytes (environment variable RISKSIGNAL__BATCH__MAX_BYTES) is \"1KiB\", must be a size such as 512KiB or 16MiB, from 64.0 KiB to 256.0 MiB",
        ),
        (
            "",
            Some(("RISKSIGNAL__CLICKHOUSE__MIGRATE", "yes")),
            "clickhouse.migrate (environment variable RISKSIGNAL__CLICKHOUSE__MIGRATE) is \"yes\", must be true or false",
        ),
        (
            "",
            Some(("RISKSIGNAL__CLICKHOUSE__RETENTION", "5s")),
            "clickhouse.retention (environment variable RISKSIGNAL__CLICKHOUSE__RETENTION) is \"5s\", must be a duration such as 250ms, 30s or 2m, from 1h to 50years, or 0s for none",
        ),
    ] {
        let variables: Vec<_> = variable.into_iter().collect();
        assert_eq!(
            messages(load(file, &[], &variables)),
            [message],
            "{file} {variable:?}"
        );
    }
}

#[test]
fn settings_that_contradict_are_reported_with_both_keys_values_and_sources() {
    for (variables, message) in [
        (
            &[("RISKSIGNAL__BATCH__MAX_ROWS", "60000")][..],
            "batch.max_rows is \"60000\" (environment variable RISKSIGNAL__BATCH__MAX_ROWS) but consumer.max_in_flight_messages is \"50000\" (default): a full batch must fit into the messages held at once",
        ),
        (
            &[("RISKSIGNAL__BATCH__MAX_BYTES", "128MiB")],
            "batch.max_bytes is \"128MiB\" (environment variable RISKSIGNAL__BATCH__MAX_BYTES) but consumer.max_in_flight_bytes is \"64MiB\" (default): a full batch must fit into the bytes held at once",
        ),
        (
            &[("RISKSIGNAL__CONSUMER__MAX_ACK_PENDING", "1000")],
            "consumer.max_in_flight_messages is \"50000\" (default) but consumer.max_ack_pending is \"1000\" (environment variable RISKSIGNAL__CONSUMER__MAX_ACK_PENDING): JetStream must allow as many unacked messages as one instance holds",
        ),
        (
            &[
                ("RISKSIGNAL__CONSUMER__PULLS", "16"),
                ("RISKSIGNAL__CONSUMER__FETCH_BYTES", "1MiB"),
            ],
            "consumer.fetch_messages is \"5000\" (default) but consumer.max_in_flight_messages is \"50000\" (default): all pulls (consumer.pulls) together must fit into the messages held at once",
        ),
        (
            &[("RISKSIGNAL__CONSUMER__FETCH_BYTES", "40MiB")],
            "consumer.fetch_bytes is \"40MiB\" (environment variable RISKSIGNAL__CONSUMER__FETCH_BYTES) but consumer.max_in_flight_bytes is \"64MiB\" (default): all pulls (consumer.pulls) together must fit into the bytes held at once",
        ),
        (
            &[("RISKSIGNAL__CLICKHOUSE__RETRY_MIN", "20s")],
            "clickhouse.retry_min is \"20s\" (environment variable RISKSIGNAL__CLICKHOUSE__RETRY_MIN) but clickhouse.retry_max is \"10s\" (default): the shortest pause must not be longer than the longest",
        ),
        (
            &[
                ("RISKSIGNAL__NATS__USER", "u"),
                ("RISKSIGNAL__NATS__TOKEN", "hunter2"),
            ],
            "nats.user is \"u\" (environment variable RISKSIGNAL__NATS__USER) but nats.token is \"***\" (environment variable RISKSIGNAL__NATS__TOKEN): only one of them may be set",
        ),
        (
            &[("RISKSIGNAL__NATS__PASSWORD", "hunter2")],
            "nats.password is \"***\" (environment variable RISKSIGNAL__NATS__PASSWORD) but nats.user is \"\" (default): a password needs a user",
        ),
        (
            &[("RISKSIGNAL__STREAM__MAX_AGE", "1m")],
            "stream.duplicate_window is \"2m\" (default) but stream.max_age is \"1m\" (environment variable RISKSIGNAL__STREAM__MAX_AGE): JetStream does not remember ids for longer than it keeps messages",
        ),
        (
            &[("RISKSIGNAL__DEAD_LETTERS__MAX_AGE", "1h")],
            "dead_letters.duplicate_window is \"24h\" (default) but dead_letters.max_age is \"1h\" (environment variable RISKSIGNAL__DEAD_LETTERS__MAX_AGE): JetStream does not remember ids for longer than it keeps messages",
        ),
        (
            &[("RISKSIGNAL__STREAM__NAME", "SIGNALS_DLQ")],
            "dead_letters.name is \"SIGNALS_DLQ\" (default) but stream.name is \"SIGNALS_DLQ\" (environment variable RISKSIGNAL__STREAM__NAME): dead letters need their own stream",
        ),
        (
            &[("RISKSIGNAL__DEAD_LETTERS__SUBJECT_PREFIX", "signals.dead")],
            "dead_letters.subject_prefix is \"signals.dead\" (environment variable RISKSIGNAL__DEAD_LETTERS__SUBJECT_PREFIX) but stream.subject_prefix is \"signals\" (default): no subject may belong to both streams",
        ),
    ] {
        assert_eq!(
            messages(load("", &[], variables)),
            [message],
            "{variables:?}"
        );
    }
}

#[test]
fn all_faults_are_reported_at_once_and_a_bad_value_contradicts_nothing() {
    let file = "nonsense = 1\n[batch]\nmax_rows = 0";
    let variables = [
        ("RISKSIGNAL__CONSUMER__ACK_WAIT", "0s"),
        ("RISKSIGNAL__CONSUMER__PULLS", "many"),
        ("RISKSIGNAL__CONSUMER__FETCH_BYTES", "64MiB"),
        ("RISKSIGNAL__NATS__PASSWORD", "hunter2"),
    ];
    let messages = messages(load(file, &[], &variables));
    let begins: Vec<_> = messages
        .iter()
        .map(|message| message.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        begins,
        [
            "nonsense",
            "consumer.ack_wait",
            "consumer.pulls",
            "batch.max_rows",
            "nats.password"
        ]
    );
    assert!(!messages.concat().contains("hunter2"));
}

#[test]
fn secrets_are_not_shown() {
    let variables = [
        ("RISKSIGNAL__NATS__USER", "app"),
        ("RISKSIGNAL__NATS__PASSWORD", "hunter2"),
        ("CLICKHOUSE_PASSWORD", "hunter3"),
    ];
    let shown = format!("{:?}", load("", &[], &variables).unwrap());
    assert!(!shown.contains("hunter"), "{shown}");
    let url = load("", &[], &[("NATS_URL", "nats://app:hunter4@h")]);
    let texts = messages(url).concat();
    assert!(
        texts.contains("must hold no user") && !texts.contains("hunter"),
        "{texts}"
    );
}

#[test]
fn exactly_the_settings_of_the_table_are_read() {
    // If no setting has a value, each one that is read is a fault.
    let faults = Settings::from_layers(Layers::with_values(TABLE, Default::default()))
        .unwrap_err()
        .0;
    let mut read: Vec<_> = faults.into_iter().map(|fault| fault.key).collect();
    let mut table: Vec<_> = TABLE.iter().map(|field| field.key).collect();
    read.sort();
    table.sort();
    assert_eq!(read, table);
}

#[test]
fn bad_lines_of_dot_env_are_all_reported_and_contradict_nothing() {
    let mut layers = Layers::defaults(TABLE);
    let text = "\u{feff}RISKSIGNAL__NATS__PASSWORD=hunter2\nhunter3\nNATS_USER hunter4\n";
    layers.add_dot_env(".env", text);
    assert_eq!(
        messages(Settings::from_layers(layers)),
        [2, 3].map(|line| format!(".env line {line} is not NAME=value with closed quotes"))
    );
}
