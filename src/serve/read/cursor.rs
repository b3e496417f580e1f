//! The beginning of the next page, in a form that clients pass on without looking into it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use store::PageCursor;

/// The cursor of the page behind a place.
pub(super) fn write(place: PageCursor) -> String {
    let PageCursor {
        event_time_ms,
        stream_created_ns,
        stream_seq,
    } = place;
    BASE64_URL_SAFE_NO_PAD.encode(format!("{event_time_ms}.{stream_created_ns}.{stream_seq}"))
}

/// The place that a cursor names; `None` when it is none of [`write()`]'s.
pub(super) fn read(cursor: &str) -> Option<PageCursor> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let mut parts = text.split('.');
    let place = PageCursor {
        event_time_ms: parts.next()?.parse().ok()?,
        stream_created_ns: parts.next()?.parse().ok()?,
        stream_seq: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_tells_the_place_it_was_made_of() {
        let place = PageCursor {
            event_time_ms: -1,
            stream_created_ns: 1_764_140_645_123_456_789,
            stream_seq: u64::MAX,
        };
        assert_eq!(read(&write(place)), Some(place));
        for other in ["", "x", "MS4y", "MS4yLjMuNA", "🦀", "MS4yLi0z"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
