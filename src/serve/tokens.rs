//! The file of tokens: clients over HTTP and their scopes. It holds hashes, so that anybody who
//! reads it can show none of them.

use std::num::NonZeroU32;
use std::path::Path;

use option_kit::{Parsed, file_text};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// The setting that names the file.
pub const KEY: &str = "serve.tokens_file";

/// Thousands of tokens; what is larger is another file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of a SHA-256.
const HASH_BYTES: usize = 32;
/// Signals a second that no one process takes; what counts them goes down to nanoseconds.
const RATE_MAX: u32 = 1_000_000;
/// A token's name begins message ids, whose length is bounded.
const NAME_CHARS_MAX: usize = 64;

/// One token, by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its owner. Two may share a name, while one takes the other's place.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// The SHA-256 of the token.
    #[serde(deserialize_with = "hash")]
    pub sha256: [u8; HASH_BYTES],
    /// Its scopes.
    pub scopes: Vec<Scope>,
    /// The types of signals that it may send; `None` is all.
    pub event_types: Option<Vec<String>>,
    /// Signals a second, and questions a second; `None` is no bound.
    pub rate: Option<NonZeroU32>,
    /// Signals at once, after a pause; `None` is as many as `rate`.
    pub burst: Option<NonZeroU32>,
}

/// Purpose of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To send signals.
    Ingest,
    /// To read back what came of them.
    Read,
}

impl Scope {
    /// Its name, as the file has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Token>,
}

/// The tokens of a file; none where no file is named.
pub(super) fn read(path: &str) -> Parsed<Vec<Token>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    parse(&file_text(Path::new(path), FILE_BYTES_MAX)?)
}

fn parse(text: &str) -> Parsed<Vec<Token>> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        // Its own words would quote the line, and with it a token that was put there in clear.
        format!("line {line} is wrong: {}", error.message())
    })?;
    if file.token.is_empty() {
        return Err("holds no [[token]]; `risksignal serve token` makes one".to_owned());
    }
    for (at, token) in file.token.iter().enumerate() {
        let wrong = |what: &str| Err(format!("token {}, {:?}, {what}", at + 1, token.name));
        if token.scopes.is_empty() {
            return wrong("has no scopes, and so is for nothing");
        }
        let bounds = [token.rate, token.burst];
        if bounds
            .into_iter()
            .flatten()
            .any(|bound| bound.get() > RATE_MAX)
        {
            return wrong(&format!("has a rate or a burst above {RATE_MAX}"));
        }
        if token.burst.is_some() && token.rate.is_none() {
            return wrong("has a burst and no rate");
        }
        if file.token[..at]
            .iter()
            .any(|other| other.sha256 == token.sha256)
        {
            return wrong("has the sha256 of another one");
        }
    }
    Ok(file.token)
}

/// Checks that a text can be in the file of tokens.
///
/// # Errors
/// Returns the fault where it cannot.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// Shows them for the log: each name, and the beginning of its hash.
pub fn shown(tokens: &[Token]) -> String {
    if tokens.is_empty() {
        return "no tokens".to_owned();
    }
    let shown = tokens.iter().map(|token| {
        let [a, b, c, d, ..] = token.sha256;
        format!("{} {a:02x}{b:02x}{c:02x}{d:02x}", token.name)
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(fits) {
        return Err(D::Error::custom(format!(
            "a name has 1 to {NAME_CHARS_MAX} letters, digits, - _ and ."
        )));
    }
    Ok(name)
}

fn hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; HASH_BYTES], D::Error> {
    let text = String::deserialize(deserializer)?;
    from_hex(&text).ok_or_else(|| {
        D::Error::custom(
            "sha256 is the SHA-256 of a token, 64 hexadecimal digits, and never the token itself",
        )
    })
}

fn from_hex(text: &str) -> Option<[u8; HASH_BYTES]> {
    let mut bytes = [0; HASH_BYTES];
    if text.len() != 2 * HASH_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn a_token_has_what_it_is_for() {
        let text = format!(
            "[[token]]\nname = 'app'\nsha256 = '{HASH}'\nscopes = ['ingest', 'read']\n\
             event_types = ['risk_event']\nrate = 5\nburst = 10\n"
        );
        let token = parse(&text).unwrap().remove(0);
        assert_eq!(token.sha256[..2], [0x9f, 0x86]);
        assert_eq!(token.scopes, [Scope::Ingest, Scope::Read]);
        assert_eq!(token.event_types, Some(vec!["risk_event".to_owned()]));
        assert_eq!(token.rate.map(u32::from), Some(5));
        assert_eq!(shown(&[token]), "app 9f86d081");
    }

    #[test]
    fn a_fault_names_its_line_and_no_token() {
        let token = |rest: &str| format!("[[token]]\nname = 'app'\nscopes = ['ingest']\n{rest}");
        let hash = format!("sha256 = '{HASH}'\n");
        for (text, expected) in [
            (String::new(), "holds no [[token]]"),
            (
                token("sha256 = 'rs_hunter2'"),
                "line 4 is wrong: sha256 is the",
            ),
            (token("sha256 = hunter2"), "line 4 is wrong"),
            (token("hunter2 = 'x'"), "line "),
            (token(""), "missing field `sha256`"),
            (token(&hash).replace("'ingest'", ""), "has no scopes"),
            (
                token(&hash).replace("'ingest'", "'write'"),
                "unknown variant",
            ),
            (token(&hash).replace("app", "a b"), "a name has 1 to 64"),
            (token(&format!("{hash}burst = 3")), "a burst and no rate"),
            (token(&format!("{hash}rate = 0")), "line 5 is wrong"),
            (token(&format!("{hash}rate = 1000001")), "above 1000000"),
            (token(&hash).repeat(2), "the sha256 of another one"),
        ] {
            let fault = parse(&text).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
        let fault = parse(&token("sha256 = 'rs_hunter2'")).unwrap_err();
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}
