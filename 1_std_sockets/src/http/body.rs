//! Where a request's body ends, and what is in it.
//!
//! Source: RFC 9112, [6 Message body](https://www.rfc-editor.org/rfc/rfc9112.html#section-6) and
//! [7.1 Chunked](https://www.rfc-editor.org/rfc/rfc9112.html#section-7.1).

use feed::Problem;
use feed::contract::MAX_MESSAGE_BYTES;

use super::{Refusal, Request};

/// Bytes of one line that frames chunks, its extensions included: nobody uses those.
const MAX_CHUNK_LINE_BYTES: usize = 256;

/// Bytes of the trailer section, which is read and thrown away.
const MAX_TRAILER_BYTES: usize = 4 * 1024;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// After a chunk of size 0.
    Chunked,
}

impl Framing {
    /// What the header fields say. Two answers are none: a proxy in front might choose the other
    /// one.
    pub(super) fn of(request: &Request) -> Result<Framing, Refusal> {
        let mut lengths = request.fields("content-length");
        let length = lengths.next();
        if let (Some(value), Some(_)) = (length, lengths.next()) {
            return Err(Refusal::malformed("Content-Length", value, "given once"));
        }
        let codings: Vec<&[u8]> = request.fields("transfer-encoding").collect();
        let Some(first) = codings.first() else {
            return length.map_or(Ok(Framing::None), content_length);
        };
        let malformed = |must_be| Err(Refusal::malformed("Transfer-Encoding", first, must_be));
        if !request.http_1_1 {
            return malformed("absent from an HTTP/1.0 request");
        }
        if length.is_some() {
            return malformed("absent beside a Content-Length");
        }
        let codings = codings.iter().flat_map(|value| value.split(|&byte| byte == b','));
        let codings: Vec<&[u8]> = codings.map(<[u8]>::trim_ascii).collect();
        if !codings.iter().all(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
            let detail = "the only transfer coding that this server knows is chunked";
            return Err(Refusal::Http(501, "Not Implemented", detail));
        }
        if codings.len() > 1 { malformed("chunked, once") } else { Ok(Framing::Chunked) }
    }
}

fn content_length(value: &[u8]) -> Result<Framing, Refusal> {
    // `parse` would take a sign too.
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|v| v.parse().ok());
    match number {
        Some(0) => Ok(Framing::None),
        Some(number) => Ok(Framing::Length(number)),
        None => Err(Refusal::malformed("Content-Length", value, "a whole number")),
    }
}

/// How far a body has come.
#[derive(Debug, PartialEq)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// It is whole, or larger than a message may be; the rest of the latter was not looked at.
    Done(Result<Vec<u8>, Problem>),
    /// Its framing is broken.
    Refused(Refusal),
}

/// Takes a body out of the bytes that follow a head.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    body: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// So many bytes, then the end.
    Plain(u64),
    /// A line with the size of the next chunk.
    Size,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// Lines up to an empty one; so many bytes of them came already.
    Trailer(usize),
}

impl Decoder {
    /// A decoder for a body that has not begun.
    pub fn new(framing: Framing) -> Decoder {
        let state = match framing {
            Framing::None => State::Plain(0),
            Framing::Length(bytes) => State::Plain(bytes),
            Framing::Chunked => State::Size,
        };
        Decoder { state, body: Vec::new() }
    }

    /// Takes what belongs to the body off the front of `bytes`.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> Progress {
        let mut used = 0;
        let progress = self.decode(bytes, &mut used);
        bytes.drain(..used);
        progress
    }

    fn decode(&mut self, bytes: &[u8], used: &mut usize) -> Progress {
        loop {
            let rest = &bytes[*used..];
            match self.state {
                State::Plain(left) | State::Chunk(left) => {
                    let room = (MAX_MESSAGE_BYTES - self.body.len()) as u64;
                    if left > room {
                        return Progress::Done(Err(Problem::body_too_large(MAX_MESSAGE_BYTES)));
                    }
                    let now = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.body.extend_from_slice(&rest[..now]);
                    *used += now;
                    let left = left - now as u64;
                    let plain = matches!(self.state, State::Plain(_));
                    match (plain, left) {
                        (true, 0) => return self.done(),
                        (true, _) => self.state = State::Plain(left),
                        (false, 0) => self.state = State::ChunkEnd,
                        (false, _) => self.state = State::Chunk(left),
                    }
                    if left > 0 {
                        return Progress::More;
                    }
                }
                State::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        *used += 2;
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Progress::More,
                    _ => return refused("a chunk that ends where its size says"),
                },
                State::Size => {
                    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                        return if rest.len() > MAX_CHUNK_LINE_BYTES {
                            bad_size()
                        } else {
                            Progress::More
                        };
                    };
                    let Some(size) = chunk_size(&rest[..end]) else { return bad_size() };
                    *used += end + 1;
                    self.state = if size == 0 { State::Trailer(0) } else { State::Chunk(size) };
                }
                State::Trailer(seen) => {
                    let end = rest.iter().position(|&byte| byte == b'\n');
                    let length = end.map_or(rest.len(), |end| end + 1);
                    if seen + length > MAX_TRAILER_BYTES {
                        return refused("a trailer section of at most 4096 bytes");
                    }
                    if end.is_none() {
                        return Progress::More;
                    }
                    *used += length;
                    match &rest[..length] {
                        b"\r\n" => return self.done(),
                        line if line.ends_with(b"\r\n") => {
                            self.state = State::Trailer(seen + length);
                        }
                        _ => return refused("a trailer section with CRLF line ends"),
                    }
                }
            }
        }
    }

    fn done(&mut self) -> Progress {
        Progress::Done(Ok(std::mem::take(&mut self.body)))
    }
}

/// The size in a line such as `1a;extension`. Strict about the line end: readers that are not were
/// used for smuggling.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r").filter(|line| line.len() <= MAX_CHUNK_LINE_BYTES)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    let plain = extension.is_empty() || extension.starts_with(b";");
    if !plain || extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

fn bad_size() -> Progress {
    refused("chunks that begin with their size in hex and CRLF")
}

fn refused(must_be: &'static str) -> Progress {
    Progress::Refused(Refusal::malformed("body", b"", must_be))
}
