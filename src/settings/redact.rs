//! URLs as they may be printed.

/// `urls` (one or several, separated by commas) with `***` in the place of every password.
pub fn redacted_url(urls: &str) -> String {
    urls.split(',').map(redacted).collect::<Vec<_>>().join(",")
}

fn redacted(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let authority_end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    let Some(at) = url[start..authority_end].rfind('@') else {
        return url.to_owned();
    };
    let user_info = &url[start..start + at];
    // A user info without a colon is a NATS token: a secret as a whole.
    let kept = user_info
        .split_once(':')
        .map_or(String::new(), |(user, _)| format!("{user}:"));
    format!("{}{kept}***{}", &url[..start], &url[start + at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_tokens_are_hidden() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://app:hunter2@h:4222", "nats://app:***@h:4222"),
            ("nats://s3cret@h", "nats://***@h"),
            ("app:p@ss@h:1,h2:2", "app:***@h:1,h2:2"),
            ("http://a:b@h:8123/?x=y@z", "http://a:***@h:8123/?x=y@z"),
        ] {
            assert_eq!(redacted_url(url), shown);
        }
    }
}
