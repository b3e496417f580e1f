//! Words of `risksignal check` on a server that cannot be used.

use crate::stack::Stack;

/// `check` says that this part is wrong, with all of `words`, and nothing of `secrets`.
pub async fn assert_refused(
    stack: &Stack,
    part: &str,
    settings: &[(&str, &str)],
    words: &[&str],
    secrets: &[&str],
) {
    let run = stack.risksignal_with(&["check"], settings).await;
    let output = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
    let line = output
        .lines()
        .find(|line| line.split(' ').next() == Some(part));
    let line = line.unwrap_or_else(|| panic!("no line on {part} in: {output}"));
    assert!(line.contains("WRONG"), "{line}");
    for word in words {
        assert!(line.contains(word), "{word} in: {line}");
    }
    for secret in secrets {
        assert!(!output.contains(secret), "{output}");
    }
}
