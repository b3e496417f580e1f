//! A server's description of itself.

use serde::Deserialize;

/// `INFO` of a server, as far as a reader needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Info {
    /// Largest message that it accepts, in bytes.
    pub max_payload: usize,
    /// True if it accepts no connection without TLS.
    pub tls_required: bool,
    /// Text to sign by a login with a key.
    pub nonce: String,
    /// Addresses of all servers of its cluster.
    pub connect_urls: Vec<String>,
    /// True if it shuts down and closes its connections one by one (lame duck mode).
    #[serde(rename = "ldm")]
    pub is_leaving: bool,
}

impl Info {
    /// Parses the JSON of an `INFO`; `None` if it is malformed.
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}
