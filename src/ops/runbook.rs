//! The runbook as a page: an operator at night needs nothing but the daemon.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

const TEXT: &str = include_str!("../../docs/runbook.md");

/// The page, in HTML.
pub(super) fn page() -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>Runbook: RiskSignal Ingest</title>\n<link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">\n<link rel=\"stylesheet\" href=\"/page.css\">\n</head>\n<body>\n<main class=\"text\">\n<p><a href=\"/\">Live page</a></p>\n{}</main>\n</body>\n</html>\n",
        rendered(TEXT)
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
    html::push_html(&mut page, events.into_iter());
    page
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
        };
        let anchors: Vec<&str> = texts.filter(is_anchor).collect();
        assert!(anchors.len() > 6, "{anchors:?}");
        let page = page();
        for anchor in anchors {
            assert!(page.contains(&format!("id=\"{anchor}\"")), "{anchor}");
        }
    }
}
