//! A parser of event streams that is right, but for the fault at hand.

use crate::fault;

/// A piece of a stream.
pub enum Item {
    Event {
        kind: String,
        data: String,
        id: String,
    },
    Comment(String),
    /// It is too large, or what else ends it.
    Fail,
}

#[derive(Default)]
pub struct Parser {
    pub items: Vec<Item>,
    /// The last event id; it outlives connections, as the reconnection time does.
    pub id: String,
    pub retry_ms: Option<u64>,
    pub max_event_bytes: Option<usize>,
    line: Vec<u8>,
    skip_lf: bool,
    held_cr: bool,
    first_end: Option<u8>,
    begun: bool,
    block: Block,
    pending_retry_ms: Option<u64>,
    comments: Vec<Vec<u8>>,
    copy: Vec<u8>,
    in_push: usize,
    chunks: usize,
}

#[derive(Default)]
struct Block {
    data: Vec<u8>,
    data_lines: usize,
    kind: String,
    kinds: usize,
    id: Option<String>,
    after_comment: bool,
    after_blank: bool,
}

/// The most that this client holds of a line or an event.
const LIMIT: usize = 16 * 1024 * 1024;

impl Parser {
    /// Another connection begins.
    pub fn reset(&mut self) {
        if fault("C5.06") {
            return;
        }
        // Half a character that waits for its rest.
        let half = self.line.iter().rposition(|it| *it >= 0xc0).unwrap_or(self.line.len());
        let half = self.line.split_off(half);
        *self = Parser {
            id: std::mem::take(&mut self.id),
            retry_ms: if fault("C6.07") { None } else { self.retry_ms },
            max_event_bytes: self.max_event_bytes,
            line: if fault("C5.06-utf8") { half } else { Vec::new() },
            begun: fault("C4.12"),
            ..Parser::default()
        };
    }

