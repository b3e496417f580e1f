//! The rules of our English that reading by machine can hold: how doc comments begin, words that we
//! no longer use, and the width of comments.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

use std::path::{Path, PathBuf};

/// Folders to check.
const FOLDERS: [&str; 5] = ["src", "crates", "tests", "benches", "docs"];
/// First words that announce a clause, not a thing or an action.
const FIRST_WORDS: [&str; 15] = [
    "As", "How", "Of", "So", "That", "Those", "What", "When", "Where", "Whether", "Which", "Who",
    "Whom", "Whose", "Why",
];
/// Words of our old style, in lower case.
const OLD_WORDS: [&str; 10] = [
    "anew",
    "as it should be",
    "has them do",
    "have them do",
    "is concerned",
    "of it",
    "stands",
    "tell",
    "tells",
    "told",
];
/// Longest line of a comment, in characters.
const COLUMNS_MAX: usize = 100;

/// A line with its place, as `path:number`.
struct Line {
    place: String,
    text: String,
}

/// Reads the lines of every file with one of these extensions, file by file.
fn files(extensions: &[&str]) -> Vec<Vec<Line>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut paths: Vec<PathBuf> = FOLDERS.map(|folder| top.join(folder)).into();
    while let Some(path) = paths.pop() {
        let name = path.strip_prefix(top).unwrap().display().to_string();
        // This file quotes the words.
        if name == "tests/language.rs" {
            continue;
        }
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            paths.extend(entries.map(|entry| entry.unwrap().path()));
            continue;
        }
        let extension = path.extension().unwrap_or_default().to_str().unwrap();
        if extensions.contains(&extension) {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().enumerate().map(|(index, text)| Line {
                place: format!("{name}:{}", index + 1),
                text: text.to_owned(),
            });
            files.push(lines.collect());
        }
    }
    assert!(!files.is_empty(), "nothing is checked");
    files
}

/// Returns the text of a line of a doc comment.
fn doc(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let text = line.strip_prefix("///");
    Some(text.or_else(|| line.strip_prefix("//!"))?.trim())
}

/// Reports whether a text, in lower case, contains these words, and not only parts of others.
fn has_words(text: &str, words: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(words).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + words.len()..].starts_with(is_part)
    })
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    let mut faults = Vec::new();
    for lines in files(&["rs"]) {
        let mut was_doc = false;
        for line in &lines {
            let text = doc(&line.text);
            let first = text.and_then(|text| text.split([' ', ',']).next());
            if !was_doc && first.is_some_and(|first| FIRST_WORDS.contains(&first)) {
                faults.push(format!("{}: {}", line.place, line.text));
            }
            was_doc = text.is_some();
        }
    }
    assert_none(&faults);
}

#[test]
fn old_words_are_gone() {
    let mut faults = Vec::new();
    for line in files(&["rs", "md"]).iter().flatten() {
        let text = line.text.to_lowercase();
        let old = OLD_WORDS.iter().find(|words| has_words(&text, words));
        faults.extend(old.map(|words| format!("{}: \"{words}\": {}", line.place, line.text)));
    }
    assert_none(&faults);
}

#[test]
fn comments_are_at_most_100_columns_wide() {
    let mut faults = Vec::new();
    for line in files(&["rs"]).iter().flatten() {
        let is_comment = line.text.trim_start().starts_with("//");
        if is_comment && line.text.chars().count() > COLUMNS_MAX {
            faults.push(line.place.clone());
        }
    }
    assert_none(&faults);
}
