//! Checks of request headers that every listener makes.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri};

/// Address of this machine that a client connected to.
#[derive(Debug, Clone, Copy)]
pub struct Reached(pub SocketAddr);

/// Headers that a request may hold once: given two, a proxy might read the other one.
const ONCE: [HeaderName; 2] = [HOST, AUTHORIZATION];

/// Returns a header that a request holds twice and may hold only once.
pub fn repeated(headers: &HeaderMap) -> Option<HeaderName> {
    let is_repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    ONCE.into_iter().find(is_repeated)
}

/// Reports whether a request names this machine by a loopback address or as localhost. A browser
/// that reached loopback through another host name sends that name.
pub fn names_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let in_header = headers.get(HOST).map(|host| {
        let authority = host.to_str().ok()?.parse::<Authority>().ok()?;
        Some(is_loopback(authority.host()))
    });
    let in_uri = uri.host().map(|host| Some(is_loopback(host)));
    // A client without a host name is no browser.
    [in_header, in_uri]
        .into_iter()
        .flatten()
        .all(|named| named == Some(true))
}

fn is_loopback(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ip = bare.unwrap_or(host).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_named_so() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:9464", true),
            ("127.0.0.1:9464", true),
            ("127.1.2.3", true),
            ("[::1]:9464", true),
            ("[::ffff:127.0.0.1]", true),
            ("evil.example", false),
            ("evil.example:9464", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1", false),
            ("", false),
            ("a b", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            assert_eq!(
                names_loopback(&"/".parse().unwrap(), &headers),
                expected,
                "{host}"
            );
        }
        let none = HeaderMap::new();
        assert!(names_loopback(&"/livez".parse().unwrap(), &none));
        assert!(!names_loopback(
            &"http://evil.example/".parse().unwrap(),
            &none
        ));
    }

    #[test]
    fn repeated_headers_are_found() {
        let mut headers = HeaderMap::new();
        headers.append(HOST, "a".parse().unwrap());
        headers.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        assert_eq!(repeated(&headers), None);
        headers.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        assert_eq!(repeated(&headers), Some(AUTHORIZATION));
        headers.append(HOST, "b".parse().unwrap());
        assert_eq!(repeated(&headers), Some(HOST));
    }
}
