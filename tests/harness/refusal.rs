//! What `risksignal check` says of a server that cannot be used.

use super::Stack;

/// `check` says that this part is wrong, with all of `words`, and nothing of `secrets`.
pub async fn assert_refused(
    stack: &Stack,
    part: &str,
    settings: &[(&str, &str)],
    words: &[&str],
    secrets: &[&str],
) {
    let run = stack.risksignal_with(&["check"], settings).await;
    let told = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
    let line = told
        .lines()
        .find(|line| line.split(' ').next() == Some(part));
    let line = line.unwrap_or_else(|| panic!("no line on {part} in: {told}"));
    assert!(line.contains("WRONG"), "{line}");
    for word in words {
        assert!(line.contains(word), "{word} in: {line}");
    }
    for secret in secrets {
        assert!(!told.contains(secret), "{told}");
    }
}
