//! The browser page, embedded, and the policy under which it runs.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The page: one file without any outside request.
pub const HTML: &str = include_str!("../../client/web/index.html");

/// The media type of the page.
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// The page's Content-Security-Policy: its own script and style by their hashes, requests to this
/// server, nothing else. So even a message that got into the page as HTML could not run anything.
///
/// Source: [Content Security Policy Level 3](https://www.w3.org/TR/CSP3/).
pub static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |tag: &str| {
        let inline = HTML
            .split_once(&format!("<{tag}>"))
            .and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
        let (text, _) = inline.unwrap_or_default();
        STANDARD.encode(Sha256::digest(text))
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_asks_for_nothing_outside() {
        for tag in ["script", "style"] {
            assert_eq!(HTML.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert_eq!(HTML.matches(&format!("<{tag}>")).count(), 1, "{tag} without attributes");
        }
        assert!(!HTML.contains("src=") && !HTML.contains("@import"));
    }
}
