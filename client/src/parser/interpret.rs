//! “Interpreting an event stream”, line by line, on the bytes as they arrived.

use std::mem;
use std::time::Duration;

use memchr::{memchr2, memchr3};

use super::{Event, Item, Limits, ParseError};

/// The most that can stand on a line before its value.
const LONGEST_PREFIX: usize = BYTE_ORDER_MARK.len() + "event: ".len();
/// Up to here looking at bytes one by one is quicker than setting up a search with vectors.
const SHORT: usize = 12;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The standard's state, and what outlives the bytes it came in.
#[derive(Debug, Default)]
pub(super) struct Interpreter {
    pub(super) limits: Limits,
    pub(super) skip_comments: bool,
    pub(super) last_event_id: String,
    pub(super) retry: Option<Duration>,
    failed: Option<ParseError>,
    /// A line has begun that is not the first, which alone may have a byte order mark.
    after_bom: bool,
    /// The last line ended in CR, and the bytes with it: an LF now would belong to it.
    after_cr: bool,
    /// The last item was an event: the buffers that it may have borrowed are to be emptied.
    dispatched: bool,
    /// A line whose end has not arrived.
    line: Vec<u8>,
    /// It has a NUL in it, and may be an id.
    line_has_nul: bool,
    /// A comment that arrived in pieces, for as long as an item borrows it.
    comment: Vec<u8>,
    /// The standard's data buffer, from `data_start` on: an LF follows each line.
    data: Vec<u8>,
    data_start: usize,
    event: Vec<u8>,
    /// An id that waits for the end of its block.
    id: Vec<u8>,
    has_id: bool,
    decoded_data: String,
    decoded_event: String,
    #[cfg(test)]
    pub(super) examined: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
    /// A line that starts with a colon: a field without a name.
    Comment,
    /// An unknown name.
    Ignored,
}

/// What a block holds that lies in the bytes being read. It goes before what was kept.
#[derive(Default)]
struct Block<'i> {
    /// The only data line so far, with its line end; empty if there is none.
    data: &'i [u8],
    event: Option<&'i [u8]>,
    id: Option<&'i [u8]>,
}

/// An item before it is borrowed. `None`: from the interpreter's own buffer.
enum Found<'i> {
    Event { data: Option<&'i [u8]>, event: Option<&'i [u8]> },
    Comment(Option<&'i [u8]>),
    Retry(Duration),
}

impl Block<'_> {
    #[inline]
    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.event.is_none() && self.id.is_none()
    }
}

impl Interpreter {
    /// Reads lines until one makes an item; takes what it has read off the front of `input`.
    pub(super) fn next<'p, 'i: 'p>(
        &'p mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Item<'p>>, ParseError> {
        Ok(Some(match self.advance(input)? {
            None => return Ok(None),
            Some(Found::Event { data, event }) => {
                let data = data.unwrap_or(&self.data[self.data_start..]);
                let data = &data[..data.len() - 1];
                let event = event.unwrap_or(&self.event);
                #[cfg(test)]
                {
                    self.examined += data.len() + event.len();
                }
                Item::Event(Event {
                    event: match event {
                        [] => "message",
                        event => decode(event, &mut self.decoded_event),
                    },
                    data: decode(data, &mut self.decoded_data),
                    last_event_id: &self.last_event_id,
                })
            }
            Some(Found::Comment(text)) => {
                let text = text.unwrap_or(&self.comment);
                #[cfg(test)]
                {
                    self.examined += text.len();
                }
                Item::Comment(decode(text, &mut self.decoded_data))
            }
            Some(Found::Retry(delay)) => Item::Retry(delay),
        }))
    }

    /// Discards the block, as at the end of a connection.
    pub(super) fn reset(&mut self) {
        *self = Self {
            limits: self.limits,
            skip_comments: self.skip_comments,
            last_event_id: mem::take(&mut self.last_event_id),
            retry: self.retry,
            ..Self::default()
        };
    }

