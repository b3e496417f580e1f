//! Rules that bind several settings.

/// Condition that several settings satisfy together.
pub struct Rule<T> {
    /// Keys of the settings. A fault shows the first two with their values; `words` names the
    /// others. The first key is the one to examine first.
    pub keys: &'static [&'static str],
    /// Returns true when the condition holds.
    pub holds: fn(&T) -> bool,
    /// The condition in words.
    pub words: &'static str,
}

impl<T> Rule<T> {
    /// Requires a certificate and its key to be set together.
    pub const fn certificate_with_key(
        keys: &'static [&'static str],
        holds: fn(&T) -> bool,
    ) -> Self {
        Self {
            keys,
            holds,
            words: "a certificate and its key are set together",
        }
    }
}
