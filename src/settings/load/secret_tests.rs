use std::ffi::OsString;
use std::path::Path;

use super::*;

/// Loads the layers of a file, a folder of credentials and the environment.
fn load(file: &str, credentials: &Path, environment: &[(&str, &str)]) -> Result<Settings, Faults> {
    let mut layers = Layers::defaults(TABLE);
    layers.add_file("r.toml", file);
    layers.add_credentials(credentials);
    let variables: Vec<(String, OsString)> = environment
        .iter()
        .map(|(name, text)| (name.to_string(), text.into()))
        .collect();
    layers.add_variables(variables.into_iter(), Origin::Environment);
    Settings::from_layers(layers)
}

/// Creates a folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn fault_texts(result: Result<Settings, Faults>) -> Vec<String> {
    let faults = result.unwrap_err().0;
    faults.into_iter().map(|fault| fault.message).collect()
}

#[test]
fn a_secret_may_stand_in_a_file_and_each_layer_wins_over_the_one_before() {
    let files = folder(&[("one", "by_file\n"), ("two", "by_variable\r\n")]);
    let path = |name| files.path().join(name).display().to_string();
    let none = folder(&[]);
    let credentials = folder(&[("clickhouse_password", "by_credential\n"), ("other", "x")]);
    let toml = format!("[clickhouse]\npassword_file = \"{}\"", path("one"));
    let two = path("two");
    for (folder, environment, expected) in [
        (none.path(), &[][..], "by_file"),
        (credentials.path(), &[], "by_credential"),
        (
            credentials.path(),
            &[("CLICKHOUSE_PASSWORD", "plain")],
            "plain",
        ),
        (
            credentials.path(),
            &[("CLICKHOUSE_PASSWORD_FILE", two.as_str())],
            "by_variable",
        ),
        (
            credentials.path(),
            &[
                ("CLICKHOUSE_PASSWORD_FILE", "/nowhere"),
                ("RISKSIGNAL__CLICKHOUSE__PASSWORD_FILE", two.as_str()),
                ("CLICKHOUSE_PASSWORD", ""),
            ],
            "by_variable",
        ),
    ] {
        let settings = load(&toml, folder, environment).unwrap();
        assert_eq!(
            settings.clickhouse.password.expose(),
            expected,
            "{environment:?}"
        );
    }
}

#[test]
fn every_secret_may_stand_in_a_file() {
    let secrets: Vec<_> = TABLE.iter().filter(|field| field.secret).collect();
    assert!(secrets.len() >= 5);
    for field in secrets {
        let files = folder(&[("bad", "hunter2\u{7}")]);
        let path = files.path().join("bad").display().to_string();
        let variable = field.variable() + "_FILE";
        let texts = fault_texts(load("", Path::new("/nowhere"), &[(&variable, &path)])).concat();
        // Each was read, and is checked like a value, or lacks its counterpart.
        let named = format!("named by environment variable {variable}");
        assert!(
            texts.starts_with(field.key) && texts.contains(&named),
            "{texts}"
        );
        assert!(!texts.contains("hunter2"), "{texts}");
    }
}

#[test]
fn a_secret_given_twice_in_one_layer_is_a_fault() {
    let files = folder(&[("pw", "hunter2")]);
    let path = files.path().join("pw").display().to_string();
    let file = format!("[clickhouse]\npassword = \"hunter3\"\npassword_file = \"{path}\"");
    let none = Path::new("/nowhere");
    assert_eq!(
        fault_texts(load(&file, none, &[])),
        [
            "clickhouse.password (in r.toml) and clickhouse.password_file (in r.toml): only one of them may be set"
        ]
    );
    let both = [
        ("RISKSIGNAL__CLICKHOUSE__PASSWORD", "hunter3"),
        ("CLICKHOUSE_PASSWORD_FILE", path.as_str()),
    ];
    assert_eq!(
        fault_texts(load("", none, &both)),
        [
            "clickhouse.password (environment variable RISKSIGNAL__CLICKHOUSE__PASSWORD) and clickhouse.password_file (environment variable CLICKHOUSE_PASSWORD_FILE): only one of them may be set"
        ]
    );
}

