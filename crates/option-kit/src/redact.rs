//! URLs in a form that may be printed.

/// Replaces every password in `urls` (one or several, separated by commas) with `***`.
///
/// Hides too much rather than too little, since a malformed URL, such as one with an unescaped `/`
/// or `,` in its password, must not show the password either.
pub fn redacted_url(urls: &str) -> String {
    let mut shown = String::new();
    let mut rest = urls;
    while !rest.is_empty() {
        let (one, others) = rest.split_at(end_of_first(rest));
        shown += &redacted(one);
        rest = others;
    }
    shown
}

/// Returns the end of the first URL: the comma before the next scheme. A comma alone may belong to
/// a password.
fn end_of_first(urls: &str) -> usize {
    let is_scheme = |text: &str| {
        text.split_once("://")
            .is_some_and(|(s, _)| is_word(s.trim()))
    };
    urls.match_indices(',')
        .map(|(at, _)| at + 1)
        .find(|after| is_scheme(&urls[*after..]))
        .unwrap_or(urls.len())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn redacted(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let Some(at) = rest.rfind('@') else {
        return format!("{scheme}{}", without_query(rest));
    };
    // User info without a colon is a NATS token, and secret as a whole.
    let kept = rest[..at]
        .split_once(':')
        .map_or(String::new(), |(user, _)| format!("{user}:"));
    format!("{scheme}{kept}***{}", without_query(&rest[at..]))
}

/// Returns hosts and paths without a query, in which ClickHouse accepts a password, and without an
/// invalid port, which is a password whose `@host` is missing.
fn without_query(rest: &str) -> String {
    let (rest, query) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], &rest[at..=at]),
        None => (rest, ""),
    };
    let hosts: Vec<_> = rest.split(',').map(without_false_port).collect();
    let hidden = if query.is_empty() { "" } else { "***" };
    format!("{}{query}{hidden}", hosts.join(","))
}

fn without_false_port(host: &str) -> String {
    let end = host.find('/').unwrap_or(host.len());
    // The colons of an IPv6 address are inside brackets.
    let from = host[..end].rfind(']').unwrap_or(0);
    let port = host[from..end].find(':').map(|at| from + at + 1);
    match port {
        Some(port) if !host[port..end].trim().bytes().all(|b| b.is_ascii_digit()) => {
            format!("{}***", &host[..port])
        }
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passwords_and_tokens_are_hidden() {
        for (url, shown) in [
            ("", ""),
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://[::1]:4222,[::1]", "nats://[::1]:4222,[::1]"),
            ("http://h:8123/path", "http://h:8123/path"),
            ("nats://app:hunter2@h:4222", "nats://app:***@h:4222"),
            ("nats://s3cret@h", "nats://***@h"),
            ("app:p@ss@h:1,h2:2", "app:***@h:1,h2:2"),
            (
                "nats://a:b@h:1, nats://c:d@h2:2,h3",
                "nats://a:***@h:1, nats://c:***@h2:2,h3",
            ),
            ("nats://a:pa/s?s@h:1", "nats://a:***@h:1"),
            ("nats://a:pa,ss@h:1", "nats://a:***@h:1"),
            ("nats://to/ken@h:1", "nats://***@h:1"),
            ("nats://app:hunter2", "nats://app:***"),
            ("http://h:8123/?user=a&password=b", "http://h:8123/?***"),
            ("http://h:8123#b", "http://h:8123#***"),
            ("http://a:b@h:8123/?x=y@z", "http://a:***@z"),
        ] {
            assert_eq!(redacted_url(url), shown);
        }
    }

    proptest! {
        #[test]
        fn no_password_is_shown(password in "hunter[a-z/?#@:,&=]{1,9}2", path in "[a-z/]{0,5}") {
            let url = redacted_url(&format!("nats://app:{password}@h:4222/{path}"));
            prop_assert!(!url.contains("hunter"), "{}", url);
        }

        #[test]
        fn no_token_is_shown(token in "hunter[a-z/?#@&,=]{1,9}2") {
            let url = redacted_url(&format!("{token}@h"));
            prop_assert!(!url.contains("hunter"), "{}", url);
        }
    }
}
