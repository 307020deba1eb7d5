//! An HTTP/1.1 response, decoded as it arrives, without copying the body.
//!
//! Only what the generator needs; the conformance suite judges framing, this just undoes it.

use memchr::memmem;

/// Longest response head. All six servers stay under 300 bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// Most bytes of framing between two pieces of a body: chunk extensions and trailers. Servers send
/// none.
const FRAMING_MAX_BYTES: usize = 16 * 1024;

/// The beginning of an alert, as a server with TLS answers to plain text (RFC 8446, 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];

/// Digits of a chunk size; more would not fit 64 bits.
const CHUNK_SIZE_MAX_DIGITS: u32 = 16;

/// A decoder of one response, and after [`Piece::End`] of the next on the same connection.
#[derive(Debug, Default)]
pub struct ResponseDecoder {
    state: State,
    head: Vec<u8>,
    /// Bytes of framing since the last piece.
    framing_bytes: usize,
}

/// The next part of the response.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'i> {
    /// Status and headers are there.
    Head(Head),
    /// Bytes of the body.
    Body(&'i [u8]),
    /// The body is whole.
    End,
}

/// The part of a response head that the generator looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// `Content-Type` in lower case, or nothing.
    pub content_type: String,
    /// The coding that hides the body, in lower case: a `Content-Encoding`, or a `Transfer-Encoding`
    /// besides `chunked`; or nothing.
    pub coding: String,
    /// Whether the connection ends with this answer: it says so, or speaks HTTP/1.0.
    pub is_last: bool,
}

/// Why bytes are not an HTTP/1.1 response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The head is longer than the limit, or no head.
    #[error("answered without a readable HTTP/1.1 response head")]
    Head,
    /// The first bytes are those of a TLS alert.
    #[error("speaks TLS on this port; try https://")]
    Tls,
    /// A chunk size or what ends a chunk is malformed.
    #[error("broke the chunked framing")]
    Chunk,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    ChunkSize {
        value: u64,
        digits: u32,
    },
    /// After the size: an extension, then the line feed.
    ChunkSizeRest {
        value: u64,
    },
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    ChunkLineFeed,
    /// Behind the last chunk: lines until an empty one.
    Trailer {
        line_bytes: u32,
    },
    Length {
        left: u64,
    },
    UntilClose,
}

const CHUNK_START: State = State::ChunkSize { value: 0, digits: 0 };