#[test]
fn files_that_cannot_be_read_are_reported_with_their_paths_and_all_other_faults() {
    let credentials = folder(&[("nats_token", "")]);
    let file = "[nats]\npassword_file = \"/nowhere/pw\"\nca_file = \"/nowhere/ca.pem\"\nnkey_file = 5\n[batch]\nmax_rows = 0";
    let environment = [("CLICKHOUSE_PASSWORD_FILE", "/nowhere/ch")];
    assert_eq!(
        fault_texts(load(file, credentials.path(), &environment)),
        [
            "nats.nkey_file (in r.toml) must be a string, in quotes",
            "nats.password_file (in r.toml) is \"/nowhere/pw\", which cannot be read: No such file or directory (os error 2)",
            "nats.token (systemd credential nats_token) holds no secret: it is empty",
            "clickhouse.password_file (environment variable CLICKHOUSE_PASSWORD_FILE) is \"/nowhere/ch\", which cannot be read: No such file or directory (os error 2)",
            "nats.ca_file (in r.toml) is \"/nowhere/ca.pem\", cannot be read: No such file or directory (os error 2)",
            "batch.max_rows (in r.toml) is \"0\", must be a whole number from 1 to 1000000",
        ]
    );
}

#[test]
fn certificates_keys_and_logins_are_checked_and_no_secret_is_shown() {
    let files = folder(&[
        ("text", "hunter2"),
        (
            "damaged",
            "-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----\n",
        ),
    ]);
    let path = |name| files.path().join(name).display().to_string();
    for (key, value, words) in [
        (
            "nats.ca_file",
            path("text"),
            "must be a PEM file, and holds no such item",
        ),
        (
            "clickhouse.key_file",
            path("text"),
            "must be a PEM file, and holds no such item",
        ),
        (
            "nats.key_file",
            path("damaged"),
            "must be a PEM file, and is damaged",
        ),
        (
            "nats.nkey",
            "hunter2".to_owned(),
            "must be the seed of a user's NKey",
        ),
        // The seed of an account.
        (
            "nats.nkey",
            "SAANWFZ3JINNPERWT3ALE45U7GYT2ZDW6GJUIVPDKUF6GKAX6AISZJMAS4".to_owned(),
            "must be the seed of a user's NKey",
        ),
        (
            "nats.creds",
            "hunter2".to_owned(),
            "must be the text of a .creds file",
        ),
    ] {
        let (section, name) = key.split_once('.').unwrap();
        let file = format!("[{section}]\n{name} = {value:?}");
        let texts = fault_texts(load(&file, Path::new("/nowhere"), &[]));
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(
            texts[0].starts_with(key) && texts[0].contains(words),
            "{texts:?}"
        );
        assert!(
            !texts[0].contains("hunter2") && !texts[0].contains("SAANW"),
            "{texts:?}"
        );
    }
}

#[test]
fn only_one_login_may_be_set_and_tls_is_configured_as_a_whole() {
    let seed = nkeys::KeyPair::new_user().seed().unwrap();
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = folder(&[
        ("seed", &seed),
        ("cert.pem", &certificate.cert.pem()),
        ("key.pem", &certificate.signing_key.serialize_pem()),
    ]);
    let path = |name| files.path().join(name).display().to_string();
    for (file, words) in [
        (
            format!("[nats]\nuser = \"app\"\nnkey_file = {:?}", path("seed")),
            "only one of them may be set",
        ),
        (
            format!(
                "[nats]\ntoken = \"hunter2\"\nnkey_file = {:?}",
                path("seed")
            ),
            "only one of them may be set",
        ),
        (
            format!("[nats]\ncert_file = {:?}", path("cert.pem")),
            "a certificate and its key are set together",
        ),
        (
            format!("[nats]\nkey_file = {:?}", path("key.pem")),
            "a certificate and its key are set together",
        ),
        (
            format!("[clickhouse]\nca_file = {:?}", path("cert.pem")),
            "with http everything is sent in plain text",
        ),
    ] {
        let texts = fault_texts(load(&file, Path::new("/nowhere"), &[]));
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains(words), "{texts:?}");
        assert!(!texts[0].contains(seed.trim()), "{texts:?}");
    }
    for (file, required) in [
        ("[nats]\ntls = \"on\"".to_owned(), true),
        ("[nats]\ntls = \"first\"".to_owned(), true),
        ("[nats]\nurl = \"nats://a, TLS://b\"".to_owned(), true),
        (format!("[nats]\nca_file = {:?}", path("cert.pem")), true),
        ("[nats]\nurl = \"nats://tls:1\"".to_owned(), false),
    ] {
        let settings = load(&file, Path::new("/nowhere"), &[]).unwrap();
        assert_eq!(settings.nats.requires_tls(), required, "{file}");
    }
}
