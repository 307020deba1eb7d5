//! “Interpreting an event stream”, line by line, on the bytes as they arrived.

use std::mem;
use std::time::Duration;

use super::text::{Text, padded};
use super::{Event, Item, Limits, ParseError};

/// The most that can stand on a line before its value.
const LONGEST_PREFIX: usize = BYTE_ORDER_MARK.len() + "event: ".len();
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
    /// The last item was an event: empty the buffers that it may have borrowed.
    dispatched: bool,
    /// A line whose end has not arrived, or that is read in no hurry.
    line: Vec<u8>,
    /// It has a NUL in it, and may be an id.
    line_has_nul: bool,
    /// It is whole now.
    line_ended: bool,
    /// A comment, for as long as an item borrows it.
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

#[derive(Clone, Copy)]
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

/// The fields of a block that lie in the bytes being read. They override the ones that were kept.
#[derive(Clone, Copy, Default)]
struct Block<'i> {
    /// The only data line so far.
    data: Option<Text<'i>>,
    event: Option<Text<'i>>,
    id: Option<Text<'i>>,
}

/// An item before it is borrowed. `None`: from the interpreter's own buffer.
enum Found<'i> {
    Event { data: Option<Text<'i>>, event: Option<Text<'i>> },
    Comment,
    Retry(Duration),
}

impl Interpreter {
    /// Reads lines until one makes an item; takes the bytes that it has read off the front of
    /// `input`.
    #[inline]
    pub(super) fn next<'p, 'i: 'p>(
        &'p mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Item<'p>>, ParseError> {
        // A line that goes on, and on, needs nothing else.
        if !self.line.is_empty() && !self.end_line(input)? {
            return Ok(None);
        }
        self.item(input)
    }

