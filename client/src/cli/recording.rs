//! A recording: the answer to one request as text, to be read, compared, edited and played again.
//! Its format stands in `client/README.md`, under Recordings.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};

use super::print::is_unsafe;

/// The first line.
const FIRST_LINE: &str = "sse-recording 1";

/// For people who open a file.
const LEGEND: &str =
    "# The number is ms since the request. \\n \\r \\t \\\\ \\\" \\xHH stand for one byte.";

/// The largest body: replay has it in memory.
pub(super) const MAX_BODY_BYTES: u64 = 64 << 20;

/// The most pieces of a body.
pub(super) const MAX_PIECES: usize = 1_000_000;

/// The largest file that keeps to both: four characters for a byte, and a time for a piece.
pub(super) const MAX_FILE_BYTES: u64 = 4 * MAX_BODY_BYTES + 32 * MAX_PIECES as u64;

/// The longest recording: a day.
pub(super) const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum End {
    /// As HTTP has it, with the last chunk
    Whole,
    /// The connection is closed before that, which HTTP/1.0 takes for whole
    Cut,
    /// The connection is reset (RST)
    Reset,
    /// Not yet: nothing more comes, and the connection stays open
    Open,
}

/// An answer with its times, which count from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recording {
    pub(super) status: StatusCode,
    /// When the head came.
    pub(super) head_at: Duration,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<Piece>,
    pub(super) end: End,
    pub(super) end_at: Duration,
}

/// Bytes that came together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) at: Duration,
    pub(super) bytes: Bytes,
}

/// The lines before the body. The request is a remark in one line.
pub(super) fn head<'a>(
    request: &str,
    at: Duration,
    status: StatusCode,
    headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> String {
    let request = escaped(request.as_bytes(), false);
    let mut text = format!("{FIRST_LINE}\n# {request}\n{LEGEND}\n");
    let _ = writeln!(text, "{:>6} status {}", ms(at), status.as_u16());
    for (name, value) in headers {
        let _ = writeln!(text, "header {name}: {}", escaped(value.as_bytes(), false));
    }
    text
}

/// The line of one piece.
pub(super) fn piece(at: Duration, bytes: &[u8]) -> String {
    format!("{:>6} \"{}\"\n", ms(at), escaped(bytes, true))
}

/// The last line.
pub(super) fn end(at: Duration, end: End, words: &str) -> String {
    let colon = if words.is_empty() { "" } else { ": " };
    format!("{:>6} {}{colon}{}\n", ms(at), end.word(), escaped(words.as_bytes(), false))
}

/// A recording that is ended by its bound is not longer than that.
fn ms(at: Duration) -> u128 {
    at.min(MAX_TIME).as_millis()
}

impl End {
    pub(super) const ALL: [End; 4] = [End::Whole, End::Cut, End::Reset, End::Open];

    pub(super) fn word(self) -> &'static str {
        match self {
            End::Whole => "whole",
            End::Cut => "cut",
            End::Reset => "reset",
            End::Open => "open",
        }
    }
}

/// Text in which every byte can be seen, on one line; and without a bare quotation mark, if it will
/// stand between two.
fn escaped(bytes: &[u8], is_quoted: bool) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    let hex = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            let _ = write!(text, "\\x{byte:02x}");
        }
    };
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            match c {
                '\n' => text += "\\n",
                '\r' => text += "\\r",
                '\t' => text += "\\t",
                '\\' => text += "\\\\",
                '"' if is_quoted => text += "\\\"",
                // Editors and terminals act on them, or show nothing.
                c if is_unsafe(c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                    hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                c => text.push(c),
            }
        }
        hex(&mut text, part.invalid());
    }
    text
}

