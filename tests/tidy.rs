//! The invariants of ARCHITECTURE.md, held by reading the source and the documents.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

#[path = "tidy/documents.rs"]
mod documents;

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// A source file: its path from the top of the repository, and its text.
struct Source {
    path: String,
    text: String,
}

/// Any item of code but a comment.
struct Token {
    text: String,
    is_literal: bool,
}

impl Source {
    /// Tokens of the code, without unit tests.
    fn tokens(&self) -> Vec<Token> {
        let mut tokens = Vec::new();
        flatten(self.stream(), &mut tokens);
        tokens
    }

    fn stream(&self) -> TokenStream {
        let stream = self.text.parse();
        stream.unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    fn has_word(&self, word: &str) -> bool {
        let mut tokens = self.tokens().into_iter();
        tokens.any(|token| !token.is_literal && token.text == word)
    }

    fn has_literal(&self, part: &str) -> bool {
        let mut tokens = self.tokens().into_iter();
        tokens.any(|token| token.is_literal && token.text.contains(part))
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in without_unit_tests(stream) {
        match tree {
            TokenTree::Group(group) => flatten(group.stream(), tokens),
            TokenTree::Ident(ident) => tokens.push(Token {
                text: ident.to_string(),
                is_literal: false,
            }),
            TokenTree::Literal(literal) => tokens.push(Token {
                text: literal.to_string(),
                is_literal: true,
            }),
            TokenTree::Punct(_) => {}
        }
    }
}

/// Leaves out doc comments, and each item behind `#[cfg(test)]`.
fn without_unit_tests(stream: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut trees = stream.into_iter();
    while let Some(tree) = trees.next() {
        let attribute = match &tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                group.stream().to_string().replace(' ', "")
            }
            _ => String::new(),
        };
        if attribute == "cfg(test)" {
            trees.by_ref().find(is_end_of_item);
        } else if !attribute.starts_with("doc=") {
            kept.push(tree);
        }
    }
    kept
}

fn is_end_of_item(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    }
}

