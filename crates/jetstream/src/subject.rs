//! Subject of a published signal.

/// Longest token of a subject in bytes; the server closes connections over longer protocol lines.
const TOKEN_BYTES_MAX: usize = 256;
/// Token of a signal without a type.
const UNKNOWN: &str = "unknown";

/// Returns `event_type` as one token of a subject. `_` replaces characters that have a meaning in
/// NATS or are not printable.
pub fn token_of(event_type: &str) -> String {
    if event_type.is_empty() {
        return UNKNOWN.to_owned();
    }
    event_type
        .char_indices()
        .take_while(|(start, character)| start + character.len_utf8() <= TOKEN_BYTES_MAX)
        .map(|(_, character)| character)
        .map(|character| match character {
            '.' | '*' | '>' => '_',
            other if other.is_whitespace() || other.is_control() => '_',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_token_of_a_bounded_line() {
        assert_eq!(token_of("risk_event"), "risk_event");
        assert_eq!(token_of("a.b c>*\n"), "a_b_c___");
        assert_eq!(token_of(""), UNKNOWN);
        assert_eq!(token_of(&"ä".repeat(300)).len(), TOKEN_BYTES_MAX);
    }
}
