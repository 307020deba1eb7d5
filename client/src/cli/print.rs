//! Output to the terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use client::MessageEvent;
use jiff::Timestamp;
use ratatui::crossterm::terminal::size;

/// Columns grow with what they have to hold, up to here: one odd value must not push the data off
/// the screen for good.
const MAX_ID_WIDTH: usize = 24;
const MAX_TYPE_WIDTH: usize = 16;

/// Of a terminal that does not say how wide it is.
const COLUMNS: usize = 80;

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
        writeln!(self.out, "{}", escaped(&value.to_string()))?;
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

/// Writes a remark to standard error, wrapped at words if that is a terminal; an error of that is ignored.
pub(crate) fn notice(text: &str) {
    let mut stderr = io::stderr();
    let mut text = visible(&format!("sse: {text}")).into_owned();
    if stderr.is_terminal() {
        text = wrapped(&text, size().map_or(COLUMNS, |it| it.0.into()));
    }
    let _ = if wants_colour(&stderr) {
        writeln!(stderr, "{DIM}{text}{RESET}")
    } else {
        writeln!(stderr, "{text}")
    };
}

/// Breaks a text at spaces into lines of so many columns; a longer word is a line by itself.
fn wrapped(text: &str, columns: usize) -> String {
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        let its = word.chars().count();
        if width > 0 && width + 1 + its > columns {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines += word;
        width += its;
    }
    lines
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
    replaced(text, |c, safe| {
        safe.push(match u32::from(c) {
            code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or(char::REPLACEMENT_CHARACTER),
            0x7f => '\u{2421}',
            _ => char::REPLACEMENT_CHARACTER,
        });
    })
}

/// The same for JSON, which has its own way to write any character.
fn escaped(json: &str) -> Cow<'_, str> {
    replaced(json, |c, safe| *safe += &format!("\\u{:04x}", u32::from(c)))
}

fn replaced(text: &str, show: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { show(c, &mut safe) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// Whether a terminal may act on a character: C0 but for LF and HT, DEL, C1, and what turns the
/// direction of text ([Bidi_Control](https://www.unicode.org/reports/tr44/#Bidi_Control)), so that it
/// reads otherwise than it is.
pub(super) fn is_unsafe(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
pub(super) mod tests {
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
    fn remarks_break_at_words() {
        let url = "http://127.0.0.1:8003/a/long/way";
        let text = format!("sse: cannot read {url}: it is no stream");
        assert_eq!(wrapped(&text, 24), format!("sse: cannot read\n{url}:\nit is no stream"));
        assert_eq!(wrapped(&text, 80), text);
    }

    #[test]
    fn a_stream_cannot_steer_the_terminal() {
        let seen = print(PLAIN, &[("\x1b[2J", "\x1b]0;title\x07\r\x7f\u{9b}\tend", "1\n2")]);
        assert!(!seen.contains(['\x1b', '\x07', '\r', '\x7f', '\u{9b}']), "{seen:?}");
        assert!(seen.contains("␛]0;title␇␍␡\u{fffd}\tend"), "{seen:?}");
    }

    /// All that C0, DEL, C1 and Bidi_Control have, but for LF and HT.
    pub(in crate::cli) fn unsafe_characters() -> String {
        let c0 = ('\0'..' ').filter(|c| !matches!(c, '\n' | '\t'));
        let turns = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter();
        let turns = turns.chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        c0.chain('\u{7f}'..='\u{9f}').chain(turns).collect()
    }

    #[test]
    fn no_style_lets_an_unsafe_character_through_and_json_keeps_its_value() {
        let text = unsafe_characters();
        assert_eq!(text.chars().count(), 30 + 33 + 12);
        let events = [(&text[..], &text[..], &text[..])];
        for style in [PLAIN, Style::Json] {
            let seen = print(style, &events);
            let found: Vec<_> = seen.chars().filter(|c| text.contains(*c)).collect();
            assert!(found.is_empty(), "{style:?}: {found:?}");
        }
        let seen: serde_json::Value = serde_json::from_str(&print(Style::Json, &events)).unwrap();
        for member in ["data", "event", "id"] {
            assert_eq!(seen[member], text);
        }
        assert!(print(Style::Json, &events).contains("\\u009b"));
        // Other scripts and joiners are text.
        let family = "مرحبا 👨\u{200d}👩 שלום";
        assert!(print(Style::Json, &[("e", family, "")]).contains(family));
        assert!(print(PLAIN, &[("e", family, "")]).contains(family));
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
