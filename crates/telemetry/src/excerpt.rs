//! Excerpts of texts that somebody else wrote.

/// Characters of a text that somebody else wrote, of which only the beginning is kept.
const TEXT_CHARS_MAX: usize = 300;

/// The beginning of a text that somebody else wrote, and a mark where more follows.
pub(super) fn cut(text: &str) -> String {
    let beginning = beginning(text);
    match beginning.len() < text.len() {
        true => format!("{beginning}…"),
        false => text.to_owned(),
    }
}

/// The beginning of a text that somebody else wrote.
pub(super) fn beginning(text: &str) -> &str {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
