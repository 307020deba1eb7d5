//! Output to the terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use client::MessageEvent;
use jiff::Timestamp;

/// Columns grow with what they have to hold, up to here: one odd value must not push the data off
/// the screen for good.
const MAX_ID_WIDTH: usize = 24;
const MAX_TYPE_WIDTH: usize = 16;

const DIM: &str = "\x1b[2m";
const CYAN: &str = "\x1b[36m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// Prints events, each line flushed as it is complete.
#[derive(Debug)]
pub(super) struct Printer<W> {
    out: W,
    style: Style,
    id_width: usize,
    type_width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Columns { colour: bool },
    Json,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W, style: Style) -> Self {
        // Wide enough for what most streams have, so that the columns seldom move.
        Self { out, style, id_width: 4, type_width: "message".len() }
    }

    pub(super) fn event(&mut self, event: &MessageEvent) -> io::Result<()> {
        self.event_at(Timestamp::now(), event)
    }

    pub(super) fn comment(&mut self, text: &str) -> io::Result<()> {
        let time = Timestamp::now();
        match self.style {
            Style::Json => {
                self.json(&serde_json::json!({"time": json_time(time), "comment": text}))
            }
            Style::Columns { .. } => self.columns(time, "", ":", text),
        }
    }

    fn event_at(&mut self, time: Timestamp, event: &MessageEvent) -> io::Result<()> {
        match self.style {
            Style::Json => self.json(&serde_json::json!({
                "time": json_time(time),
                "id": event.last_event_id,
                "event": event.event,
                "data": event.data,
            })),
            Style::Columns { .. } => {
                self.columns(time, &event.last_event_id, &event.event, &event.data)
            }
        }
    }

    fn json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        writeln!(self.out, "{value}")?;
        self.out.flush()
    }

    fn columns(&mut self, time: Timestamp, id: &str, event: &str, data: &str) -> io::Result<()> {
        let (id, event) = (visible(id), visible(event));
        let width = |text: &str, old: usize, max| text.chars().count().clamp(old, max);
        self.id_width = width(&id, self.id_width, MAX_ID_WIDTH);
        self.type_width = width(&event, self.type_width, MAX_TYPE_WIDTH);
        let (id_width, type_width) = (self.id_width, self.type_width);
        let time = time.strftime("%H:%M:%S%.3f");
        // Further lines of data begin in the data's column.
        let margin = id_width + type_width + "12:34:56.789".len() + 3 * 2;
        let data = data.replace('\n', &format!("\n{:margin$}", ""));
        let data = visible(&data);
        let line = match self.style {
            Style::Columns { colour: true } => format!(
                "{DIM}{time}{RESET}  {CYAN}{id:id_width$}{RESET}  \
                 {YELLOW}{event:type_width$}{RESET}  {data}\n"
            ),
            _ => format!("{time}  {id:id_width$}  {event:type_width$}  {data}\n"),
        };
        // One write for each event, so that a reader of the pipe sees whole lines.
        self.out.write_all(line.as_bytes())?;
        self.out.flush()
    }
}

/// Writes a remark to standard error; an error of that is ignored.
pub(crate) fn notice(text: &str) {
    let mut stderr = io::stderr();
    let text = visible(text);
    let _ = if wants_colour(&stderr) {
        writeln!(stderr, "{DIM}sse: {text}{RESET}")
    } else {
        writeln!(stderr, "sse: {text}")
    };
}

/// Colour is for terminals, unless [`NO_COLOR`](https://no-color.org) is set.
pub(super) fn wants_colour(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !set("NO_COLOR") && !dumb
}

fn json_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Shows control characters as pictures: text from a server must not control the terminal.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let show = |c: char| match u32::from(c) {
        _ if !is_unsafe(c) => c,
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or(char::REPLACEMENT_CHARACTER),
        0x7f => '\u{2421}',
        _ => char::REPLACEMENT_CHARACTER,
    };
    Cow::Owned(text.chars().map(show).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(style: Style, events: &[(&str, &str, &str)]) -> String {
        let mut printer = Printer::new(Vec::new(), style);
        for (event, data, id) in events {
            let event = MessageEvent {
                event: (*event).into(),
                data: (*data).into(),
                last_event_id: (*id).into(),
            };
            printer.event_at("2026-11-20T12:34:56.789Z".parse().unwrap(), &event).unwrap();
        }
        String::from_utf8(printer.out).unwrap()
    }

    const PLAIN: Style = Style::Columns { colour: false };

    #[test]
    fn columns_line_up_and_grow() {
        let seen = print(
            PLAIN,
            &[
                ("message", "a", "1"),
                ("message", "two\nlines", "2"),
                ("notification", "b", "0f3a-12345"),
                ("message", "c", ""),
            ],
        );
        assert_eq!(
            seen,
            "12:34:56.789  1     message  a\n\
             12:34:56.789  2     message  two\n\
             \u{20}                            lines\n\
             12:34:56.789  0f3a-12345  notification  b\n\
             12:34:56.789              message       c\n"
        );
    }

    #[test]
    fn a_stream_cannot_steer_the_terminal() {
        let seen = print(PLAIN, &[("\x1b[2J", "\x1b]0;title\x07\r\x7f\u{9b}\tend", "1\n2")]);
        assert!(!seen.contains(['\x1b', '\x07', '\r', '\x7f', '\u{9b}']), "{seen:?}");
        assert!(seen.contains("␛]0;title␇␍␡\u{fffd}\tend"), "{seen:?}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let seen = print(Style::Json, &[("message", "a\nb", "1")]);
        assert_eq!(
            seen,
            "{\"data\":\"a\\nb\",\"event\":\"message\",\"id\":\"1\",\
             \"time\":\"2026-11-20T12:34:56.789Z\"}\n"
        );
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        assert!(!print(PLAIN, &[("e", "d", "1")]).contains('\x1b'));
        assert!(print(Style::Columns { colour: true }, &[("e", "d", "1")]).contains("\x1b[36m1"));
    }
}
