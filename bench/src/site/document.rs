//! Documents of the repository as pages: links lead to pages of the site, else to the repository if its address is known.

use std::collections::HashMap;

use maud::{Markup, PreEscaped};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// Where the links of a document lead.
pub(super) struct Links<'l> {
    /// Its folder in the repository, `bench`.
    pub(super) folder: &'l str,
    /// Pages by the path of their document in the repository.
    pub(super) pages: &'l HashMap<String, String>,
    /// Where files of the repository are seen, with a `/` at its end.
    pub(super) repository: Option<&'l str>,
}

/// A document in Markdown as HTML. Its own HTML is left out: markers for commands, and nothing else.
pub(super) fn rendered(text: &str, links: &Links<'_>) -> Markup {
    let mut events: Vec<Event<'_>> = Vec::new();
    // Where the heading began that is being read; whether each open link stays one.
    let (mut heading, mut open) = (None, Vec::new());
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Html(_) | Event::InlineHtml(_) => {}
            Event::Start(Tag::Link { link_type, dest_url, title, .. }) => {
                let place = links.place(&dest_url);
                open.push(place.is_some());
                if let Some(place) = place {
                    let (dest_url, id) = (CowStr::from(place), CowStr::from(""));
                    events.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
                }
            }
            Event::End(TagEnd::Link) => {
                if open.pop() == Some(true) {
                    events.push(Event::End(TagEnd::Link));
                }
            }
            Event::Start(Tag::Heading { .. }) => {
                heading = Some(events.len());
                events.push(event);
            }
            Event::End(TagEnd::Heading(_)) => {
                name(&mut events, heading.take());
                events.push(event);
            }
            // Wide ones are scrolled, with the keyboard too.
            Event::Start(Tag::Table(_)) => {
                let around =
                    "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"table\">";
                events.push(Event::Html(around.into()));
                events.push(event);
            }
            Event::End(TagEnd::Table) => {
                events.push(event);
                events.push(Event::Html("</div>".into()));
            }
            event => events.push(event),
        }
    }
    let mut out = String::new();
    html::push_html(&mut out, events.into_iter());
    PreEscaped(out.replace("<pre>", "<pre tabindex=\"0\">"))
}

/// Gives the heading that begins there the anchor that a forge would give it.
fn name(events: &mut [Event<'_>], heading: Option<usize>) {
    let Some(at) = heading else { return };
    let words: String = events[at..]
        .iter()
        .filter_map(|it| match it {
            Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
            _ => None,
        })
        .collect();
    if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
        *id = Some(anchor(&words).into());
    }
}

/// `How far it can be believed` is `how-far-it-can-be-believed`.
fn anchor(words: &str) -> String {
    let kept = words.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.flat_map(char::to_lowercase).map(|it| if it == ' ' { '-' } else { it }).collect()
}

impl Links<'_> {
    /// Where a link leads from a page of the site; nowhere if only a checkout has it.
    fn place(&self, target: &str) -> Option<String> {
        if target.contains("://") || target.starts_with('#') {
            return Some(target.to_owned());
        }
        let (file, anchor) = match target.split_once('#') {
            Some((file, anchor)) => (file, format!("#{anchor}")),
            None => (target, String::new()),
        };
        let path = joined(self.folder, file);
        match (self.pages.get(&path), self.repository) {
            (Some(page), _) => Some(format!("{page}{anchor}")),
            (None, Some(repository)) => Some(format!("{repository}{path}{anchor}")),
            (None, None) => None,
        }
    }
}

/// The path of a file that a document of this folder names.
fn joined(folder: &str, file: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|it| !it.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, repository: Option<&str>) -> String {
        let pages = HashMap::from([("bench/COSTS.md".to_owned(), "costs.html".to_owned())]);
        rendered(text, &Links { folder: "bench", pages: &pages, repository }).into_string()
    }

    #[test]
    fn links_lead_to_pages_or_to_the_repository_or_are_none() {
        let text = "[a](COSTS.md#b) [c](../feed/src/lib.rs) [d](https://e.org/) [f](#g)";
        let here = render(text, None);
        assert!(here.contains("<a href=\"costs.html#b\">a</a>"), "{here}");
        assert!(here.contains("href=\"https://e.org/\"") && here.contains("href=\"#g\""), "{here}");
        assert!(here.contains(" c ") && !here.contains("lib.rs"), "{here}");
        let there = render(text, Some("https://h.org/r/blob/main/"));
        assert!(there.contains("href=\"https://h.org/r/blob/main/feed/src/lib.rs\""), "{there}");
    }

    #[test]
    fn headings_have_anchors_and_html_is_left_out() {
        let text = "<script>x()</script>\n\n## Why `a` is *not* b!\n\n<!-- made by -->\n\n| a |\n| --- |\n| 1 |\n";
        let page = render(text, None);
        assert!(page.contains("<h2 id=\"why-a-is-not-b\">"), "{page}");
        assert!(!page.contains("script") && !page.contains("made by"), "{page}");
        assert!(
            page.contains("<div class=\"scroll\" tabindex=\"0\"") && page.contains("<td>1</td>")
        );
    }
}
