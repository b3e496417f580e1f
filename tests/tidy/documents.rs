//! The documents: their links, their sizes, and that none is left out.

use std::path::{Path, PathBuf};

const README_BYTES_MAX: usize = 8 * 1024;
const ARCHITECTURE_BYTES_MAX: usize = 15 * 1024;

/// Folders of the book.
const BOOK: [&str; 3] = ["docs", "docs/internals", "docs/internals/decisions"];

/// Paths of the Markdown files directly in a folder.
fn markdown_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    paths.filter(is_page).collect()
}

/// Pages of the repository for people: those at the top, in the book and in infra.
fn pages() -> Vec<(PathBuf, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["", "infra"].into_iter().chain(BOOK);
    let pages = folders.flat_map(|folder| markdown_in(&top.join(folder)));
    pages
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// Lines of a page outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The anchor that a heading gets on GitHub and in mdBook.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in pages() {
        for line in prose(&text) {
            for target in line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
                let file = match file {
                    "" => path.clone(),
                    file => path.parent().unwrap().join(file),
                };
                let leads = file.exists()
                    && (fragment.is_empty()
                        || std::fs::read_to_string(&file).is_ok_and(|text| {
                            let mut headings = prose(&text).filter(|line| line.starts_with('#'));
                            headings.any(|heading| anchor(heading) == fragment)
                        }));
                if !leads {
                    broken.push(format!("{}: {target}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_first_pages_stay_short() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, bytes_max) in [
        ("README.md", README_BYTES_MAX),
        ("ARCHITECTURE.md", ARCHITECTURE_BYTES_MAX),
    ] {
        let bytes = std::fs::read_to_string(top.join(name)).unwrap().len();
        assert!(bytes <= bytes_max, "{name} has {bytes} bytes");
    }
}

#[test]
fn the_map_has_a_heading_for_each_crate_and_each_component() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(top.join("ARCHITECTURE.md")).unwrap();
    let headings: Vec<&str> = map
        .lines()
        .filter(|line| line.starts_with("### "))
        .collect();
    for folder in ["crates", "src"] {
        for entry in std::fs::read_dir(top.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let is_named = headings.iter().any(|heading| {
                let mut words = heading.split(|c: char| c.is_whitespace() || c == ',');
                words.any(|word| word == name)
            });
            assert!(is_named || !entry.path().is_dir(), "{folder}/{name}");
        }
    }
}

#[test]
fn the_book_lists_every_page() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let summary = std::fs::read_to_string(top.join("SUMMARY.md")).unwrap();
    for folder in BOOK {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for path in markdown_in(&folder) {
            let name = path.strip_prefix(&top).unwrap().display().to_string();
            let is_listed = summary.contains(&format!("({name})"));
            assert!(is_listed || name == "SUMMARY.md", "{name}");
        }
    }
}

/// Errors of servers and clients that the table of log lines quotes.
const OF_OTHERS: [&str; 10] = [
    "authorization violation",
    "certificate has expired",
    "client error (Connect)",
    "insufficient resources",
    "jetstream is not enabled",
    "maximum bytes exceeded",
    "Connection refused",
    "Permissions Violation",
    "up --wait",
    "'name' does not match any of the regexes: '^x-'",
];

/// The text of all source files of a folder, with string literals on one line.
fn source_text(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if path.is_dir() {
            text += &source_text(&path);
        } else if is_source {
            let source = std::fs::read_to_string(path).unwrap();
            let lines = source.lines().map(str::trim_start);
            for line in lines {
                text += line.strip_suffix('\\').unwrap_or(line);
            }
        }
    }
    text
}

#[test]
fn each_log_line_in_the_table_of_log_lines_is_logged() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = source_text(&top.join("src")) + &source_text(&top.join("crates"));
    let page = std::fs::read_to_string(top.join("docs/troubleshooting.md")).unwrap();
    let cells = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let quotes = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let pieces = quotes.flat_map(|quote| quote.split('…')).map(str::trim);
    let words = pieces.filter(|piece| piece.contains(' ') && !piece.starts_with("stack:"));
    let words: Vec<&str> = words.filter(|piece| !OF_OTHERS.contains(piece)).collect();
    assert!(words.len() > 25, "{words:#?}");
    let unknown = words.iter().filter(|piece| !source.contains(**piece));
    let unknown: Vec<&&str> = unknown.collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}
