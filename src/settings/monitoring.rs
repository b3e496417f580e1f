//! Address at which nats-server serves its monitoring over HTTP.

use super::values::{self, Parsed};

/// Reads the URL of a server's monitoring, without a path; empty for none.
pub(super) fn monitoring_url(url: &str) -> Parsed<Option<String>> {
    if url.is_empty() {
        return Ok(None);
    }
    let url = values::web_url(url, "http://host:8222 or https://host:8222")?;
    Ok(Some(url.trim_end_matches('/').to_owned()))
}