    #[inline]
    fn advance<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Found<'i>>, ParseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if mem::take(&mut self.dispatched) {
            self.data.clear();
            self.data_start = 0;
            self.event.clear();
        }
        if !self.line.is_empty() || self.after_cr || !self.after_bom {
            let found = self.resume(input)?;
            if found.is_some() || input.is_empty() {
                return Ok(found);
            }
        }
        let mut rest = *input;
        let mut block = Block::default();
        let found = loop {
            // The names that matter, as a whole; `classify` sees to the rest.
            let (field, name_len) = match rest {
                // Data lines first, and on their own: they are what streams are made of.
                [b'd', b'a', b't', b'a', b':', after_name @ ..] => {
                    self.count(5);
                    let Some((end, _)) = self.find_line_end(Field::Data, after_name) else {
                        self.keep(rest)?;
                        rest = &[];
                        break None;
                    };
                    rest = self.after_line(after_name, end);
                    let start = usize::from(after_name[0] == b' ');
                    if end - start > self.limits.max_event_bytes {
                        return Err(self.too_large());
                    }
                    if self.data.is_empty() {
                        if block.data.is_empty() {
                            block.data = &after_name[start..=end];
                            continue;
                        }
                        self.append(mem::take(&mut block.data));
                    }
                    self.append_front(&after_name[start..], end + 1 - start);
                    if self.data.len() - self.data_start - 1 > self.limits.max_event_bytes {
                        return Err(self.too_large());
                    }
                    continue;
                }
                [] => break None,
                [b':', b'\n', b'\n', ..]
                    if self.skip_comments && block.is_empty() && self.keeps_nothing() =>
                {
                    // A keep-alive between two events: all that an idle stream has.
                    self.count(3);
                    rest = &rest[3..];
                    continue;
                }
                [b'\n' | b'\r', ..] => {
                    self.count(1);
                    rest = self.after_line(rest, 0);
                    if let Some(found) = self.dispatch(&mut block) {
                        break Some(found);
                    }
                    continue;
                }
                [b':', ..] => (Field::Comment, 1),
                [b'i', b'd', b':', ..] => (Field::Id, 3),
                [b'e', b'v', b'e', b'n', b't', b':', ..] => (Field::Event, 6),
                [b'r', b'e', b't', b'r', b'y', b':', ..] => (Field::Retry, 6),
                _ => (Field::Ignored, 0),
            };
            self.count(name_len);
            let after_name = &rest[name_len..];
            let Some((len, has_nul)) = self.find_line_end(field, after_name) else {
                self.keep(rest)?;
                rest = &[];
                break None;
            };
            let line = &rest[..name_len + len];
            let end = line.len();
            let (field, value_start) = match field {
                Field::Ignored => self.classify(line),
                field => (field, name_len + usize::from(after_name[0] == b' ')),
            };
            if end - value_start > self.limits.max_event_bytes {
                return Err(self.too_large());
            }
            let value = &line[value_start..];
            match field {
                // `data` alone, without a colon: an empty line.
                Field::Data => {
                    let line = &rest[end..=end];
                    if block.data.is_empty() && self.data.is_empty() {
                        block.data = line;
                    } else {
                        self.append(mem::take(&mut block.data));
                        self.append(line);
                        if self.data.len() - self.data_start - 1 > self.limits.max_event_bytes {
                            return Err(self.too_large());
                        }
                    }
                }
                Field::Event => block.event = Some(value),
                Field::Id if !has_nul => block.id = Some(value),
                Field::Retry => {
                    if let Some(delay) = self.retry(value) {
                        rest = self.after_line(rest, end);
                        break Some(Found::Retry(delay));
                    }
                }
                Field::Comment if !self.skip_comments => {
                    rest = self.after_line(rest, end);
                    break Some(Found::Comment(Some(value)));
                }
                Field::Comment | Field::Id | Field::Ignored => {}
            }
            rest = self.after_line(rest, end);
        };
        *input = rest;
        if !matches!(found, Some(Found::Event { .. })) {
            self.keep_block(&block);
        }
        Ok(found)
    }

    /// Begins with what the last bytes left open: a mark, a line end or a line.
    fn resume<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Found<'i>>, ParseError> {
        if mem::take(&mut self.after_cr) {
            match input.first() {
                None => self.after_cr = true,
                Some(b'\n') => {
                    self.count(1);
                    *input = &input[1..];
                }
                Some(_) => {}
            }
        }
        if self.line.is_empty() {
            if !self.after_bom {
                if let Some(rest) = input.strip_prefix(BYTE_ORDER_MARK) {
                    *input = rest;
                    self.after_bom = true;
                    self.count(BYTE_ORDER_MARK.len());
                } else {
                    // The first bytes of a mark are kept as the first bytes of a line.
                    self.after_bom = !BYTE_ORDER_MARK.starts_with(input);
                }
            }
            return Ok(None);
        }
        // It may be an id, perhaps behind a mark that came in pieces: then NUL matters.
        let field = if matches!(self.line[0], b'i' | 0xef) { Field::Id } else { Field::Ignored };
        let Some((len, has_nul)) = self.find_line_end(field, input) else {
            self.keep(input)?;
            *input = &[];
            return Ok(None);
        };
        self.line.extend_from_slice(&input[..len]);
        *input = self.after_line(input, len);
        self.line_has_nul |= has_nul;
        self.end_kept_line()
    }

    /// Lets a line take effect that arrived in pieces.
    fn end_kept_line<'i>(&mut self) -> Result<Option<Found<'i>>, ParseError> {
        let mut line = mem::take(&mut self.line);
        let has_nul = mem::take(&mut self.line_has_nul);
        if !mem::replace(&mut self.after_bom, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        let (field, start) = self.classify(&line);
        if line.len() - start > self.limits.max_event_bytes {
            return Err(self.too_large());
        }
        let mut found = None;
        match field {
            Field::Data => {
                line.push(b'\n');
                if self.data.is_empty() {
                    mem::swap(&mut self.data, &mut line);
                    self.data_start = start;
                } else {
                    self.append(&line[start..]);
                    if self.data.len() - self.data_start - 1 > self.limits.max_event_bytes {
                        return Err(self.too_large());
                    }
                }
            }
            Field::Event => replace(&mut self.event, &line[start..]),
            Field::Id if !has_nul => {
                replace(&mut self.id, &line[start..]);
                self.has_id = true;
            }
            Field::Retry => found = self.retry(&line[start..]).map(Found::Retry),
            Field::Comment if !self.skip_comments => {
                replace(&mut self.comment, &line[start..]);
                found = Some(Found::Comment(None));
            }
            Field::Comment | Field::Id | Field::Ignored => {}
        }
        // Its memory is used again.
        line.clear();
        self.line = line;
        Ok(found)
    }

    /// Keeps the beginning of a line until the rest of it arrives.
    #[inline]
    fn keep(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        self.line.extend_from_slice(bytes);
        if self.line.len() > self.limits.max_event_bytes.saturating_add(LONGEST_PREFIX) {
            return Err(self.too_large());
        }
        Ok(())
    }

    /// Keeps what the block has so far: the bytes it lies in will be gone.
    fn keep_block(&mut self, block: &Block<'_>) {
        self.append(block.data);
        if let Some(event) = block.event {
            replace(&mut self.event, event);
        }
        if let Some(id) = block.id {
            replace(&mut self.id, id);
            self.has_id = true;
        }
    }

    /// Whether nothing of the block is kept from earlier bytes.
    #[inline]
    fn keeps_nothing(&self) -> bool {
        self.data.is_empty() && self.event.is_empty() && !self.has_id
    }

    /// Adds a line, with its line end, to the data buffer.
    #[inline]
    fn append(&mut self, line: &[u8]) {
        self.data.extend_from_slice(line);
        if let Some(end) = self.data.last_mut() {
            *end = b'\n';
        }
    }

    /// The same with the first `len` bytes of these.
    #[inline]
    fn append_front(&mut self, bytes: &[u8], len: usize) {
        // Copying a fixed size and cutting it back is quicker than calling for the right one.
        const SHORT: usize = 64;
        match bytes.first_chunk::<SHORT>() {
            Some(chunk) if len <= SHORT => {
                let end = self.data.len() + len;
                self.data.extend_from_slice(chunk);
                self.data.truncate(end);
                if let Some(end) = self.data.last_mut() {
                    *end = b'\n';
                }
            }
            _ => self.append(&bytes[..len]),
        }
    }

    /// Ends a block, with an event if it has data.
    #[inline]
    fn dispatch<'i>(&mut self, block: &mut Block<'i>) -> Option<Found<'i>> {
        let Block { data, event, id } = mem::take(block);
        // The id counts even if the block has no data (step 1 of the standard's dispatch).
        if id.is_some() || self.has_id {
            let id = id.unwrap_or(&self.id);
            self.last_event_id.clear();
            match std::str::from_utf8(id) {
                Ok(id) => self.last_event_id.push_str(id),
                Err(_) => decode_malformed(id, &mut self.last_event_id),
            }
            self.has_id = false;
            #[cfg(test)]
            {
                self.examined += id.len();
            }
        }
        if data.is_empty() && self.data.is_empty() {
            self.event.clear();
            return None;
        }
        self.dispatched = true;
        Some(Found::Event { data: (!data.is_empty()).then_some(data), event })
    }

    /// The offset of the next line end; and whether a NUL stands before it, if that matters.
    #[inline]
    fn find_line_end(&mut self, field: Field, bytes: &[u8]) -> Option<(usize, bool)> {
        let mut has_nul = false;
        let mut end = match field {
            Field::Id => find_id_end(bytes),
            _ if bytes.len() <= SHORT => {
                bytes.iter().position(|byte| matches!(*byte, b'\n' | b'\r'))
            }
            _ => memchr2(b'\n', b'\r', bytes),
        };
        if let Some(at) = end
            && bytes[at] == 0
        {
            has_nul = true;
            end = memchr2(b'\n', b'\r', &bytes[at..]).map(|after| at + after);
        }
        self.count(end.map_or(bytes.len(), |end| end + 1));
        if end.is_none() {
            self.line_has_nul |= has_nul;
        }
        Some((end?, has_nul))
    }

    /// What stands behind a line; an LF behind CR belongs to the line, even if it has yet to come.
    #[inline]
    fn after_line<'i>(&mut self, bytes: &'i [u8], end: usize) -> &'i [u8] {
        let rest = &bytes[end + 1..];
        if bytes[end] == b'\r' {
            if let [b'\n', rest @ ..] = rest {
                self.count(1);
                return rest;
            }
            self.after_cr = rest.is_empty();
        }
        rest
    }

    /// The field of a whole line, and where its value starts.
    #[cold]
    fn classify(&mut self, line: &[u8]) -> (Field, usize) {
        let fields: [(Field, &[u8]); 5] = [
            (Field::Comment, b""),
            (Field::Data, b"data"),
            (Field::Id, b"id"),
            (Field::Event, b"event"),
            (Field::Retry, b"retry"),
        ];
        for (field, name) in fields {
            match line.strip_prefix(name) {
                Some([b':', b' ', ..]) => return (field, name.len() + 2),
                Some([b':', ..]) => return (field, name.len() + 1),
                // A name alone: the value is empty.
                Some([]) if field != Field::Comment => return (field, name.len()),
                _ => {}
            }
        }
        (Field::Ignored, 0)
    }

    /// Sets the reconnection time, if the value is a number.
    #[cold]
    fn retry(&mut self, value: &[u8]) -> Option<Duration> {
        self.count(value.len());
        // ASCII digits only: no sign, no space, not empty. Past `u64` it is the largest number.
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let ms = value
            .iter()
            .fold(0u64, |ms, digit| ms.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        self.retry = Some(Duration::from_millis(ms));
        self.retry
    }

    #[cold]
    fn too_large(&mut self) -> ParseError {
        let error = ParseError::EventTooLarge { max_event_bytes: self.limits.max_event_bytes };
        self.failed = Some(error);
        error
    }

    /// Counts the bytes looked at, so that a test can prove the bound.
    #[inline(always)]
    fn count(&mut self, _bytes: usize) {
        #[cfg(test)]
        {
            self.examined += _bytes;
        }
    }
}

/// The offset of the next line end or NUL.
#[inline]
fn find_id_end(bytes: &[u8]) -> Option<usize> {
    // Ids are short.
    let is_end = |byte: &u8| matches!(*byte, b'\n' | b'\r' | 0);
    let (head, tail) = bytes.split_at(bytes.len().min(SHORT));
    head.iter().position(is_end).or_else(|| Some(head.len() + memchr3(b'\n', b'\r', 0, tail)?))
}

fn replace(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(bytes);
}

/// The bytes as text; malformed ones replaced, in the buffer.
#[inline]
fn decode<'a>(bytes: &'a [u8], replaced: &'a mut String) -> &'a str {
    // Below this length the standard library is done before vectors are set up.
    const SHORT: usize = 256;
    let text = match bytes.len() {
        ..SHORT => std::str::from_utf8(bytes).ok(),
        _ => simdutf8::basic::from_utf8(bytes).ok(),
    };
    text.unwrap_or_else(|| {
        replaced.clear();
        decode_malformed(bytes, replaced);
        replaced
    })
}

#[cold]
fn decode_malformed(bytes: &[u8], text: &mut String) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}