    fn item<'p, 'i: 'p>(
        &'p mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Item<'p>>, ParseError> {
        Ok(Some(match self.advance(input)? {
            None => return Ok(None),
            Some(Found::Event { data, event }) => {
                // The last line's LF does not count.
                let kept = self.data.len().saturating_sub(1);
                let data = data.unwrap_or_else(|| Text::of(&self.data[self.data_start..kept]));
                let event = event.unwrap_or_else(|| Text::of(&self.event));
                #[cfg(test)]
                {
                    self.examined += data.unseen() + event.unseen();
                }
                Item::Event(Event {
                    event: match event.bytes() {
                        [] => "message",
                        _ => event.decode(&mut self.decoded_event),
                    },
                    data: data.decode(&mut self.decoded_data),
                    last_event_id: &self.last_event_id,
                })
            }
            Some(Found::Comment) => {
                self.count(self.comment.len());
                Item::Comment(Text::of(&self.comment).decode(&mut self.decoded_data))
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
        if self.line_ended || self.after_cr || !self.after_bom {
            let found = self.begin(input)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let mut rest = *input;
        let mut block = Block::default();
        let found = loop {
            let before = rest;
            if rest.starts_with(b"data:") {
                // First, as data lines are what streams are made of.
                let Some(value) = self.value(&mut rest, Field::Data, "data:".len())? else {
                    break None;
                };
                if block.data.is_none() && self.data.is_empty() {
                    block.data = Some(value);
                    continue;
                }
                if let Some(first) = block.data.take() {
                    self.append(first.bytes());
                }
                let space = usize::from(before["data:".len()] == b' ');
                self.append_front(&before["data:".len() + space..], value.bytes().len());
                self.check_data()?;
            } else if let [b'\n' | b'\r', ..] = rest {
                self.count(1);
                rest = self.after_line(rest, 0);
                if let Some(found) = self.dispatch(mem::take(&mut block)) {
                    break Some(found);
                }
            } else if rest.starts_with(b"id:") {
                match self.value(&mut rest, Field::Id, "id:".len())? {
                    Some(value) if value.has_nul => {}
                    Some(value) => block.id = Some(value),
                    None => break None,
                }
            } else if rest.starts_with(b"event:") {
                let value = self.value(&mut rest, Field::Event, "event:".len())?;
                if value.is_none() {
                    break None;
                }
                block.event = value;
            } else if rest.is_empty() {
                break None;
            } else if self.skip_comments && rest[0] == b':' {
                if block.is_empty() && self.keeps_nothing() {
                    // Keep-alives between two events: all that an idle stream has.
                    while let [b':', b'\n', b'\n', after @ ..] = rest {
                        rest = after;
                    }
                    self.count(before.len() - rest.len());
                }
                if rest.len() == before.len()
                    && self.value(&mut rest, Field::Comment, ":".len())?.is_none()
                {
                    break None;
                }
            } else {
                // Rare and odd lines go the way of lines that come in pieces.
                let Some(line) = self.line(&mut rest, Field::Ignored, 0)? else { break None };
                self.keep_block(mem::take(&mut block));
                self.keep(line.bytes())?;
                let found = self.end_kept_line()?;
                if found.is_some() {
                    break found;
                }
            }
        };
        *input = rest;
        if !matches!(found, Some(Found::Event { .. })) {
            self.keep_block(block);
        }
        Ok(found)
    }

    /// Adds to the kept line; returns whether it ends here.
    #[inline]
    fn end_line(&mut self, input: &mut &[u8]) -> Result<bool, ParseError> {
        // It may be an id, perhaps behind a mark that came in pieces: then NUL matters.
        let may_be_id = matches!(self.line[0], b'i' | 0xef);
        match Text::of_rest(input, may_be_id) {
            Ok(end) => {
                let len = end.bytes().len();
                self.count(len + 1);
                self.line.extend_from_slice(end.bytes());
                self.line_has_nul |= end.has_nul;
                self.line_ended = true;
                *input = self.after_line(input, len);
            }
            Err(has_nul) => {
                self.count(input.len());
                self.line_has_nul |= has_nul;
                self.keep(mem::take(input))?;
            }
        }
        Ok(self.line_ended)
    }

    /// Handles the bytes before the next line: the last one, if it was kept; LF behind CR; a mark.
    fn begin<'i>(&mut self, input: &mut &[u8]) -> Result<Option<Found<'i>>, ParseError> {
        if mem::take(&mut self.line_ended) {
            return self.end_kept_line();
        }
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            if let Some(rest) = input.strip_prefix(b"\n") {
                self.count(1);
                *input = rest;
            }
        }
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
        Ok(None)
    }

    /// Lets a line take effect that is kept.
    fn end_kept_line<'i>(&mut self) -> Result<Option<Found<'i>>, ParseError> {
        let mut line = mem::take(&mut self.line);
        let has_nul = mem::take(&mut self.line_has_nul);
        if !mem::replace(&mut self.after_bom, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        let (field, start) = classify(&line);
        self.check(line.len() - start)?;
        let mut found = None;
        match field {
            Field::Data if self.data.is_empty() => {
                line.push(b'\n');
                mem::swap(&mut self.data, &mut line);
                self.data_start = start;
            }
            Field::Data => {
                self.append(&line[start..]);
                self.check_data()?;
            }
            Field::Event => replace(&mut self.event, &line[start..]),
            Field::Id if !has_nul => {
                replace(&mut self.id, &line[start..]);
                self.has_id = true;
            }
            Field::Retry => found = self.retry(&line[start..]).map(Found::Retry),
            Field::Comment if !self.skip_comments => {
                replace(&mut self.comment, &line[start..]);
                found = Some(Found::Comment);
            }
            Field::Comment | Field::Id | Field::Ignored => {}
        }
        // Its memory is used again.
        line.clear();
        self.line = line;
        Ok(found)
    }

    /// The value of the line at the front of `rest`, behind the name and its colon; see `line`.
    #[inline(always)]
    fn value<'i>(
        &mut self,
        rest: &mut &'i [u8],
        field: Field,
        name_len: usize,
    ) -> Result<Option<Text<'i>>, ParseError> {
        let Some(line) = self.line(rest, field, name_len)? else { return Ok(None) };
        let value = line.value();
        self.check(value.bytes().len())?;
        Ok(Some(value))
    }

    /// Takes a line off the front of `rest`, and returns what stands behind its name.
    ///
    /// `None`: its end has yet to come, and all there is of it is kept.
    #[inline(always)]
    fn line<'i>(
        &mut self,
        rest: &mut &'i [u8],
        field: Field,
        name_len: usize,
    ) -> Result<Option<Text<'i>>, ParseError> {
        let bytes = &rest[name_len..];
        let found = match field {
            Field::Id => Text::of_id(bytes).map_err(|has_nul| self.line_has_nul |= has_nul).ok(),
            _ => Text::of_line(bytes),
        };
        let Some(line) = found else {
            self.count(rest.len());
            self.keep(mem::take(rest))?;
            return Ok(None);
        };
        let len = line.bytes().len();
        self.count(name_len + len + 1);
        *rest = self.after_line(bytes, len);
        Ok(Some(line))
    }

    /// The bytes behind a line; an LF behind CR belongs to the line, even if it has yet to come.
    #[inline(always)]
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

    /// Keeps the beginning of a line until the rest of it arrives.
    #[inline]
    fn keep(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        let len = self.line.len() + bytes.len();
        match padded(bytes) {
            // Copying a fixed size and cutting it back is quicker than calling for the right one.
            Some(padded) => self.line.extend_from_slice(&padded),
            None => self.line.extend_from_slice(bytes),
        }
        self.line.truncate(len);
        self.check(self.line.len().saturating_sub(LONGEST_PREFIX))
    }

    /// Keeps the fields of the block so far: the bytes that hold them will be gone.
    fn keep_block(&mut self, block: Block<'_>) {
        if let Some(data) = block.data {
            self.append(data.bytes());
        }
        if let Some(event) = block.event {
            replace(&mut self.event, event.bytes());
        }
        if let Some(id) = block.id {
            replace(&mut self.id, id.bytes());
            self.has_id = true;
        }
    }

    /// Whether nothing of the block is kept from earlier bytes.
    #[inline]
    fn keeps_nothing(&self) -> bool {
        self.data.is_empty() && self.event.is_empty() && !self.has_id
    }

    /// Adds a line to the data buffer.
    #[inline]
    fn append(&mut self, line: &[u8]) {
        self.data.extend_from_slice(line);
        self.data.push(b'\n');
    }

    /// The same with the first `len` bytes of these, behind which there is another one.
    #[inline]
    fn append_front(&mut self, bytes: &[u8], len: usize) {
        // Copying a fixed size and cutting it back is quicker than calling for the right one.
        const SHORT: usize = 64;
        match bytes.first_chunk::<SHORT>() {
            Some(chunk) if len < SHORT => {
                let end = self.data.len() + len;
                self.data.extend_from_slice(chunk);
                self.data[end] = b'\n';
                self.data.truncate(end + 1);
            }
            _ => self.append(&bytes[..len]),
        }
    }

    /// Ends a block, with an event if it has data.
    #[inline]
    fn dispatch<'i>(&mut self, block: Block<'i>) -> Option<Found<'i>> {
        // The id counts even if the block has no data (step 1 of the standard's dispatch).
        if block.id.is_some() || self.has_id {
            let id = block.id.unwrap_or_else(|| Text::of(&self.id));
            #[cfg(test)]
            {
                self.examined += id.unseen();
            }
            id.decode_into(&mut self.last_event_id);
            self.has_id = false;
        }
        if block.data.is_none() && self.data.is_empty() {
            self.event.clear();
            return None;
        }
        self.dispatched = true;
        Some(Found::Event { data: block.data, event: block.event })
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

    /// The data of the block against the limit.
    #[inline]
    fn check_data(&mut self) -> Result<(), ParseError> {
        // Without the last LF.
        self.check(self.data.len() - self.data_start - 1)
    }

    /// Counts this many bytes of a line or of data against the limit.
    #[inline]
    fn check(&mut self, len: usize) -> Result<(), ParseError> {
        if len <= self.limits.max_event_bytes { Ok(()) } else { Err(self.too_large()) }
    }

    #[cold]
    fn too_large(&mut self) -> ParseError {
        let error = ParseError::EventTooLarge { max_event_bytes: self.limits.max_event_bytes };
        self.failed = Some(error);
        self.line.clear();
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

impl Block<'_> {
    #[inline]
    fn is_empty(&self) -> bool {
        self.data.is_none() && self.event.is_none() && self.id.is_none()
    }
}

/// The field of a whole line, and where its value starts.
#[cold]
fn classify(line: &[u8]) -> (Field, usize) {
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
            Some([]) if !name.is_empty() => return (field, name.len()),
            _ => {}
        }
    }
    (Field::Ignored, 0)
}

fn replace(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(bytes);
}
