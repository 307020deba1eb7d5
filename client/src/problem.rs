//! An error as a server words it: `application/problem+json` ([RFC 9457]).
//!
//! [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457

use serde_json::Value;

/// The media type.
const TYPE: &str = "application/problem+json";

/// Status, title and detail of a problem as a part of one line, which cannot steer a terminal: `400 Bad Request: id
/// must be a number`.
///
/// Nothing if the answer is of another type, not whole, or without a title.
pub fn in_words(status: u16, content_type: &str, body: &str) -> Option<String> {
    is_problem(content_type).then(|| of_body(status, body))?
}

/// Whether this `Content-Type` is that of a problem, with any parameters and in any case.
pub fn is_problem(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(TYPE)
}

/// The same of a body that is known to be one.
pub fn of_body(status: u16, body: &str) -> Option<String> {
    let problem: Value = serde_json::from_str(body).ok()?;
    let text = |member| problem.get(member).and_then(Value::as_str).map(crate::one_line);
    let title = text("title").filter(|it| !it.is_empty())?;
    let detail = text("detail").filter(|it| !it.is_empty());
    let detail = detail.map_or_else(String::new, |it| format!(": {it}"));
    Some(format!("{status} {title}{detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_a_sentence_and_anything_else_is_none() {
        let whole = r#"{"type":"about:blank","title":"Bad Request","detail":"id must\nbe \u001b[2J a number","status":1}"#;
        let words = in_words(400, "Application/Problem+JSON; charset=utf-8", whole);
        assert_eq!(words.as_deref(), Some("400 Bad Request: id must be \u{fffd}[2J a number"));
        let brief = r#"{"title":"Gone"}"#;
        assert_eq!(in_words(410, TYPE, brief).as_deref(), Some("410 Gone"));
        assert_eq!(in_words(410, "application/json", brief), None);
        for other in ["", "{", "[]", r#"{"detail":"x"}"#, r#"{"title":7}"#, r#"{"title":" "}"#] {
            assert_eq!(in_words(400, TYPE, other), None, "{other}");
        }
    }
}
