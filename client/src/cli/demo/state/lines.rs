//! The text of each event: in words for the parsed view, as it came for the raw one.

use client::MessageEvent;

use super::super::rows::{Line, Side, Tone};
use super::{Direction, Saw};

/// Towards the client, which stands on the right, and towards the server.
const TO_CLIENT: &str = "→";
const TO_SERVER: &str = "←";

pub(super) fn parsed(saw: &Saw) -> Vec<(Side, Line)> {
    let client = |line| vec![(Side::Client, line)];
    let server = |line| vec![(Side::Server, line)];
    let quiet = |text: &str| Line::new("").part(Tone::Quiet, text);
    let plain = || Line::new("");
    match saw {
        Saw::Progress(_) => Vec::new(),
        Saw::Building => server(quiet("building, if need be")),
        Saw::Listening(address) => {
            server(plain().part(Tone::Good, "listening").part(Tone::Plain, &address.to_string()))
        }
        Saw::Stopped(None) => server(plain().part(Tone::Warn, "stopped")),
        Saw::Stopped(Some(why)) => server(plain().part(Tone::Bad, why)),
        Saw::Log(line) => server(log(line)),
        Saw::Bytes(Direction::ToServer, bytes) => request(bytes).map(client).unwrap_or_default(),
        Saw::Bytes(Direction::ToClient, _) => Vec::new(),
        Saw::Connecting => client(quiet("connecting")),
        Saw::Head(status) => {
            let line = Line::new("head").part(Tone::Quiet, TO_CLIENT);
            client(line.part(Tone::Good, &format!("{status} text/event-stream")))
        }
        Saw::Event(MessageEvent { event, data, last_event_id }) => {
            client(self::event(last_event_id, event, data))
        }
        Saw::Comment(text) => client(comment(text)),
        Saw::Retry(delay) => client(retry(delay.as_millis())),
        // Two lines, so that neither is cut on a narrow screen.
        Saw::Lost { reason, after } => {
            let again = format!("connecting again in {:.1} s", after.as_secs_f64());
            let line = |text: &str| (Side::Client, plain().part(Tone::Warn, text));
            vec![line(reason), line(&again)]
        }
        Saw::Closed => {
            let line = Line::new("closed").part(Tone::Quiet, TO_CLIENT);
            client(line.part(Tone::Good, "204: the server has nothing more"))
        }
        Saw::Failed(why) => client(plain().part(Tone::Bad, why)),
        Saw::Posting(text) => {
            let line = Line::new("post").part(Tone::Quiet, TO_SERVER).part(Tone::Plain, "POST");
            client(line.part(Tone::Plain, text))
        }
        Saw::Posted(answer) => {
            client(Line::new("posted").part(Tone::Quiet, TO_CLIENT).part(Tone::Quiet, answer))
        }
    }
}

pub(super) fn raw(saw: &Saw) -> Vec<(Side, Line)> {
    match saw {
        Saw::Log(line) => {
            let (time, words) = line.split_once(' ').unwrap_or(("", line));
            let is_time = time.len() == 12 && time.contains('.');
            let words = if is_time { words } else { line };
            vec![(Side::Server, Line::new("log").part(Tone::Plain, words))]
        }
        Saw::Bytes(direction, bytes) => {
            let arrow = match direction {
                Direction::ToServer => TO_SERVER,
                Direction::ToClient => TO_CLIENT,
            };
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            let line = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes);
                let text = text.replace('\r', "\\r").replace('\n', "\\n");
                Line::new("bytes").part(Tone::Quiet, arrow).part(Tone::Plain, &text)
            };
            lines.map(|bytes| (Side::Client, line(bytes))).collect()
        }
        // The server's and the client's own words are all the bytes do not say.
        Saw::Listening(_) | Saw::Stopped(_) | Saw::Connecting | Saw::Lost { .. } => parsed(saw),
        _ => Vec::new(),
    }
}

fn event(id: &str, kind: &str, data: &str) -> Line {
    let kind = if kind == "message" { "" } else { kind };
    let line = Line::new(&format!("event {id} {kind}")).part(Tone::Quiet, TO_CLIENT);
    line.part(Tone::Id, id).part(Tone::Type, kind).part(Tone::Plain, data)
}

fn comment(text: &str) -> Line {
    let line = Line::new("comment").part(Tone::Quiet, TO_CLIENT);
    line.part(Tone::Quiet, &format!(": {text} (keep-alive)"))
}

fn retry(delay_ms: impl std::fmt::Display) -> Line {
    let line = Line::new("retry").part(Tone::Quiet, TO_CLIENT);
    line.part(Tone::Warn, &format!("retry {delay_ms} ms"))
}

/// The start of a request, with the id it resumes from; `None` if the bytes are none.
fn request(bytes: &[u8]) -> Option<Line> {
    let text = String::from_utf8_lossy(bytes);
    let (start, fields) = text.split_once("\r\n")?;
    let target = start.strip_suffix(" HTTP/1.1")?;
    let id = fields.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("last-event-id").then(|| value.trim().to_owned())
    });
    Some(asked(target, id.as_deref()))
}

fn asked(target: &str, id: Option<&str>) -> Line {
    let line = Line::new("request").part(Tone::Quiet, TO_SERVER).part(Tone::Plain, target);
    match id {
        Some(id) => line.part(Tone::Quiet, "after").part(Tone::Id, id),
        None => line,
    }
}

