//! The end of a request's body, and its content.
//!
//! Source: RFC 9112, [6 Message body](https://www.rfc-editor.org/rfc/rfc9112.html#section-6) and
//! [7.1 Chunked](https://www.rfc-editor.org/rfc/rfc9112.html#section-7.1).

use std::cell::RefMut;

use bytes::{Buf, BytesMut};
use feed::Problem;
use feed::contract::{MAX_MESSAGE_BYTES, check_transfer_encoding};

use super::request::{End, Request, field};
use super::response::Response;

/// Bytes of one line that frames chunks, its extensions included: clients do not use those.
const MAX_CHUNK_LINE_BYTES: usize = 256;

/// Bytes of the trailer section, which is read and thrown away.
const MAX_TRAILER_BYTES: usize = 4 * 1024;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After this many bytes.
    Length(u64),
    /// After a chunk of size 0.
    Chunked,
}

impl Framing {
    /// The framing by the header fields. Two fields are an error: a proxy in front might choose the
    /// other one.
    pub(super) fn of(request: &Request) -> Result<Framing, End> {
        let mut lengths = request.fields("content-length");
        let length = lengths.next();
        if let (Some(value), Some(_)) = (length, lengths.next()) {
            return Err(End::malformed("Content-Length", value, "given once"));
        }
        let codings: Vec<&[u8]> = request.fields("transfer-encoding").collect();
        let Some(first) = codings.first() else {
            return length.map_or(Ok(Framing::None), content_length);
        };
        let malformed = |must_be| Err(End::malformed("Transfer-Encoding", first, must_be));
        if !request.http_1_1 {
            return malformed("absent from an HTTP/1.0 request");
        }
        if length.is_some() {
            return malformed("absent beside a Content-Length");
        }
        check_transfer_encoding(codings.len(), first)
            .map_err(|problem| End::from(Response::from(&problem)))?;
        Ok(Framing::Chunked)
    }
}

fn content_length(value: &[u8]) -> Result<Framing, End> {
    // `parse` would take a sign too.
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|v| v.parse().ok());
    match number {
        Some(0) => Ok(Framing::None),
        Some(number) => Ok(Framing::Length(number)),
        None => Err(End::malformed("Content-Length", value, "a whole number")),
    }
}

/// The source of a body's bytes.
pub trait Input {
    /// Bytes that have been received and not used yet.
    fn received(&self) -> RefMut<'_, BytesMut>;

    /// Waits until more has come.
    ///
    /// # Errors
    /// If no more comes, or not in time.
    async fn more(&self) -> Result<(), End>;
}

/// Reads a body, and an error if it is larger than a message may be: the rest stays where it is.
///
/// # Errors
/// If its framing is broken, or it does not come.
pub async fn read_body(
    framing: Framing,
    input: &impl Input,
) -> Result<Result<Vec<u8>, Problem>, End> {
    let mut body = Vec::new();
    let whole = match framing {
        Framing::None => true,
        Framing::Length(bytes) => take(bytes, input, &mut body).await?,
        Framing::Chunked => take_chunks(input, &mut body).await?,
    };
    Ok(if whole { Ok(body) } else { Err(Problem::body_too_large(MAX_MESSAGE_BYTES)) })
}

async fn take_chunks(input: &impl Input, body: &mut Vec<u8>) -> Result<bool, End> {
    loop {
        let must_be = "chunks that begin with their size in hex and CRLF";
        let line = take_line(MAX_CHUNK_LINE_BYTES, input, must_be).await?;
        match chunk_size(&line).ok_or_else(|| malformed(must_be))? {
            0 => break,
            size if !take(size, input, body).await? => return Ok(false),
            _ => {}
        }
        take_line(0, input, "a chunk that ends where its size says").await?;
    }
    let mut left = MAX_TRAILER_BYTES;
    loop {
        let line =
            take_line(left, input, "a trailer section of short lines, each with CRLF").await?;
        left = left.saturating_sub(line.len() + 2);
        if line.is_empty() {
            return Ok(true);
        }
        field(&line)?;
    }
}

/// Moves this many bytes into the body; false if it would be too large.
async fn take(bytes: u64, input: &impl Input, body: &mut Vec<u8>) -> Result<bool, End> {
    let room = MAX_MESSAGE_BYTES - body.len();
    let Some(bytes) = usize::try_from(bytes).ok().filter(|bytes| *bytes <= room) else {
        return Ok(false);
    };
    let end = body.len() + bytes;
    loop {
        let now = input.received().len().min(end - body.len());
        body.extend_from_slice(&input.received()[..now]);
        input.received().advance(now);
        if body.len() == end {
            return Ok(true);
        }
        input.more().await?;
    }
}

/// Takes a line of at most `max_bytes` bytes, without its CRLF.
async fn take_line(
    max_bytes: usize,
    input: &impl Input,
    must_be: &'static str,
) -> Result<Vec<u8>, End> {
    loop {
        let end = input.received().iter().take(max_bytes + 2).position(|&byte| byte == b'\n');
        if let Some(end) = end {
            let line = input.received()[..end].strip_suffix(b"\r").map(<[u8]>::to_vec);
            input.received().advance(end + 1);
            return line.ok_or_else(|| malformed(must_be));
        }
        if input.received().len() >= max_bytes + 2 {
            return Err(malformed(must_be));
        }
        input.more().await?;
    }
}

/// The size in a line such as `1a;extension`.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    let plain = extension.is_empty() || extension.starts_with(b";");
    if !plain || extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

fn malformed(must_be: &'static str) -> End {
    End::malformed("body", b"", must_be)
}
