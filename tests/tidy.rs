//! The invariants of ARCHITECTURE.md, held by reading the source.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// A source file: its path from the top of the repository, and its lines.
struct Source {
    path: String,
    lines: Vec<String>,
}

impl Source {
    /// The lines of code: without comments, and without the unit tests at the end.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .map(|line| line.as_str())
            .take_while(|line| *line != "#[cfg(test)]")
            .filter(|line| !line.trim_start().starts_with("//"))
    }

    fn is_under(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }
}

/// Every Rust file below a folder.
fn sources(folder: &str) -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders = vec![top.join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push(Source {
                    path: path.strip_prefix(top).unwrap().display().to_string(),
                    lines: text.lines().map(str::to_owned).collect(),
                });
            }
        }
    }
    assert!(!sources.is_empty(), "{folder} has no source");
    sources
}

/// Fails when one of `words` stands in code outside `allowed`.
fn assert_only_in(allowed: &[&str], words: &[&str]) {
    let offences: Vec<String> = sources("src")
        .iter()
        .filter(|source| !source.is_under(allowed))
        .flat_map(|source| {
            source
                .code()
                .filter(|line| words.iter().any(|word| line.contains(word)))
                .map(|line| format!("{}: {}", source.path, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(offences.is_empty(), "only in {allowed:?}: {offences:#?}");
}

#[test]
fn only_the_ack_stage_settles_a_message() {
    assert_only_in(
        &["src/pipeline/ack.rs", "src/pipeline/in_flight.rs"],
        &[".settle()", "+ACK", "+TERM", ".ack()", ".double_ack()"],
    );
    assert_only_in(&["src/pipeline/keep_alive.rs"], &["-NAK", "+WPI"]);
}

#[test]
fn only_the_pipeline_makes_channels() {
    // The producer reads its source on a thread of its own, which standard input needs. The
    // settings in force are no queue. What goes to the cache is no part of the pipeline.
    assert_only_in(
        &[
            "src/pipeline/wiring.rs",
            "src/cache/queue.rs",
            "src/command/produce/source.rs",
            "src/reload.rs",
        ],
        &[
            "mpsc::channel(",
            "watch::channel(",
            "oneshot::channel(",
            "broadcast::channel(",
            "unbounded_channel(",
        ],
    );
}

#[test]
fn no_channel_is_unbounded() {
    assert_only_in(&[], &["unbounded"]);
}

#[test]
fn only_settings_reads_the_environment() {
    assert_only_in(&["src/settings"], &["env::var", "env::vars"]);
}

#[test]
fn signals_and_batches_know_no_clock_and_no_io() {
    let pure = ["src/signal", "src/pipeline/batch.rs"];
    let impure = [
        "Instant",
        "SystemTime",
        "now_utc",
        "std::fs",
        "std::io",
        "std::net",
        "tokio",
        "async ",
        "async_nats::",
        "println!",
        "tracing",
    ];
    for source in sources("src") {
        let is_pure = source.is_under(&pure) && !source.path.ends_with("tests.rs");
        for line in source.code().filter(|_| is_pure) {
            let word = impure.iter().find(|word| line.contains(**word));
            assert!(word.is_none(), "{}: {line}", source.path);
        }
    }
}

#[test]
fn there_is_no_unsafe_code() {
    // Of every target of the package: the library, the binary and the tests.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = std::fs::read_to_string(manifest).unwrap();
    let lints = text.split("[lints.rust]").nth(1).unwrap_or_default();
    assert!(lints.contains("unsafe_code = \"forbid\""));
    // libFuzzer's macro has some, so the compiler cannot forbid it there.
    for source in sources("fuzz/fuzz_targets") {
        assert!(
            !source.code().any(|line| line.contains("unsafe")),
            "{}",
            source.path
        );
    }
}

#[test]
fn there_is_no_global_mutable_state() {
    assert_only_in(
        &[],
        &[
            "static mut ",
            "OnceLock<",
            "LazyLock<",
            "thread_local!",
            "OnceCell<",
        ],
    );
}

#[test]
fn nothing_is_left_to_be_done() {
    assert_only_in(&[], &["todo!", "unimplemented!", "TODO", "FIXME"]);
}

#[test]
fn files_and_functions_stay_short() {
    let mut offences = Vec::new();
    let folders = ["src", "crates", "tests", "benches"];
    for source in folders.into_iter().flat_map(sources) {
        if source.lines.len() > FILE_LINES_MAX {
            offences.push(format!("{} has {} lines", source.path, source.lines.len()));
        }
        // A table of cases in a test may be as long as it has cases.
        let code: Vec<String> = source.code().map(str::to_owned).collect();
        let is_test = source.path.ends_with("tests.rs")
            || source.path.starts_with("tests/it/")
            || source.path.contains("/tests/");
        for (name, lines) in functions(&code) {
            if lines > FUNCTION_LINES_MAX && !is_test {
                offences.push(format!("{}: {name} has {lines} lines", source.path));
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

/// The functions of a formatted file, each with its number of lines: from `fn` to the brace
/// that closes at the same depth.
fn functions(lines: &[String]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((qualifiers, head)) = code.split_once("fn ") else {
            continue;
        };
        // What may stand before `fn`; anything else is no head of a function.
        let words = ["pub", "pub(super)", "pub(crate)", "async", "const"];
        if !qualifiers
            .split_whitespace()
            .all(|word| words.contains(&word))
        {
            continue;
        }
        let head = head.split(['(', '<']).next().unwrap_or_default();
        let depth = line.len() - code.len();
        let end = format!("{}}}", " ".repeat(depth));
        let length = lines[at..].iter().position(|line| *line == end);
        found.extend(length.map(|length| (head.to_owned(), length + 1)));
    }
    found
}

#[test]
fn no_test_is_retried() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["Makefile", ".ci/run"] {
        let text = std::fs::read_to_string(top.join(file)).unwrap();
        assert!(
            !text.contains("retries") && !text.contains("|| true"),
            "{file}"
        );
    }
    assert!(!top.join(".config/nextest.toml").exists());
}
