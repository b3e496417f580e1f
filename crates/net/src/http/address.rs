//! Addresses of hosts to listen on.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use option_kit::ListenAddress;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// Longest time of a lookup. A resolver that does not answer takes longer by default.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// A failure to listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The host has no address.
    #[error(
        "{key} is {host:?}, a host without an address: {reason}; check its name in DNS and /etc/hosts, or set an IP address, such as 127.0.0.1 or [::] for all"
    )]
    Lookup {
        /// Setting of the address.
        key: &'static str,
        /// Name of the host.
        host: String,
        /// Error of the lookup.
        reason: String,
    },
    /// The address cannot be bound.
    #[error(
        "cannot listen on {address} ({key}): {source}; is another risksignal running there? Set {key} to another port{}", match *.key {
            "ops.listen" => ", or to off",
            _ => "",
        }
    )]
    Bind {
        /// Setting of the address.
        key: &'static str,
        /// Address to bind.
        address: SocketAddr,
        /// Error of the system.
        source: io::Error,
    },
}

/// Returns the address to listen on; of a host the first IPv4 address, or else the first IPv6
/// address. `key` is the setting that it comes from.
///
/// # Errors
/// Fails when a host has no address.
pub async fn lookup(key: &'static str, address: &ListenAddress) -> Result<SocketAddr, ListenError> {
    let (host, port) = match address {
        ListenAddress::Ip(address) => return Ok(*address),
        ListenAddress::Host(host, port) => (host.as_str(), *port),
    };
    let failed = |reason: String| ListenError::Lookup {
        key,
        host: host.to_owned(),
        reason,
    };
    let found = timeout(LOOKUP_TIMEOUT, lookup_host((host, port))).await;
    let found = found.map_err(|_| {
        let seconds = LOOKUP_TIMEOUT.as_secs();
        failed(format!("no answer within {seconds} s"))
    })?;
    let found = found.map_err(|error| failed(error.to_string()))?;
    // Clients of a host try each of its addresses, and most are given IPv4.
    let first = found.min_by_key(SocketAddr::is_ipv6);
    first.ok_or_else(|| failed("no address is known".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_has_its_ipv4_address_and_an_unknown_one_a_remedy() {
        let host = |host: &str| ListenAddress::Host(host.to_owned(), 80);
        let found = lookup("ops.listen", &host("localhost")).await.unwrap();
        assert_eq!(found, "127.0.0.1:80".parse().unwrap());
        // RFC 6761: no such name exists.
        let unknown = lookup("ops.listen", &host("nowhere.invalid")).await;
        let text = unknown.unwrap_err().to_string();
        assert!(
            text.starts_with("ops.listen is \"nowhere.invalid\", a host without an address"),
            "{text}"
        );
        assert!(text.contains("set an IP address"), "{text}");
    }
}
