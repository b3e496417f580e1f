//! The parts of the benchmark that need no server. A program without cargo's harness has no
//! unit tests of its own.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

#[path = "../benches/end_to_end/candidate.rs"]
mod candidate;
#[path = "../benches/end_to_end/statistics.rs"]
mod statistics;

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| text.to_string()).collect()
}

#[test]
fn a_setting_is_a_key_or_a_variable() {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        candidate::setting("batch.max_rows=5").unwrap(),
        pair("RISKSIGNAL__BATCH__MAX_ROWS", "5")
    );
    assert_eq!(
        candidate::setting("RUST_LOG=a=b").unwrap(),
        pair("RUST_LOG", "a=b")
    );
    assert!(candidate::setting("batch.max_rows").is_err());
}

#[test]
fn each_daemon_has_each_variant() {
    let daemons = candidate::daemons(&texts(&["old=/a", "/b"]), "new").unwrap();
    let all = candidate::variants(
        &daemons,
        &texts(&["x.y=1"]),
        &texts(&["small:batch.max_rows=5,x.y=2"]),
    )
    .unwrap();
    let labels: Vec<&str> = all.iter().map(|one| one.label.as_str()).collect();
    assert_eq!(labels, ["old", "old small", "new", "new small"]);
    // What comes later wins in the environment of a process.
    let values: Vec<&str> = all[1].environment.iter().map(|(_, v)| v.as_str()).collect();
    assert_eq!(values, ["1", "5", "2"]);
    assert!(candidate::variants(&daemons, &[], &texts(&["no settings"])).is_err());
}

#[test]
fn the_shell_makes_way_for_a_competitor() {
    let other = candidate::competitor("other: prog --flag 'a:b'").unwrap();
    assert_eq!(other.label, "other");
    assert_eq!(other.arguments, ["-c", "exec prog --flag 'a:b'"]);
    assert!(candidate::competitor("prog").is_err());
}

#[test]
fn a_median_is_the_middle() {
    assert_eq!(statistics::median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(statistics::median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(statistics::median(&[7.0]), 7.0);
    assert!(statistics::median(&[]).is_nan());
}

#[test]
fn a_percentile_is_a_value_that_occurred() {
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(statistics::percentile(&hundred, 0.5), 50.0);
    assert_eq!(statistics::percentile(&hundred, 0.99), 99.0);
    assert_eq!(statistics::percentile(&hundred, 0.999), 100.0);
    assert_eq!(statistics::percentile(&hundred, 1.0), 100.0);
    assert_eq!(statistics::percentile(&hundred, 0.0), 1.0);
    assert_eq!(statistics::percentile(&[5.0], 0.99), 5.0);
    assert!(statistics::percentile(&[], 0.5).is_nan());
}