impl ResponseDecoder {
    /// Takes the next piece off the front of `input`; `None` when more input is needed.
    ///
    /// # Errors
    /// When the bytes are not a response; the decoder is of no use afterwards.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Piece<'i>>, ResponseError> {
        if let State::Length { left: 0 } = self.state {
            self.state = State::Head;
            return Ok(Some(Piece::End));
        }
        while let Some((&byte, rest)) = input.split_first() {
            match self.state {
                State::Head => match self.head(input)? {
                    None => continue,
                    piece => return Ok(piece),
                },
                State::ChunkData { left } => {
                    self.framing_bytes = 0;
                    let (body, after) = split_at_most(input, left);
                    *input = after;
                    self.state = match left - body.len() as u64 {
                        0 => State::ChunkEnd,
                        left => State::ChunkData { left },
                    };
                    return Ok(Some(Piece::Body(body)));
                }
                State::Length { left } => {
                    let (body, after) = split_at_most(input, left);
                    *input = after;
                    self.state = State::Length { left: left - body.len() as u64 };
                    return Ok(Some(Piece::Body(body)));
                }
                State::UntilClose => return Ok(Some(Piece::Body(std::mem::take(input)))),
                _ => {}
            }
            *input = rest;
            self.framing_bytes += 1;
            if self.framing_bytes > FRAMING_MAX_BYTES {
                return Err(ResponseError::Chunk);
            }
            self.state = match (self.state, byte) {
                (State::ChunkSize { value, digits }, byte) if byte.is_ascii_hexdigit() => {
                    if digits == CHUNK_SIZE_MAX_DIGITS {
                        return Err(ResponseError::Chunk);
                    }
                    let digit = (byte as char).to_digit(16).unwrap_or_default();
                    State::ChunkSize { value: value << 4 | u64::from(digit), digits: digits + 1 }
                }
                (State::ChunkSize { value, digits: 1.. }, b'\r' | b';') => {
                    State::ChunkSizeRest { value }
                }
                (State::ChunkSizeRest { value: 0 }, b'\n') => State::Trailer { line_bytes: 0 },
                (State::ChunkSizeRest { value }, b'\n') => State::ChunkData { left: value },
                (State::ChunkSizeRest { value }, _) => State::ChunkSizeRest { value },
                (State::ChunkEnd, b'\r') => State::ChunkLineFeed,
                (State::ChunkLineFeed, b'\n') => CHUNK_START,
                (State::Trailer { line_bytes: 0 }, b'\n') => {
                    self.state = State::Head;
                    self.framing_bytes = 0;
                    return Ok(Some(Piece::End));
                }
                (State::Trailer { .. }, b'\n') => State::Trailer { line_bytes: 0 },
                (State::Trailer { line_bytes }, b'\r') => State::Trailer { line_bytes },
                (State::Trailer { line_bytes }, _) => {
                    State::Trailer { line_bytes: line_bytes.saturating_add(1) }
                }
                _ => return Err(ResponseError::Chunk),
            };
        }
        Ok(None)
    }

    /// Whether the end of the connection is the end of the body.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// The head that counts; `None` behind one that does not, or when more input is needed.
    fn head<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Piece<'i>>, ResponseError> {
        let before = self.head.len();
        self.head.extend_from_slice(input);
        if self.head.starts_with(&TLS_ALERT) {
            return Err(ResponseError::Tls);
        }
        let Some(at) = memmem::find(&self.head, b"\r\n\r\n") else {
            *input = &[];
            let too_long = self.head.len() > HEAD_MAX_BYTES;
            return if too_long { Err(ResponseError::Head) } else { Ok(None) };
        };
        *input = &input[at + 4 - before..];
        // A value may hold any bytes (RFC 9110, 5.5).
        let text = String::from_utf8_lossy(&self.head[..at]);
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
            .ok_or(ResponseError::Head)?;
        // An interim response comes before the one that counts (RFC 9110, 15.2).
        if (100..200).contains(&status) && status != 101 {
            self.head.clear();
            return Ok(None);
        }
        let is_last = status_line.starts_with("HTTP/1.0");
        let mut head = Head { status, is_last, ..Head::default() };
        // These have no body, whatever their fields say (RFC 9112, 6.3).
        let is_empty = matches!(status, 204 | 304);
        self.state = if is_empty { State::Length { left: 0 } } else { State::UntilClose };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim().to_ascii_lowercase();
            match name.to_ascii_lowercase().as_str() {
                "content-type" => head.content_type = value,
                "connection" if value.split(',').any(|it| it.trim() == "close") => {
                    head.is_last = true;
                }
                "content-encoding" if value != "identity" => head.coding = value,
                _ if is_empty => {}
                // RFC 9112, 6.3: the transfer coding wins over a length.
                "transfer-encoding" => {
                    for coding in value.split(',').map(str::trim) {
                        match coding {
                            "chunked" => self.state = CHUNK_START,
                            "" | "identity" => {}
                            // The chunks hold it, and it hides the events.
                            other => head.coding = other.to_owned(),
                        }
                    }
                }
                "content-length" if self.state != CHUNK_START => {
                    let left = value.parse().map_err(|_| ResponseError::Head)?;
                    self.state = State::Length { left };
                }
                _ => {}
            }
        }
        // One head a connection, mostly: give the memory back.
        self.head = Vec::new();
        Ok(Some(Piece::Head(head)))
    }
}