/// A line of the wire log, in the words that the client's side has for the same.
fn log(line: &str) -> Line {
    let words = line.split_once(' ').map_or(line, |(_time, words)| words);
    let (stream, said) = match words.split_once(": ") {
        Some((stream, said)) if stream.starts_with("stream ") => (stream, said),
        _ => ("", words),
    };
    if let Some(request) = said.strip_prefix("received ") {
        if stream.is_empty() {
            // A GET that opens no stream is a resumption behind the end, which gets 204.
            let key = if request.starts_with("GET ") { "request" } else { "post" };
            let line = Line::new(key).part(Tone::Quiet, TO_SERVER);
            return line.part(Tone::Plain, request);
        }
        let (target, id) = match request.split_once(", Last-Event-ID ") {
            Some((target, id)) => (target, quoted(id).map(|(id, _)| id)),
            None => (request, None),
        };
        return asked(target, id.as_deref());
    }
    let Some(sent) = said.strip_prefix("sent ") else {
        return Line::new("").part(Tone::Quiet, words);
    };
    if let Some(ms) = sent.strip_prefix("retry ") {
        return retry(ms.trim_end_matches(" ms"));
    }
    if stream.is_empty() {
        let key = if sent.starts_with("204") { "closed" } else { "posted" };
        return Line::new(key).part(Tone::Quiet, TO_CLIENT).part(Tone::Quiet, sent);
    }
    if sent.starts_with(|c: char| c.is_ascii_digit()) {
        return Line::new("head").part(Tone::Quiet, TO_CLIENT).part(Tone::Good, sent);
    }
    let Some(fields) = fields(sent) else {
        return Line::new("").part(Tone::Quiet, TO_CLIENT).part(Tone::Plain, sent);
    };
    let value = |name: &str| {
        let found = fields.iter().find(|(found, _)| *found == name);
        found.map(|(_, value)| value.as_str())
    };
    match (value("data"), value("comment")) {
        (None, Some(text)) => comment(text),
        (data, _) => event(
            value("id").unwrap_or_default(),
            value("event").unwrap_or("message"),
            data.unwrap_or_default(),
        ),
    }
}

/// Reads `id "7", data "a"`.
fn fields(mut text: &str) -> Option<Vec<(&str, String)>> {
    let mut fields = Vec::new();
    loop {
        let (name, rest) = text.split_once(' ')?;
        let (value, rest) = quoted(rest)?;
        fields.push((name, value));
        // A long value is followed by how long it is.
        match rest.split_once(", ") {
            Some((_, rest)) => text = rest,
            None => return Some(fields),
        }
    }
}

/// The value at the start of a text, in quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let rest = &text[at + 1..];
                if rest.starts_with('…') {
                    value.push('…');
                }
                return Some((value, rest));
            }
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('"' | '\\' | '\'') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line) -> String {
        line.parts.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn said(log: &str) -> (String, String) {
        let line = self::log(&format!("12:34:56.789 {log}"));
        (line.key.clone(), text(&line))
    }

    #[test]
    fn the_log_speaks_as_the_client_does() {
        let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        assert_eq!(said("stream 1: received GET /ticks"), pair("request", "← GET /ticks"));
        assert_eq!(
            said(r#"stream 1: received GET /ticks, Last-Event-ID "7""#),
            pair("request", "← GET /ticks after 7")
        );
        assert_eq!(
            said("stream 1: sent 200 text/event-stream"),
            pair("head", "→ 200 text/event-stream")
        );
        assert_eq!(
            said(r#"stream 1: sent id "8", data "Hello, \"you\"""#),
            pair("event 8 ", "→ 8 Hello, \"you\"")
        );
        assert_eq!(
            said(r#"stream 1: sent id "9", event "prices", data "{\"n\":9"… (99 bytes)"#),
            pair("event 9 prices", "→ 9 prices {\"n\":9…")
        );
        assert_eq!(said("stream 1: sent retry 1516 ms"), pair("retry", "→ retry 1516 ms"));
        assert_eq!(said(r#"stream 1: sent comment """#), pair("comment", "→ :  (keep-alive)"));
        assert_eq!(said("stream 1: closed"), pair("", "stream 1: closed"));
        assert_eq!(said("sent 201, id 5-1"), pair("posted", "→ 201, id 5-1"));
        assert_eq!(
            said("received POST /messages/demo, 10 bytes"),
            pair("post", "← POST /messages/demo, 10 bytes")
        );
        assert_eq!(said("received GET /tasks"), pair("request", "← GET /tasks"));
        assert_eq!(said("sent 204"), pair("closed", "→ 204"));
        assert_eq!(said("a warning: beware"), pair("", "a warning: beware"));
    }

    #[test]
    fn a_request_shows_where_it_resumes() {
        let line = request(b"GET /ticks HTTP/1.1\r\nhost: x\r\nLast-Event-ID: 7\r\n\r\n").unwrap();
        assert_eq!(text(&line), "← GET /ticks after 7");
        assert!(request(b"more of it").is_none());
    }

    #[test]
    fn bytes_are_shown_line_by_line_and_cannot_steer_the_terminal() {
        let saw = Saw::Bytes(Direction::ToClient, b"c\r\ndata: \x1b[2J\xff\n".to_vec());
        let lines: Vec<_> = raw(&saw).iter().map(|(_, line)| text(line)).collect();
        assert_eq!(lines, ["→ c\\r\\n", "→ data: ␛[2J\u{fffd}\\n"]);
    }
}
