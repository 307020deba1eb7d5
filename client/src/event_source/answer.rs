//! The answer to a request: an event stream that can be read, or a refusal with its words.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING};

use super::update::Error;

/// As much of a refusal as says what is wrong.
const MAX_WORDS_BYTES: usize = 1 << 10;

/// How long the words of a refusal are waited for: the status is known, and is what matters.
const WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// The [`Error::Status`] of a response, with the words that come within a second.
pub async fn refusal(mut response: Response) -> Error {
    let (status, url) = (response.status(), response.url().clone());
    let content_type = response.headers().get(CONTENT_TYPE);
    let is_problem = content_type.is_some_and(|it| essence(it) == "application/problem+json");
    let mut body = Vec::new();
    if is_text(response.headers()) && codings(response.headers()).is_empty() {
        let read = async {
            while body.len() < MAX_WORDS_BYTES
                && let Ok(Some(bytes)) = response.chunk().await
            {
                let room = MAX_WORDS_BYTES - body.len();
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        };
        // Those that came in time count.
        let _ = tokio::time::timeout(WORDS_TIMEOUT, read).await;
    }
    Error::Status { status, url, is_problem, words: words(&body) }
}

/// The text of a body that may be cut within a character.
fn words(body: &[u8]) -> String {
    let whole = match str::from_utf8(body) {
        Err(error) if error.error_len().is_none() => &body[..error.valid_up_to()],
        _ => body,
    };
    String::from_utf8_lossy(whole).trim().to_owned()
}

/// Whether a `Content-Type` is `text/event-stream`, with any parameters and in any case.
pub(super) fn is_event_stream(value: &HeaderValue) -> bool {
    essence(value) == "text/event-stream"
}

fn is_text(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).map(essence).is_some_and(|essence| {
        essence.starts_with("text/") || essence == "application/json" || essence.ends_with("+json")
    })
}

/// A type without its parameters, in lower case.
fn essence(value: &HeaderValue) -> String {
    let value = String::from_utf8_lossy(value.as_bytes());
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The codings that are still on the body; empty if it can be read as it is.
///
/// An HTTP client that undoes a coding takes its field away. Chunks are always undone. `none` is no
/// coding that anyone registered, but is sent for `identity`.
pub fn codings(headers: &HeaderMap) -> String {
    let mut found = Vec::new();
    for (field, harmless) in
        [(CONTENT_ENCODING, ["identity", "none"]), (TRANSFER_ENCODING, ["chunked", "identity"])]
    {
        for value in headers.get_all(field) {
            let value = String::from_utf8_lossy(value.as_bytes());
            let codings = value.split(',').map(str::trim).filter(|coding| {
                !coding.is_empty() && !harmless.iter().any(|it| it.eq_ignore_ascii_case(coding))
            });
            found.extend(codings.map(str::to_owned));
        }
    }
    found.join(", ")
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    #[test]
    fn the_type_is_compared_without_case_and_parameters() {
        let accepts = |value: &'static str| is_event_stream(&HeaderValue::from_static(value));
        assert!(accepts("text/event-stream"));
        assert!(accepts("Text/Event-Stream;charset=utf-8"));
        assert!(accepts("text/event-stream ; foo=bar"));
        assert!(accepts("text/event-stream;"));
        assert!(!accepts("text/event-streams"));
        assert!(!accepts("text/x-bogus"));
        assert!(!accepts(""));
    }

    #[test]
    fn codings_are_named_and_the_harmless_ones_are_none() {
        let found = |fields: &[(HeaderName, &'static str)]| {
            let fields = fields.iter().map(|(k, v)| (k.clone(), HeaderValue::from_static(v)));
            codings(&fields.collect())
        };
        for none in ["identity", "Identity", "none", "", " ", ",", "identity, none"] {
            assert_eq!(found(&[(CONTENT_ENCODING, none)]), "", "{none:?}");
        }
        assert_eq!(found(&[(CONTENT_ENCODING, "gzip")]), "gzip");
        assert_eq!(found(&[(CONTENT_ENCODING, "identity,  X-Gzip , br")]), "X-Gzip, br");
        assert_eq!(found(&[(TRANSFER_ENCODING, "Chunked")]), "");
        assert_eq!(found(&[(TRANSFER_ENCODING, "gzip, chunked")]), "gzip");
    }

    #[test]
    fn words_are_not_cut_within_a_character() {
        assert_eq!(words("  no € \n".as_bytes()), "no €");
        assert_eq!(words(&"€".as_bytes()[..2]), "");
        assert_eq!(words(b"a\xffb"), "a\u{fffd}b");
    }
}