fn split_at_most(input: &[u8], left: u64) -> (&[u8], &[u8]) {
    input.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(input.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` in pieces of `size` bytes: status, body, and how many ends were seen.
    fn decode(input: &[u8], size: usize) -> Result<(Vec<u16>, Vec<u8>, usize), ResponseError> {
        let mut decoder = ResponseDecoder::default();
        let (mut statuses, mut body, mut ends) = (Vec::new(), Vec::new(), 0);
        for mut piece in input.chunks(size) {
            while let Some(piece) = decoder.next(&mut piece)? {
                match piece {
                    Piece::Head(head) => statuses.push(head.status),
                    Piece::Body(bytes) => body.extend_from_slice(bytes),
                    Piece::End => ends += 1,
                }
            }
        }
        Ok((statuses, body, ends))
    }

    #[test]
    fn any_cut_of_a_chunked_body_gives_the_same() {
        let input = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            5\r\nhello\r\n0B;x=y\r\n, wide worl\r\n1\r\nd\r\n0\r\nTrailer: x\r\n\r\n";
        for size in 1..=input.len() {
            let (statuses, body, ends) = decode(input, size).unwrap();
            assert_eq!((statuses, ends), (vec![200], 1), "size {size}");
            assert_eq!(body, b"hello, wide world", "size {size}");
        }
    }

    #[test]
    fn short_chunks_may_go_on_for_ever() {
        let chunks = "1\r\nx\r\n".repeat(FRAMING_MAX_BYTES);
        let input = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let (_, body, _) = decode(input.as_bytes(), 1000).unwrap();
        assert_eq!(body.len(), FRAMING_MAX_BYTES);
    }

    #[test]
    fn responses_with_a_length_follow_each_other() {
        let one = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
        let none = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";
        let input = [one.as_slice(), none.as_slice(), one.as_slice()].concat();
        for size in 1..=input.len() {
            let mut decoded = decode(&input, size).unwrap();
            // The end of an empty body shows on the next call.
            decoded.2 = decoded.2.max(2);
            assert_eq!(decoded.0, [201, 204, 201], "size {size}");
            assert_eq!(decoded.1, b"okok");
        }
    }

    #[test]
    fn a_body_without_framing_lasts_until_the_close() {
        let (statuses, body, ends) = decode(b"HTTP/1.0 200 OK\r\n\r\nx\r\n\r\ny", 3).unwrap();
        assert_eq!((statuses, body.as_slice(), ends), (vec![200], b"x\r\n\r\ny".as_slice(), 0));
    }

    #[test]
    fn interim_responses_are_passed_over_and_some_have_no_body() {
        let input = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        for size in 1..=input.len() {
            let (statuses, body, _) = decode(input, size).unwrap();
            assert_eq!((statuses, body), (vec![204, 200], b"x".to_vec()), "size {size}");
        }
    }

    #[test]
    fn a_value_may_hold_any_bytes() {
        let input = b"HTTP/1.1 200 OK\r\nX-Owner: caf\xe9\r\nContent-Type: a/b\r\n\r\n";
        let head = ResponseDecoder::default().next(&mut &input[..]).unwrap();
        let expected = Head { status: 200, content_type: "a/b".into(), ..Head::default() };
        assert_eq!(head, Some(Piece::Head(expected)));
    }

    #[test]
    fn what_hides_the_body_is_named() {
        for (field, coding) in [
            ("Transfer-Encoding: gzip, chunked", "gzip"),
            ("Transfer-Encoding: identity, chunked", ""),
            ("Content-Encoding: GZIP\r\nTransfer-Encoding: chunked", "gzip"),
            ("Transfer-Encoding: gzip, chunked\r\nContent-Encoding: identity", "gzip"),
        ] {
            let input = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n1\r\nx\r\n");
            let mut input = input.as_bytes();
            let mut decoder = ResponseDecoder::default();
            let Some(Piece::Head(head)) = decoder.next(&mut input).unwrap() else { panic!() };
            assert_eq!(head.coding, coding, "{field}");
            assert_eq!(decoder.next(&mut input), Ok(Some(Piece::Body(b"x"))), "{field}");
        }
    }

    #[test]
    fn malformed_framing_is_an_error() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in
            ["\r\n", "x\r\n", "2\r\nabc\r\n", "11111111111111111\r\n", "1\r\na\r\r", "1\r\nax\n"]
        {
            let input = format!("{head}{body}");
            assert_eq!(decode(input.as_bytes(), 7), Err(ResponseError::Chunk), "{body:?}");
        }
        let endless = format!("{head}1;{}", "x".repeat(FRAMING_MAX_BYTES));
        assert_eq!(decode(endless.as_bytes(), 1000), Err(ResponseError::Chunk), "an extension");
        let endless = format!("{head}0\r\n{}", "a: b\r\n".repeat(FRAMING_MAX_BYTES));
        assert_eq!(decode(endless.as_bytes(), 1000), Err(ResponseError::Chunk), "trailers");
        assert_eq!(decode(b"SSH-2.0-x\r\n\r\n", 4), Err(ResponseError::Head));
        assert_eq!(decode(&[b'x'; 20_000], 1000), Err(ResponseError::Head));
    }
}
