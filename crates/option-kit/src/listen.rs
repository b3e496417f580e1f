//! Addresses to listen on.

use std::fmt::{self, Display};
use std::net::SocketAddr;

use crate::kind::{Kind, Parsed};

/// Longest host name, by RFC 1035.
const HOST_CHARS_MAX: usize = 253;

/// An address to listen on: an IP address or the name of a host, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address.
    Ip(SocketAddr),
    /// A host, whose address is looked up at the start.
    Host(String, u16),
}

impl Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// Accepts an address to listen on, or `off` for none.
pub fn listen_address_or_off() -> Kind<Option<ListenAddress>> {
    Kind::text(|text| match text {
        "off" => Ok(None),
        _ => parse(text).map_err(|rule| format!("{rule}, or off")),
    })
}

/// Accepts an address to listen on.
pub fn listen_address() -> Kind<Option<ListenAddress>> {
    Kind::text(parse)
}

fn parse(text: &str) -> Parsed<Option<ListenAddress>> {
    let ip = || Some(ListenAddress::Ip(text.parse().ok()?));
    let host = || {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|_| is_host(host))?;
        Some(ListenAddress::Host(host.to_owned(), port))
    };
    let address = ip().or_else(host);
    address.map(Some).ok_or_else(|| {
        "must be an address or a host with a port, such as 127.0.0.1:9464, [::]:9464 or localhost:9464".to_owned()
    })
}

/// Reports whether a text can be the name of a host. A last label of digits would be an IP address.
fn is_host(host: &str) -> bool {
    let mut labels = host.strip_suffix('.').unwrap_or(host).split('.');
    let is_label = |label: &str| {
        let mut chars = label.chars();
        !label.is_empty() && chars.all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    host.len() <= HOST_CHARS_MAX
        && labels.clone().all(is_label)
        && labels.next_back().is_some_and(|label| !is_number(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ips_or_hosts_with_a_port() {
        for text in ["127.0.0.1:9464", "[::1]:0", "[::]:9464"] {
            let parsed = listen_address().parse(text).unwrap().unwrap();
            assert_eq!(parsed, ListenAddress::Ip(text.parse().unwrap()));
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["localhost:8080", "ingest-1.internal.:9464", "a_b:0"] {
            let parsed = listen_address().parse(text).unwrap().unwrap();
            assert!(matches!(parsed, ListenAddress::Host(..)), "{text}");
            assert_eq!(parsed.to_string(), text);
        }
        for text in [
            "",
            "localhost",
            ":8080",
            "localhost:",
            "localhost:65536",
            "127.0.0.256:80",
            "::1:8080",
            "http://localhost:8080",
            "a..b:80",
            "off",
        ] {
            assert!(listen_address().parse(text).is_err(), "{text}");
        }
        assert_eq!(listen_address_or_off().parse("off"), Ok(None));
    }
}