/// The bytes of an escaped text. If it is quoted they end at the closing mark, and the text behind it
/// comes back too.
fn unescaped(text: &str, is_quoted: bool) -> Result<(Vec<u8>, &str), String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    let is_special = |c| c == '\\' || is_quoted && c == '"';
    loop {
        let plain = rest.find(is_special).unwrap_or(rest.len());
        bytes.extend_from_slice(&rest.as_bytes()[..plain]);
        let Some(behind) = rest[plain..].strip_prefix('\\') else {
            return match rest[plain..].strip_prefix('"') {
                Some(behind) => Ok((bytes, behind)),
                None if is_quoted => Err("the bytes have no closing quotation mark".to_owned()),
                None => Ok((bytes, "")),
            };
        };
        let (byte, used) = match behind.as_bytes().first() {
            Some(b'n') => (b'\n', 1),
            Some(b'r') => (b'\r', 1),
            Some(b't') => (b'\t', 1),
            Some(b'\\') => (b'\\', 1),
            Some(b'"') => (b'"', 1),
            Some(b'x') => {
                let digits =
                    behind.get(1..3).filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
                let byte = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
                (byte.ok_or(r"behind \x stand two hexadecimal digits")?, 3)
            }
            _ => return Err(r#"a backslash stands before n, r, t, \, " or xHH"#.to_owned()),
        };
        bytes.push(byte);
        rest = &behind[used..];
    }
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// One line: the number of the line, what is wrong with it, and what stands there instead.
    pub(super) fn parse(text: &str) -> Result<Recording, String> {
        let mut lines = (1..).zip(text.lines().map(str::trim));
        match lines.next() {
            Some((_, FIRST_LINE)) => {}
            Some((_, line)) if line.starts_with("sse-recording ") => {
                return Err(format!(
                    "it says {:?}; this program reads {FIRST_LINE:?}",
                    short(line)
                ));
            }
            _ => return Err(format!("it is no recording: the first line is {FIRST_LINE:?}")),
        }
        let mut reader = Reader::default();
        for (number, line) in lines {
            if !line.is_empty() && !line.starts_with('#') {
                reader.line(line).map_err(|why| format!("line {number}: {why}"))?;
            }
        }
        let Some((head_at, status)) = reader.head else {
            return Err("it has no answer: a line such as `3 status 200` is missing".to_owned());
        };
        let (end_at, end) = reader.end.unwrap_or((reader.last, End::Open));
        let Reader { headers, body, .. } = reader;
        Ok(Recording { status, head_at, headers, body, end, end_at })
    }
}

/// The lines that were read.
#[derive(Default)]
struct Reader {
    last: Duration,
    head: Option<(Duration, StatusCode)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<Piece>,
    body_bytes: u64,
    end: Option<(Duration, End)>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if self.end.is_some() {
            return Err("the recording has ended on an earlier line".to_owned());
        }
        if let Some(field) = line.strip_prefix("header ") {
            return self.header(field);
        }
        let (time, rest) = line.split_once(' ').unwrap_or((line, ""));
        let at = self.time(time)?;
        let rest = rest.trim_start();
        if let Some(status) = rest.strip_prefix("status ") {
            let status = status.trim().parse().ok().filter(|it| (200..600).contains(it));
            let status = status.and_then(|it: u16| StatusCode::from_u16(it).ok());
            let status = status.ok_or("a status is a number from 200 to 599")?;
            return match self.head.replace((at, status)) {
                None => Ok(()),
                Some(_) => Err("a second status: a recording has one answer".to_owned()),
            };
        }
        if self.head.is_none() {
            return Err("before the body stands a line such as `3 status 200`".to_owned());
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            return self.piece(at, quoted);
        }
        let word = rest.split(':').next().unwrap_or_default().trim_end();
        match End::ALL.into_iter().find(|it| it.word() == word) {
            Some(end) => self.end = Some((at, end)),
            None => {
                return Err(format!(
                    "{:?} is no status, no \"bytes\" and no end (whole, cut, reset, open)",
                    short(rest)
                ));
            }
        }
        Ok(())
    }

    fn time(&mut self, text: &str) -> Result<Duration, String> {
        let ms = text.parse().map_err(|_| {
            format!("{:?} is no time: a line begins with a number of ms, or `header`", short(text))
        })?;
        let at = Duration::from_millis(ms);
        if at > MAX_TIME {
            return Err(format!("{ms} ms is more than a day, {} ms", MAX_TIME.as_millis()));
        }
        if at < self.last {
            return Err(format!("{ms} ms is before the {} ms above", self.last.as_millis()));
        }
        self.last = at;
        Ok(at)
    }

    fn header(&mut self, field: &str) -> Result<(), String> {
        if self.head.is_none() || !self.body.is_empty() {
            return Err("header fields stand behind the status and before the body".to_owned());
        }
        let (name, value) = field.split_once(':').ok_or("write it as `header NAME: VALUE`")?;
        let parsed = name.trim().parse::<HeaderName>();
        let parsed = parsed.map_err(|_| format!("{:?} is no header name", short(name)))?;
        let (bytes, _) = unescaped(value.trim(), false)?;
        let value = HeaderValue::from_bytes(&bytes)
            .map_err(|_| format!("HTTP cannot carry this value of {}", short(name)))?;
        self.headers.push((parsed, value));
        Ok(())
    }

    fn piece(&mut self, at: Duration, quoted: &str) -> Result<(), String> {
        let (bytes, behind) = unescaped(quoted, true)?;
        if !behind.is_empty() {
            return Err(format!("{:?} stands behind the bytes", short(behind)));
        }
        self.body_bytes += bytes.len() as u64;
        if self.body_bytes > MAX_BODY_BYTES {
            return Err(format!("the body has more than {MAX_BODY_BYTES} bytes"));
        }
        if self.body.len() == MAX_PIECES {
            return Err(format!("the body has more than {MAX_PIECES} pieces"));
        }
        // HTTP has no empty chunk but the last.
        if !bytes.is_empty() {
            self.body.push(Piece { at, bytes: bytes.into() });
        }
        Ok(())
    }
}

