//! Pages for an operator at night, who needs nothing but the daemon: the runbook, and the table of
//! log lines with what to do about each.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// A document that the daemon serves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document {
    title: &'static str,
    text: &'static str,
}

/// Actions for each alert and each dependency that is down.
pub(super) const RUNBOOK: Document = Document {
    title: "Runbook",
    text: include_str!("../../docs/runbook.md"),
};

/// Meaning of each line of the log.
pub(super) const TROUBLESHOOTING: Document = Document {
    title: "Troubleshooting",
    text: include_str!("../../docs/troubleshooting.md"),
};

/// Renders a document as a page, in HTML.
pub(super) fn page(document: Document) -> String {
    let Document { title, text } = document;
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}: RiskSignal Ingest</title>\n<link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">\n<link rel=\"stylesheet\" href=\"/page.css\">\n</head>\n<body>\n<main class=\"text\">\n<p><a href=\"/\">Live page</a></p>\n{}</main>\n</body>\n</html>\n",
        rendered(text)
    )
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter })
        .flat_map(char::to_lowercase)
        .collect()
}

/// Markdown in HTML, each heading with its anchor.
fn rendered(text: &str) -> String {
    let mut events: Vec<Event<'_>> =
        Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH).collect();
    let mut heading: Option<(usize, String)> = None;
    for at in 0..events.len() {
        match &events[at] {
            Event::Start(Tag::Heading { .. }) => heading = Some((at, String::new())),
            Event::Text(words) | Event::Code(words) => {
                if let Some((_, text)) = &mut heading {
                    text.push_str(words);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                if let Some((begin, text)) = heading.take() {
                    name(&mut events[begin], &text);
                }
            }
            _ => {}
        }
    }
    let mut page = String::with_capacity(text.len() * 2);
    html::push_html(&mut page, linked(events.into_iter()));
    page
}

/// Links to documents that the daemon serves lead there; other links within the repository are
/// plain text.
fn linked<'a>(events: impl Iterator<Item = Event<'a>>) -> impl Iterator<Item = Event<'a>> {
    let mut is_plain = false;
    events.filter_map(move |mut event| {
        match &mut event {
            Event::Start(Tag::Link { dest_url, .. }) => {
                let served = served(dest_url);
                is_plain = served.is_none();
                *dest_url = CowStr::from(served?);
            }
            Event::End(TagEnd::Link) if std::mem::take(&mut is_plain) => return None,
            _ => {}
        }
        Some(event)
    })
}

/// Address under which a browser finds what a link leads to; `None` for what the daemon does not
/// serve.
fn served(link: &str) -> Option<String> {
    if link.starts_with('#') || link.contains("://") {
        return Some(link.to_owned());
    }
    let documents = [
        ("runbook.md", "/runbook"),
        ("troubleshooting.md", "/troubleshooting"),
    ];
    let mut documents = documents.into_iter();
    documents.find_map(|(file, path)| Some(format!("{path}{}", link.strip_prefix(file)?)))
}

fn name(event: &mut Event<'_>, text: &str) {
    if let Event::Start(Tag::Heading { level, id, .. }) = event
        && *level > HeadingLevel::H1
    {
        *id = Some(CowStr::from(anchor(text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_anchors_and_tables_are_tables() {
        let page = rendered("# A\n\n## The claims log\n\n|a|b|\n|-|-|\n|1|2|\n");
        assert!(page.contains("<h2 id=\"the-claims-log\">"), "{page}");
        assert!(page.contains("<td>2</td>"), "{page}");
    }

    #[test]
    fn links_lead_to_what_is_served_or_are_plain_text() {
        let page = rendered("[a](troubleshooting.md#b) [c](#d) [e](../infra/x.md) [f](https://g/)");
        for link in ["/troubleshooting#b", "#d", "https://g/"] {
            assert!(page.contains(&format!("<a href=\"{link}\">")), "{page}");
        }
        assert!(page.contains(" e "), "{page}");
        let runbook = super::page(RUNBOOK);
        assert!(runbook.contains("<a href=\"/troubleshooting\">"));
        assert!(!runbook.contains(".md\">"), "a link leads nowhere");
    }

    /// Each page of the runbook that the live page links to is there.
    #[test]
    fn the_live_page_links_to_pages_that_there_are() {
        let script = include_str!("page/page.js");
        let texts = script.split('"').skip(1).step_by(2);
        let is_anchor = |text: &&str| {
            text.starts_with("risksignal")
                && text.len() > "risksignal".len()
                && !text.ends_with('_')
                || text.ends_with("-is-down")
                || text.ends_with("-is-too-old")
        };
        let anchors: Vec<&str> = texts.filter(is_anchor).collect();
        assert!(anchors.len() > 6, "{anchors:?}");
        let page = page(RUNBOOK);
        for anchor in anchors {
            assert!(page.contains(&format!("id=\"{anchor}\"")), "{anchor}");
        }
    }
}
