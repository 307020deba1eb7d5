//! Body framing, decoded strictly, without I/O and without a copy.

use std::borrow::Cow;

use super::{Error, HEAD_LIMIT, Head, Result};

/// How many chunk sizes are remembered.
const CHUNK_SIZES_LIMIT: usize = 4096;
/// The longest chunk-size line: 16 hex digits and a long extension.
const CHUNK_LINE_LIMIT: usize = 256;

/// How the end of a body is marked (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none: the answer to HEAD, 1xx, 204, 304.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The connection's end.
    Close,
}

/// The decoder of one body.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    state: State,
    /// The beginning of a line of framing whose end has not come yet.
    line: Vec<u8>,
    /// Bytes of trailer lines.
    trailers: usize,
    keeps_sizes: bool,
    chunk_sizes: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This many bytes of data are still to come, then the state after it.
    Data(u64),
    /// Data until the connection ends.
    UntilClose,
    ChunkSize,
    /// After the data of a chunk: CR, then LF.
    ChunkEnd,
    ChunkLineFeed,
    Trailers,
    Done,
}

impl Body {
    /// The framing of the response to a request with this method.
    ///
    /// # Errors
    /// [`Error::Syntax`] when the head contradicts itself (RFC 9112, 6.1 to 6.3).
    pub fn new(method: &str, head: &Head) -> Result<Body> {
        let framing = framing(method, head)?;
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Data(length),
            Framing::Chunked => State::ChunkSize,
            Framing::Close => State::UntilClose,
        };
        let (line, chunk_sizes) = (Vec::new(), Vec::new());
        Ok(Body { framing, state, line, trailers: 0, keeps_sizes: true, chunk_sizes })
    }

    /// The same without the memory of chunk sizes, for thousands of streams at a time.
    #[must_use]
    pub(super) fn without_sizes(mut self) -> Body {
        self.keeps_sizes = false;
        self
    }

    /// How this body ends.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The sizes of the chunks so far, the first few thousand.
    pub fn chunk_sizes(&self) -> &[u64] {
        &self.chunk_sizes
    }

    /// Whether the body is complete, its last chunk and final line end included.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next data off the front of `input`; `None` when the body is complete or more input is needed.
    ///
    /// # Errors
    /// [`Error::Syntax`] at the first byte that breaks the chunk syntax (RFC 9112, 7.1), [`Error::TooLong`];
    /// they come again at the next call with the same input.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<&'i [u8]>> {
        while let Some((&byte, rest)) = input.split_first() {
            match self.state {
                State::Done => break,
                State::UntilClose => return Ok(Some(std::mem::take(input))),
                State::Data(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (data, after) = input.split_at(taken);
                    *input = after;
                    self.state = match (left - taken as u64, self.framing) {
                        (0, Framing::Chunked) => State::ChunkEnd,
                        (0, _) => State::Done,
                        (left, _) => State::Data(left),
                    };
                    return Ok(Some(data));
                }
                State::ChunkSize => {
                    let line =
                        self.line(input, CHUNK_LINE_LIMIT, "a chunk-size line", chunk_size)?;
                    let Some(size) = line else { break };
                    let is_kept = self.keeps_sizes && self.chunk_sizes.len() < CHUNK_SIZES_LIMIT;
                    if is_kept && size > 0 {
                        self.chunk_sizes.push(size);
                    }
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::ChunkEnd if byte == b'\r' => {
                    (*input, self.state) = (rest, State::ChunkLineFeed);
                }
                State::ChunkLineFeed if byte == b'\n' => {
                    (*input, self.state) = (rest, State::ChunkSize);
                }
                State::ChunkEnd | State::ChunkLineFeed => {
                    return Err(syntax("no CRLF after the data of a chunk", input));
                }
                State::Trailers => {
                    let room = HEAD_LIMIT.saturating_sub(self.trailers);
                    let line = self.line(input, room, "the trailer section", trailer)?;
                    let Some(length) = line else { break };
                    self.trailers += length;
                    if length == 0 {
                        self.state = State::Done;
                    }
                }
            }
        }
        Ok(None)
    }

    /// The same for bytes that are kept: takes them off the front of `input` and appends data to `output`.
    ///
    /// # Errors
    /// As for [`Body::next`].
    pub fn decode(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>) -> Result<()> {
        let mut left = input.as_slice();
        let result = loop {
            match self.next(&mut left) {
                Ok(Some(data)) => output.extend_from_slice(data),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let used = input.len() - left.len();
        input.drain(..used);
        result
    }

    /// The meaning of the connection's end for this body.
    ///
    /// # Errors
    /// [`Error::Closed`] if the body was not complete.
    pub fn end_of_connection(&mut self) -> Result<()> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Data(_) if self.framing != Framing::Chunked => {
                Err(Error::Closed { awaited: "the number of bytes that Content-Length promised" })
            }
            _ => Err(Error::Closed { awaited: "the last chunk" }),
        }
    }

    /// The result of `read` for the next line of framing, without its CRLF; `None` if its end has not come. A line
    /// that is an error is not taken.
    fn line<T>(
        &mut self,
        input: &mut &[u8],
        limit: usize,
        what: &'static str,
        read: fn(&[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        let end = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        if self.line.len() + end > limit {
            return Err(Error::TooLong { what, limit });
        }
        let (part, after) = input.split_at(end);
        if !part.ends_with(b"\n") {
            self.line.extend_from_slice(part);
            *input = after;
            return Ok(None);
        }
        let whole = match self.line.is_empty() {
            true => Cow::Borrowed(part),
            false => Cow::Owned([&self.line, part].concat()),
        };
        let Some(line) = whole.strip_suffix(b"\r\n") else {
            return Err(syntax("a line that ends in LF alone", &whole));
        };
        let value = read(line)?;
        self.line.clear();
        *input = after;
        Ok(Some(value))
    }
}

fn framing(method: &str, head: &Head) -> Result<Framing> {
    if method == "HEAD" || head.status < 200 || matches!(head.status, 204 | 304) {
        return Ok(Framing::None);
    }
    let lengths: Vec<_> = head.values("content-length").collect();
    match (coding(head), lengths.as_slice()) {
        // It overrides Content-Length. That a server must not send both is for a case to say.
        (Coding::Chunked, _) => Ok(Framing::Chunked),
        (Coding::Unknown, _) => {
            Err(Error::Syntax("a Transfer-Encoding other than chunked".to_owned()))
        }
        (Coding::None, []) => Ok(Framing::Close),
        (Coding::None, [length]) => {
            let digits = std::str::from_utf8(length)
                .ok()
                .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok());
            length.map(Framing::Length).ok_or_else(|| {
                Error::Syntax(format!("Content-Length \"{}\"", crate::shown(lengths[0])))
            })
        }
        (Coding::None, _) => Err(Error::Syntax("several Content-Length lines".to_owned())),
    }
}

