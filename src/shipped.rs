//! Files of the repository that are generated from declarations in the code.

use std::path::PathBuf;

/// Compares a shipped file with its declarations; UPDATE_EXAMPLES=1 writes it first.
#[expect(clippy::disallowed_methods, reason = "a switch of tests, no setting")]
pub fn assert_shipped(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        shipped == text,
        "{name} is stale: run UPDATE_EXAMPLES=1 cargo test --lib reference"
    );
}