/// As much of a text as fits into a message.
fn short(text: &str) -> String {
    const MOST: usize = 40;
    let shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn every_byte_survives_and_none_of_them_ends_a_line_or_steers_a_terminal() {
        let all: Vec<u8> = (0..=255).collect();
        let texts =
            ["a\"b\\n", "grüße 👨\u{200d}👩", "\u{feff}\u{2028}\u{202e}\u{85}", " a ", "\\x41"];
        for bytes in texts.iter().map(|it| it.as_bytes()).chain([&all[..], &"€".as_bytes()[..2]])
        {
            let line = piece(ms(7), bytes);
            assert_eq!(
                (line.lines().count(), line.chars().any(|it| it != '\n' && is_unsafe(it))),
                (1, false)
            );
            let text = format!("{}{line}", head("GET /", ms(3), StatusCode::OK, []));
            let read = Recording::parse(&text).unwrap();
            assert_eq!(read.body, [Piece { at: ms(7), bytes: bytes.to_vec().into() }], "{text}");
        }
        assert!(piece(ms(0), "grüße 👨\u{200d}👩".as_bytes()).contains("grüße 👨\u{200d}👩"));
    }

    #[test]
    fn a_recording_is_read_as_it_was_written() {
        let name = HeaderName::from_static("x-odd");
        let value = HeaderValue::from_bytes(b"a \"b\" \\ caf\xe9\tx").unwrap();
        for kind in End::ALL {
            let text = head("GET /\n9 cut", ms(3), StatusCode::IM_A_TEAPOT, [(&name, &value)])
                + &piece(ms(3), b"a")
                + &piece(ms(12), b"b\n\n")
                + &end(ms(1_234_567), kind, "why\nso");
            let read = Recording::parse(&text).unwrap();
            assert_eq!((read.status.as_u16(), read.head_at), (418, ms(3)), "{text}");
            assert_eq!(read.headers, [(name.clone(), value.clone())]);
            assert_eq!(read.body.iter().map(|it| it.at).collect::<Vec<_>>(), [ms(3), ms(12)]);
            assert_eq!((read.end, read.end_at), (kind, ms(1_234_567)));
        }
    }

    #[test]
    fn a_file_that_a_person_wrote_is_read() {
        let text = "sse-recording 1\r\n\n# mine\n0 status 200\nheader A:\n  5  \"x\"\n9 \"\"\n";
        let read = Recording::parse(text).unwrap();
        assert_eq!((read.headers.len(), read.body.len()), (1, 1));
        assert_eq!((read.end, read.end_at), (End::Open, ms(9)));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let errors = [
            ("", "it is no recording"),
            ("data: a\n\n", "it is no recording"),
            ("sse-recording 2\n", "it says \"sse-recording 2\"; this program reads"),
            ("sse-recording 1\n", "it has no answer"),
            ("sse-recording 1\n1 \"a\"", "line 2: before the body"),
            ("sse-recording 1\n1 status 200\n2 status 200", "line 3: a second status"),
            ("sse-recording 1\n1 status 99", "line 2: a status is a number from 200 to 599"),
            ("sse-recording 1\nheader a: b", "line 2: header fields stand"),
            ("sse-recording 1\n1 status 200\nheader a b: c", "line 3: \"a b\" is no header name"),
            ("sse-recording 1\n1 status 200\nheader a: \\n", "line 3: HTTP cannot carry"),
            ("sse-recording 1\n9 status 200\n8 \"a\"", "line 3: 8 ms is before the 9 ms above"),
            ("sse-recording 1\n86400001 status 200", "line 2: 86400001 ms is more than a day"),
            ("sse-recording 1\n1 status 200\n-1 \"a\"", "line 3: \"-1\" is no time"),
            ("sse-recording 1\n1 status 200\n2 \"a", "line 3: the bytes have no closing"),
            ("sse-recording 1\n1 status 200\n2 \"a\" b", "line 3: \" b\" stands behind the bytes"),
            ("sse-recording 1\n1 status 200\n2 \"\\q\"", "line 3: a backslash stands before n"),
            ("sse-recording 1\n1 status 200\n2 \"\\x+1\"", "line 3: behind \\x stand two"),
            ("sse-recording 1\n1 status 200\n2 \"\\xé\"", "line 3: behind \\x stand two"),
            ("sse-recording 1\n1 status 200\n2 wole", "line 3: \"wole\" is no status"),
            ("sse-recording 1\n1 status 200\n2 cut\n3 \"a\"", "line 4: the recording has ended"),
        ];
        for (text, expected) in errors {
            let error = Recording::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