    /// The stream has ended.
    pub fn end(&mut self) {
        // A CR that was held back ends its line all the same.
        if std::mem::take(&mut self.held_cr) && !fault("C2.17") && !fault("C2.03") {
            self.line_ends();
        }
        if fault("C5.05") && !self.line.is_empty() {
            self.line_ends();
        }
        if fault("C5.04") || fault("C5.05") {
            self.dispatch();
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.in_push = 0;
        self.chunks += 1;
        if bytes.is_empty() && fault("C2.16") {
            self.items.push(message("", &self.id));
        }
        if fault("C2.05") {
            self.skip_lf = false;
        }
        if fault("C8.11") && self.chunks.is_multiple_of(97) {
            return;
        }
        if fault("C8.05") {
            // Looks at the whole line again with each chunk, thoroughly.
            let sum: usize =
                (0..8).map(|_| self.line.iter().map(|it| usize::from(*it)).sum::<usize>()).sum();
            std::hint::black_box(sum);
        }
        if fault("C8.12") {
            // Copies the whole line with each chunk, so often that this and not the rest takes the time.
            for _ in 0..2 {
                self.copy.clear();
                self.copy.extend_from_slice(&self.line);
                std::hint::black_box(&self.copy);
            }
        }
        let text = fault("C4.05").then(|| String::from_utf8_lossy(bytes).into_owned());
        let bytes = text.as_deref().map_or(bytes, str::as_bytes);
        // A piece from the middle of a line, at once: the largest lines have millions of bytes.
        let is_plain =
            !self.skip_lf && !self.held_cr && memchr::memchr2(b'\n', b'\r', bytes).is_none();
        if is_plain && bytes.len() > 64 {
            self.line.extend_from_slice(bytes);
            return self.check_size();
        }
        for (at, byte) in bytes.iter().enumerate() {
            self.byte(*byte, at + 1 == bytes.len());
        }
        self.check_size();
    }

    fn check_size(&mut self) {
        let held = self.line.len().max(self.block.data.len());
        if held > LIMIT && !fault("C8.02") && !fault("C8.03") {
            self.items.push(Item::Fail);
        }
    }

    fn byte(&mut self, byte: u8, is_last: bool) {
        if std::mem::take(&mut self.held_cr) {
            match byte {
                b'\n' if fault("C2.03") || fault("C2.06") => {}
                _ if fault("C2.03") => self.line.push(b'\r'),
                b'\n' => return self.line_ends(),
                _ if fault("C2.07") || fault("C2.17") => self.line_ends(),
                _ => {}
            }
        }
        let is_second = std::mem::take(&mut self.skip_lf) && byte == b'\n';
        let other = self.first_end.is_some_and(|it| it != byte) && fault("C2.04");
        match byte {
            b'\n' if is_second && !fault("C2.02") => {}
            b'\n' | b'\r' if other => self.line.push(byte),
            b'\r'
                if fault("C2.03")
                    || (is_last && (fault("C2.06") || fault("C2.07") || fault("C2.17"))) =>
            {
                self.held_cr = true;
            }
            b'\n' | b'\r' => {
                self.skip_lf = byte == b'\r';
                self.first_end.get_or_insert(byte);
                self.line_ends();
            }
            0x0b if fault("C2.10") => self.line_ends(),
            0x1c if fault("C2.10-separators") => self.line_ends(),
            _ => self.line.push(byte),
        }
    }

    fn line_ends(&mut self) {
        const BOM: &[u8] = "\u{feff}".as_bytes();
        if fault("C4.07")
            && self.line.last().is_some_and(|it| *it >= 0x80)
            && std::str::from_utf8(&self.line).is_err()
        {
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        let is_first = !std::mem::replace(&mut self.begun, true);
        let strips = (is_first && !fault("C4.01")) || fault("C4.03");
        if strips && line.starts_with(BOM) {
            line.drain(..BOM.len());
        }
        if fault("C4.02") && is_first && line.starts_with(BOM) {
            line.drain(..BOM.len());
        }
        if fault("C4.04") {
            line = String::from_utf8_lossy(&line).replacen('\u{feff}', "", 9).into_bytes();
        }
        if fault("C4.06") && std::str::from_utf8(&line).is_err() {
            return self.items.push(Item::Fail);
        }
        assert!(!(fault("C8.10") && line.contains(&0xc0)), "an unexpected byte");
        let is_blank = fault("C3.29") && line.iter().all(u8::is_ascii_whitespace);
        if line.is_empty() || is_blank {
            let is_again = std::mem::replace(&mut self.block.after_blank, true);
            if fault("C2.09") && is_again && self.block.data_lines == 0 {
                self.items.push(message("", &self.id));
            }
            if fault("C3.22") && self.block.after_comment && self.block.data_lines == 0 {
                self.items.push(message("", &self.id));
            }
            return self.dispatch();
        }
        self.block.after_blank = false;
        let skipped = std::mem::replace(&mut self.block.after_comment, line[0] == b':');
        if skipped && fault("C3.23") {
            return;
        }
        if line[0] == b':' {
            return self.comment(&line[1..]);
        }
        self.field(&line);
    }

    fn comment(&mut self, text: &[u8]) {
        if fault("C3.21") {
            self.block = Block::default();
        }
        if fault("C8.07") {
            self.comments.push([text, &[0; 200][..]].concat());
        }
        let text = text.strip_prefix(b" ").filter(|_| !fault("C3.24")).unwrap_or(text);
        self.items.push(Item::Comment(String::from_utf8_lossy(text).into_owned()));
    }

    fn field(&mut self, line: &[u8]) {
        let mut colons =
            line.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
        let colon = if fault("C3.06") { colons.next_back() } else { colons.next() };
        let (name, value) = match colon {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let value = match value.strip_prefix(b" ") {
            _ if fault("C3.05") => value.trim_ascii_start(),
            Some(value) => value,
            None => value,
        };
        let mut name = String::from_utf8_lossy(name).into_owned();
        if fault("C3.08") {
            name.make_ascii_lowercase();
        }
        if fault("C3.09") {
            name = name.trim().to_owned();
        }
        if fault("C3.10") {
            name = name.replace('\0', "");
        }
        let value = match fault("C4.11") {
            true => one_for_each_byte(value),
            false => String::from_utf8_lossy(value).into_owned(),
        };
        match name.as_str() {
            "data" if fault("C3.03") && colon.is_none() => {}
            "data" => self.data(&value),
            "event" => self.kind(value),
            "id" if value.contains('\0') && !fault("C3.18") => {}
            "id" if fault("C3.15") && value.parse::<u64>().is_err() && !value.is_empty() => {}
            "id" if fault("C3.17") && value.is_empty() => {}
            "id" if fault("C3.19") && self.block.id.is_some() => {}
            "id" => {
                if fault("C6.18") {
                    self.id.clone_from(&value);
                }
                self.block.id = Some(value);
            }
            "retry" => self.retry(&value),
            _ if fault("C3.07") && colon.is_none() => self.data(&value),
            _ => {}
        }
    }

    fn data(&mut self, value: &str) {
        if fault("C3.26") && self.block.data_lines == 4 {
            return;
        }
        if self.block.data_lines > 0 && !fault("C3.01") {
            self.block.data.push(b'\n');
        }
        let value = if fault("C4.10") { value.replace('\0', "") } else { value.to_owned() };
        self.block.data.extend_from_slice(value.as_bytes());
        self.block.data_lines += 1;
        let limit = self.max_event_bytes.unwrap_or(LIMIT);
        if self.block.data.len() > limit && self.max_event_bytes.is_some() {
            if fault("C8.04") {
                self.block.data.truncate(limit);
            } else {
                self.items.push(Item::Fail);
            }
        }
    }

    fn kind(&mut self, value: String) {
        let ignored = (fault("C3.13") && value.is_empty())
            || (fault("C3.14") && self.block.kinds > 0 && !value.is_empty())
            || (fault("C3.25") && self.block.data_lines > 0);
        self.block.kinds += 1;
        if !ignored {
            let nameless = fault("C3.12") && value.is_empty();
            self.block.kind = if nameless { " ".to_owned() } else { value };
        }
    }

    fn retry(&mut self, value: &str) {
        let is_number = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
        let ms = match value {
            // As number parsers do: a sign is fine.
            _ if fault("C6.08") => value.trim().parse().ok(),
            _ if !is_number => None,
            _ if fault("C6.09") && value.starts_with('0') => u64::from_str_radix(value, 8).ok(),
            _ if fault("C6.10") || fault("C6.10-host") => Some(value.parse().unwrap_or_default()),
            _ => Some(value.parse().unwrap_or(u64::MAX)),
        };
        let ms = if fault("C6.05") { ms.map(|it| it / 2) } else { ms };
        if fault("C6.06") {
            self.pending_retry_ms = ms.or(self.pending_retry_ms);
        } else {
            self.retry_ms = ms.or(self.retry_ms);
        }
    }

    fn dispatch(&mut self) {
        self.first_end = None;
        let block = std::mem::take(&mut self.block);
        self.block.after_blank = true;
        let is_event = (block.data_lines > 0 && !(fault("C3.02") && block.data.is_empty()))
            || fault("C3.04-dispatched");
        let takes_id = is_event || !(fault("C3.20") || fault("C6.19"));
        match block.id {
            Some(id) if takes_id => self.id = id,
            None if fault("C3.16") => self.id.clear(),
            None if fault("C6.15") && is_event => self.id.clear(),
            _ => {}
        }
        if !is_event {
            if fault("C3.04") {
                self.block.kind = block.kind;
            }
            return;
        }
        self.retry_ms = self.pending_retry_ms.take().or(self.retry_ms);
        self.in_push += 1;
        if fault("C2.15") && self.in_push > 50 {
            return;
        }
        let mut data = String::from_utf8_lossy(&block.data).into_owned();
        if fault("C2.01") {
            data.insert(0, '!');
        }
        if fault("C8.01") && data.len() > 1 << 20 {
            data.truncate(1 << 20);
        }
        let is_lost = match block.kind.as_str() {
            "error" | "open" | "close" => fault("C3.27"),
            "constructor" => fault("C3.28"),
            _ => false,
        };
        if is_lost {
            return;
        }
        let kind = if block.kind.is_empty() { "message".to_owned() } else { block.kind };
        if fault("C3.11") && kind != "message" {
            self.block.kind.clone_from(&kind);
        }
        self.items.push(Item::Event { kind, data, id: self.id.clone() });
    }
}

/// As encoders of JSON do that look at bytes.
fn one_for_each_byte(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |text, chunk| {
        text + chunk.valid() + &"\u{fffd}".repeat(chunk.invalid().len())
    })
}

fn message(data: &str, id: &str) -> Item {
    Item::Event { kind: "message".to_owned(), data: data.to_owned(), id: id.to_owned() }
}
