//! Tests that need what a machine may lack.

use std::io::Write;

/// Reports that the current test is skipped, and why; for what CI may lack, too.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not by a macro, whose output a test that passes does not show.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Reports that the current test is skipped, and why.
///
/// # Panics
/// In CI, which has what the test needs.
#[expect(clippy::disallowed_methods, reason = "set by .ci/run")]
pub fn skip_but_in_ci(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI must not skip: {why}");
    skip(why);
}