/// The transfer coding of a body as a client reads it.
enum Coding {
    None,
    Chunked,
    Unknown,
}

/// Servers that say chunked twice, or `identity`, mean one coding and none: the body is read so, and
/// a case judges the head.
fn coding(head: &Head) -> Coding {
    let value = head.value("transfer-encoding").unwrap_or_default().to_ascii_lowercase();
    let mut codings = value.split(',').map(str::trim).filter(|it| !matches!(*it, "" | "identity"));
    match codings.next() {
        None => Coding::None,
        Some("chunked") if codings.all(|it| it == "chunked") => Coding::Chunked,
        Some(_) => Coding::Unknown,
    }
}

/// `1*HEXDIG [chunk-ext]`.
fn chunk_size(line: &[u8]) -> Result<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    let extension_is_fine = extension.is_empty() || extension.trim_ascii_start().starts_with(b";");
    if !(1..=16).contains(&digits.len()) || !extension_is_fine || line.contains(&b'\r') {
        return Err(syntax("a bad chunk size", line));
    }
    let digits = std::str::from_utf8(digits).expect("hex digits are ASCII");
    Ok(u64::from_str_radix(digits, 16).expect("at most 16 hex digits fit"))
}

/// The length of a trailer line, 0 for the last one.
fn trailer(line: &[u8]) -> Result<usize> {
    if line.is_empty() || line.contains(&b':') {
        return Ok(line.len());
    }
    Err(syntax("a trailer line without colon", line))
}

fn syntax(what: &str, at: &[u8]) -> Error {
    let excerpt = &at[..at.len().min(40)];
    Error::Syntax(format!("{what} at \"{}\"", crate::shown(excerpt)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked() -> Body {
        let head = Head::parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n").unwrap();
        Body::new("GET", &head).unwrap()
    }

    #[test]
    fn chunks_decode_at_any_split() {
        let wire = b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\nnext";
        for step in 1..wire.len() {
            let (mut body, mut input, mut output) = (chunked(), Vec::new(), Vec::new());
            for piece in wire.chunks(step) {
                input.extend_from_slice(piece);
                body.decode(&mut input, &mut output).unwrap();
            }
            assert_eq!(output, b"hello0123456789");
            assert_eq!(body.chunk_sizes(), [5, 10]);
            assert!(body.is_done());
            assert_eq!(input, b"next");
        }
    }

    #[test]
    fn bad_chunks_are_refused() {
        for wire in [
            &b"\r\n"[..],
            b"g\r\n",
            b"5 x\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b"5\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"00000000000000001\r\n",
            b"0\r\nno colon\r\n",
        ] {
            let mut input = wire.to_vec();
            let error = chunked().decode(&mut input, &mut Vec::new());
            assert!(matches!(error, Err(Error::Syntax(_))), "{}", wire.escape_ascii());
        }
        let mut endless = vec![b'1'; 1000];
        let error = chunked().decode(&mut endless, &mut Vec::new());
        assert!(matches!(error, Err(Error::TooLong { .. })));
    }

    #[test]
    fn framing_follows_the_head() {
        let framing = |method: &str, lines: &str| {
            let head = Head::parse(format!("HTTP/1.1 200 OK\r\n{lines}").as_bytes()).unwrap();
            framing(method, &head)
        };
        assert_eq!(framing("GET", "").unwrap(), Framing::Close);
        assert_eq!(framing("GET", "Content-Length: 7\r\n").unwrap(), Framing::Length(7));
        assert_eq!(framing("HEAD", "Content-Length: 7\r\n").unwrap(), Framing::None);
        let chunked = "Transfer-Encoding: chunked\r\n";
        for twice in [chunked.repeat(2), format!("Content-Length: 7\r\n{chunked}")] {
            assert_eq!(framing("GET", &twice).unwrap(), Framing::Chunked);
        }
        assert_eq!(framing("GET", "Transfer-Encoding: identity\r\n").unwrap(), Framing::Close);
        for bad in [
            "Content-Length: +7\r\n",
            "Content-Length: 7\r\nContent-Length: 7\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            assert!(framing("GET", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_early_end_is_seen() {
        let (mut body, mut output) = (chunked(), Vec::new());
        body.decode(&mut b"5\r\nhello\r\n".to_vec(), &mut output).unwrap();
        assert!(body.end_of_connection().unwrap_err().to_string().contains("last chunk"));
        body.decode(&mut b"0\r\n\r\n".to_vec(), &mut output).unwrap();
        body.end_of_connection().unwrap();
    }
}