/// Reads every Rust file below a folder.
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
                sources.push(Source {
                    path: path.strip_prefix(top).unwrap().display().to_string(),
                    text: std::fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    assert!(!sources.is_empty(), "{folder} has no source");
    sources
}

/// Reads every source file of the binary and of the crates, without their tests.
fn program() -> impl Iterator<Item = Source> {
    let crates = sources("crates").into_iter();
    let crates = crates.filter(|source| source.path.contains("/src/"));
    sources("src").into_iter().chain(crates)
}

/// Fails unless just these files have a literal with one of `parts`.
fn assert_literals_only_in(
    allowed: &[&str],
    sources: impl Iterator<Item = Source>,
    parts: &[&str],
) {
    let found = sources.filter(|source| parts.iter().any(|part| source.has_literal(part)));
    let mut found: Vec<String> = found.map(|source| source.path).collect();
    found.sort();
    assert_eq!(found, allowed, "{parts:?}");
}

#[test]
fn only_the_ack_stage_settles_a_message() {
    let ack = ["src/pipeline/stage/ack.rs"];
    assert_literals_only_in(&ack, program(), &["+ACK", "+TERM"]);
    let keep_alive = ["src/pipeline/liveness/keep_alive.rs"];
    assert_literals_only_in(&keep_alive, program(), &["-NAK", "+WPI"]);
}

/// Others go through the settings' table, so that a misspelled key does not compile.
#[test]
fn only_one_file_writes_to_standard_output() {
    let sources = sources("src").into_iter();
    let writers = sources.filter(|source| source.has_word("stdout"));
    let writers: Vec<String> = writers.map(|source| source.path).collect();
    assert_eq!(writers, ["src/command/output.rs"]);
}

#[test]
fn only_tests_of_names_write_a_variable_as_text() {
    let folders = ["benches", "tests"].into_iter().flat_map(sources);
    assert_literals_only_in(
        &[
            "benches/end_to_end/candidate.rs",
            "tests/bench.rs",
            "tests/it/configuration.rs",
            "tests/it/contracts.rs",
            "tests/it/secrets.rs",
            "tests/it/traces_export.rs",
            "tests/tidy.rs",
        ],
        folders,
        &["RISKSIGNAL__"],
    );
}

#[test]
fn pure_crates_depend_on_no_runtime_and_no_io() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    for name in ["claims", "detect", "signal", "synthetic"] {
        let manifest = std::fs::read_to_string(top.join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        for impure in [
            "tokio", "async", "hyper", "tracing", "futures", "store", "net",
        ] {
            let depends = dependencies.lines().any(|line| line.starts_with(impure));
            assert!(!depends, "{name} depends on {impure}");
        }
    }
}

#[test]
fn batches_know_no_clock_and_no_io() {
    // The others are given the time.
    let timeless = [
        "src/pipeline/crossing/batch.rs",
        "src/pipeline/batching/open_batch.rs",
    ];
    let timed = [
        "src/pipeline/batching/batcher.rs",
        "src/pipeline/batching/pace.rs",
    ];
    let pure = [timeless, timed].concat();
    let impure = [
        "elapsed",
        "SystemTime",
        "now_utc",
        "fs",
        "io",
        "tokio",
        "async",
        "async_nats",
        "println",
        "tracing",
    ];
    let sources = sources("src").into_iter();
    let sources: Vec<Source> = sources
        .filter(|source| pure.contains(&source.path.as_str()))
        .collect();
    assert_eq!(sources.len(), pure.len());
    for source in sources {
        let word = impure.iter().find(|word| source.has_word(word));
        assert!(word.is_none(), "{}: {word:?}", source.path);
        let code = source.text.split("#[cfg(test)]").next();
        assert!(!code.unwrap().contains("Instant::now"), "{}", source.path);
        let has_time = source.has_word("Instant");
        assert!(
            !has_time || timed.contains(&source.path.as_str()),
            "{}",
            source.path
        );
    }
}

#[test]
fn unsafe_code_is_in_the_allocator_alone() {
    // Of every target of every package: libraries, the binary and tests.
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(top.join("Cargo.toml")).unwrap();
    let lints = manifest.split("[workspace.lints.rust]").nth(1).unwrap();
    assert!(lints.contains("unsafe_code = \"forbid\""));
    let crates = std::fs::read_dir(top.join("crates")).unwrap();
    let crates = crates.map(|entry| entry.unwrap().path());
    // mimalloc has a setting that only C can reach.
    let crates = crates.filter(|folder| !folder.ends_with("allocator"));
    for folder in crates.chain([top.to_owned(), top.join("tests/testkit")]) {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{}",
            folder.display()
        );
    }
    let allocator = std::fs::read_to_string(top.join("crates/allocator/Cargo.toml")).unwrap();
    assert!(allocator.contains("unsafe_code = \"deny\""));
    // libFuzzer's macro has some, so the compiler cannot forbid it there.
    for source in sources("fuzz/fuzz_targets") {
        assert!(!source.has_word("unsafe"), "{}", source.path);
    }
}

#[test]
fn files_and_functions_stay_short() {
    let mut offences = Vec::new();
    let folders = ["src", "crates", "tests", "benches"];
    for source in folders.into_iter().flat_map(sources) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            offences.push(format!("{} has {lines} lines", source.path));
        }
        // A table of cases in a test may be as long as it has cases.
        let is_test = source.path.ends_with("tests.rs")
            || source.path.starts_with("tests/it/")
            || source.path.contains("/tests/");
        if !is_test {
            long_functions(source.stream(), &source.path, &mut offences);
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

/// Finds functions that are too long, from `fn` to the closing brace; unit tests are exempt.
fn long_functions(stream: TokenStream, path: &str, found: &mut Vec<String>) {
    let mut head = None;
    for tree in without_unit_tests(stream) {
        match tree {
            TokenTree::Ident(word) if word == "fn" => head = Some(word.span().start().line),
            TokenTree::Punct(punct) if punct.as_char() == ';' => head = None,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let end = group.span_close().start().line;
                if let Some(start) = head.take()
                    && end - start >= FUNCTION_LINES_MAX
                {
                    found.push(format!("{path}:{start}: {} lines", end - start + 1));
                }
                long_functions(group.stream(), path, found);
            }
            _ => {}
        }
    }
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
