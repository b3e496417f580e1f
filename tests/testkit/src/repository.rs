//! The repository that the tests belong to.

use std::path::{Path, PathBuf};

/// Path of a file of the repository, from its top.
pub fn repository(file: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    top.unwrap().join(file)
}
