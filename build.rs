//! Sets RISKSIGNAL_LONG_VERSION, the text of `--version`.
//!
//! The commit comes from RISKSIGNAL_COMMIT, else from git, else from the file `.commit` of an
//! archive by `git archive`. The date is the commit's, or SOURCE_DATE_EPOCH: never that of the
//! build, so that a build can be repeated. A debug build does not ask git: each commit would then
//! build the program and its tests again.

#[path = "src/cli/stamp.rs"]
mod stamp;

use std::path::Path;
use std::process::Command;

use stamp::Commit;

const COMMIT: &str = "RISKSIGNAL_COMMIT";
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Content of an archive's `.commit`, and of git's answer.
const FORMAT: &str = "--format=%H %ct";

#[expect(clippy::disallowed_methods, reason = "cargo's interface, no setting")]
fn main() {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    for name in [COMMIT, EPOCH] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for file in ["build.rs", "src/cli/stamp.rs", ".commit"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let root = variable("CARGO_MANIFEST_DIR").unwrap_or_default();
    let root = Path::new(&root);
    let given = variable(COMMIT).map(|hash| Commit {
        hash,
        seconds: None,
    });
    let is_release = variable("PROFILE").as_deref() == Some("release");
    let version = stamp::long_version(
        &variable("CARGO_PKG_VERSION").unwrap_or_default(),
        given
            .or_else(|| is_release.then(|| from_git(root)).flatten())
            .or_else(|| Commit::parse(&std::fs::read_to_string(root.join(".commit")).ok()?))
            .as_ref(),
        variable(EPOCH).as_deref(),
        &variable("TARGET").unwrap_or_default(),
    );
    println!("cargo::rustc-env=RISKSIGNAL_LONG_VERSION={version}");
}

/// Asks git, if this folder is the top of its checkout: an archive may be unpacked in another one.
fn from_git(root: &Path) -> Option<Commit> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // Changes with each commit and checkout.
    for name in ["HEAD", "logs/HEAD"] {
        let path = root.join(git(&["rev-parse", "--git-path", name])?);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Commit::parse(&git(&["log", "-1", FORMAT])?)
}
