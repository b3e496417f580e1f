//! No circle of files within a crate: each file imports, directly or through others, none that
//! imports it. Read from the paths in the source; a name that a `mod.rs` or `lib.rs` only hands on
//! counts as one of the file that defines it. Paths without `crate::`, `super::` or `self::` count
//! where they begin with a child module.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Path of a module within its crate; empty for the root.
type Module = Vec<String>;

/// The modules of a crate with the paths that each names.
struct Crate {
    paths: BTreeMap<Module, Vec<Named>>,
}

/// A path in a module's source.
struct Named {
    segments: Vec<String>,
    /// Handed on by `pub use`.
    is_handed_on: bool,
}

impl Crate {
    fn read(src: &Path) -> Self {
        let mut paths = BTreeMap::new();
        let mut folders = vec![src.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "main.rs"
                {
                    let module = module_of(&path, src);
                    paths.insert(module, named(&std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        Self { paths }
    }

    /// The module that defines what a path names from within `module`; `None` for another crate.
    fn home(&self, module: &Module, segments: &[String], depth: usize) -> Option<Module> {
        let mut base = module.clone();
        let mut rest = segments;
        match rest.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &rest[1..];
            }
            "self" | "super" => {
                while let Some(first) = rest.first().filter(|one| *one == "self" || *one == "super")
                {
                    if first == "super" {
                        base.pop();
                    }
                    rest = &rest[1..];
                }
            }
            child => {
                base.push(child.to_owned());
                if !self.paths.contains_key(&base) {
                    return None;
                }
                rest = &rest[1..];
            }
        }
        while let Some(next) = rest.first() {
            base.push(next.clone());
            if !self.paths.contains_key(&base) {
                base.pop();
                break;
            }
            rest = &rest[1..];
        }
        let names = self.paths.get(&base)?;
        let handed_on = rest.first().and_then(|item| {
            let mut handed_on = names.iter().filter(|one| one.is_handed_on && depth < 8);
            let found = handed_on.find(|one| one.segments.last() == Some(item))?;
            self.home(&base, &found.segments, depth + 1)
        });
        Some(handed_on.unwrap_or(base))
    }

    /// For each module those that it uses.
    fn uses(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |(module, names): (&Module, &Vec<Named>)| -> BTreeSet<Module> {
            let used = names.iter().filter(|one| !one.is_handed_on);
            let homes = used.filter_map(|one| self.home(module, &one.segments, 0));
            homes.filter(|home| home != module).collect()
        };
        let all = self.paths.iter();
        all.map(|entry| (entry.0, of(entry))).collect()
    }

    /// The modules that reach themselves.
    fn in_circles(&self) -> Vec<String> {
        let uses = self.uses();
        let reaches_itself = |module: &&Module| {
            let mut seen = BTreeSet::new();
            let mut next: Vec<&Module> = uses[*module].iter().collect();
            while let Some(one) = next.pop() {
                if one == *module {
                    return true;
                }
                if seen.insert(one) {
                    next.extend(uses.get(one).into_iter().flatten());
                }
            }
            false
        };
        let found = self.paths.keys().filter(reaches_itself);
        found.map(|module| module.join("::")).collect()
    }
}

fn module_of(path: &Path, src: &Path) -> Module {
    let within = path.strip_prefix(src).unwrap().with_extension("");
    let mut module: Module = within
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if ["mod", "lib"].contains(&module.last().unwrap().as_str()) {
        module.pop();
    }
    module
}

/// Every path in a source, without comments and unit tests.
fn named(text: &str) -> Vec<Named> {
    let code: String = text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]" || text.ends_with("mod tests;\n"))
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].lines().last().unwrap_or_default();
        let before = match code[..at].ends_with('\n') {
            true => "",
            false => line.trim(),
        };
        let is_use = before.is_empty() || before.starts_with("pub");
        let Some(end) = code[at..].find(';').filter(|_| is_use) else {
            continue;
        };
        for segments in expanded(&code[at + 4..at + end]) {
            found.push(Named {
                segments,
                is_handed_on: before.starts_with("pub"),
            });
        }
    }
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let path = code[at..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let path = path.into_iter().next().unwrap_or_default();
            let in_use = code[..at]
                .rsplit(['\n', ';', '{', '}'])
                .next()
                .unwrap_or_default();
            if !in_use.contains("use ") {
                let segments = path.split("::").filter(|one| !one.is_empty());
                found.push(Named {
                    segments: segments.map(str::to_owned).collect(),
                    is_handed_on: false,
                });
            }
        }
    }
    found
}

/// The paths of a use tree.
fn expanded(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((head, body)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let segments = path
            .split("::")
            .map(str::trim)
            .filter(|one| *one != "self" || path.starts_with("self"));
        return vec![segments.map(str::to_owned).collect()];
    };
    let body = body.rsplit_once('}').map_or(body, |(body, _)| body);
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for letter in body.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| expanded(&format!("{head}{}", part.trim())))
        .collect()
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = std::fs::read_dir(top.join("crates")).unwrap();
    let crates = crates.map(|entry| entry.unwrap().path().join("src"));
    let mut roots: Vec<PathBuf> = crates.collect();
    roots.extend(["src", "tests/testkit/src"].map(|root| top.join(root)));
    assert!(roots.len() > 8, "{roots:?}");
    for root in roots {
        let found = Crate::read(&root);
        assert!(!found.uses().is_empty());
        let circles = found.in_circles();
        assert!(circles.is_empty(), "{}: {circles:#?}", root.display());
    }
}

/// The finder finds one.
#[test]
fn a_circle_through_a_name_that_is_handed_on_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("lib.rs", "mod a;\nmod b;\npub use b::{B, C as D};\n");
    write("a.rs", "use crate::B;\n\npub struct A(B);\n");
    write("b.rs", "pub struct B;\npub struct C;\n");
    assert_eq!(Crate::read(folder.path()).in_circles(), [""; 0]);
    write("b.rs", "pub struct B(super::a::A);\n");
    assert_eq!(Crate::read(folder.path()).in_circles(), ["a", "b"]);
}
