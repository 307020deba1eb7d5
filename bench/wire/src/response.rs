//! The responses of one connection, decoded as they arrive, without copying a body.

use super::{Body, Error, Framing, Head, Result};

/// More interim answers (1xx) to one request than any client has a use for.
const INTERIM_LIMIT: usize = 16;

/// A decoder of the answer to one request (of any method but HEAD), and after [`Piece::End`] of the next.
#[derive(Debug, Default)]
pub struct ResponseDecoder {
    /// The beginning of a head whose end has not come yet.
    head: Vec<u8>,
    /// Interim answers before the head that counts.
    interim: Interim,
    /// The body, once its head is there; an error if the head contradicts itself.
    body: Option<Result<Body>>,
}

/// The next part of a response.
#[derive(Debug)]
pub enum Piece<'i> {
    /// Status and headers of the answer that counts.
    Head(Head),
    /// Bytes of the body, without its framing.
    Body(&'i [u8]),
    /// The body is whole.
    End,
}

/// How many interim answers came.
#[derive(Debug, Default)]
pub(super) struct Interim(usize);

impl Interim {
    /// Counts one more.
    ///
    /// # Errors
    /// [`Error::Syntax`] when there were too many.
    pub(super) fn count(&mut self) -> Result<()> {
        self.0 += 1;
        if self.0 > INTERIM_LIMIT {
            return Err(Error::Syntax(format!("more than {INTERIM_LIMIT} interim answers")));
        }
        Ok(())
    }
}

impl ResponseDecoder {
    /// Takes the next piece off the front of `input`; `None` when more input is needed.
    ///
    /// # Errors
    /// [`Error::Syntax`], [`Error::TooLong`], [`Error::SpeaksTls`]; the decoder is of no use afterwards. The head
    /// comes before an error about its body.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Piece<'i>>> {
        let Some(body) = self.body.take() else {
            return Ok(self.head(input)?.map(Piece::Head));
        };
        let mut body = body?;
        match body.next(input)? {
            None if body.is_done() => Ok(Some(Piece::End)),
            data => {
                self.body = Some(Ok(body));
                Ok(data.map(Piece::Body))
            }
        }
    }

    /// Whether the end of the connection is the end of the body.
    pub fn ends_with_connection(&self) -> bool {
        matches!(&self.body, Some(Ok(body)) if body.framing() == Framing::Close)
    }

    fn head(&mut self, input: &mut &[u8]) -> Result<Option<Head>> {
        while !input.is_empty() {
            let before = self.head.len();
            self.head.extend_from_slice(input);
            let Some((head, length)) = Head::take(&self.head, before)? else {
                *input = &[];
                break;
            };
            *input = &input[length - before..];
            // One head a connection, mostly: give the memory back.
            self.head = Vec::new();
            if head.is_interim() {
                self.interim.count()?;
                continue;
            }
            self.interim = Interim::default();
            self.body = Some(Body::new("GET", &head).map(Body::without_sizes));
            return Ok(Some(head));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` in pieces of `size` bytes: status, body, and how many ends were seen.
    fn decode(input: &[u8], size: usize) -> Result<(Vec<u16>, Vec<u8>, usize)> {
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
    fn any_cut_gives_the_same() {
        let chunked = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            5\r\nhello\r\n0B;x=y\r\n, wide worl\r\n1\r\nd\r\n0\r\nTrailer: x\r\n\r\n";
        let length = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
        let none = b"HTTP/1.1 204 No Content\r\n\r\n";
        let input = [chunked.as_slice(), length, none, length].concat();
        for size in 1..=input.len() {
            let (statuses, body, ends) = decode(&input, size).unwrap();
            assert_eq!((statuses, ends), (vec![200, 201, 204, 201], 4), "size {size}");
            assert_eq!(body, b"hello, wide worldokok", "size {size}");
        }
    }

    #[test]
    fn a_body_without_framing_lasts_until_the_close() {
        let (statuses, body, ends) = decode(b"HTTP/1.0 200 OK\r\n\r\nx\r\n\r\ny", 3).unwrap();
        assert_eq!((statuses, body.as_slice(), ends), (vec![200], b"x\r\n\r\ny".as_slice(), 0));
        let mut decoder = ResponseDecoder::default();
        decoder.next(&mut &b"HTTP/1.0 200 OK\r\n\r\n"[..]).unwrap();
        assert!(decoder.ends_with_connection());
    }

    #[test]
    fn short_chunks_may_go_on_for_ever_and_are_not_kept() {
        let count = 100_000;
        let chunks = "1\r\nx\r\n".repeat(count);
        let input = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let mut decoder = ResponseDecoder::default();
        let (mut input, mut bytes) = (input.as_bytes(), 0);
        while let Some(piece) = decoder.next(&mut input).unwrap() {
            bytes += if let Piece::Body(data) = piece { data.len() } else { 0 };
        }
        assert_eq!(bytes, count);
        assert!(decoder.body.unwrap().unwrap().chunk_sizes().is_empty());
    }

    #[test]
    fn a_coding_that_hides_the_body_is_seen_before_the_body_is_an_error() {
        for (field, coding) in [
            ("Transfer-Encoding: gzip, chunked", Some("gzip")),
            ("Transfer-Encoding: identity, chunked", None),
            ("Content-Encoding: GZIP\r\nTransfer-Encoding: chunked", Some("gzip")),
            ("Content-Encoding: none\r\nTransfer-Encoding: chunked", None),
        ] {
            let input = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n1\r\nx\r\n");
            let mut input = input.as_bytes();
            let mut decoder = ResponseDecoder::default();
            let Some(Piece::Head(head)) = decoder.next(&mut input).unwrap() else { panic!() };
            assert_eq!(head.coding().as_deref(), coding, "{field}");
            let is_error = decoder.next(&mut input).is_err();
            assert_eq!(is_error, field.contains(": gzip"), "{field}");
        }
    }

    #[test]
    fn bytes_that_are_no_response_are_errors() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in
            ["\r\n", "x\r\n", "2\r\nabc\r\n", "11111111111111111\r\n", "1\r\na\r\r", "1\r\nax\n"]
        {
            let input = format!("{head}{body}");
            let error = decode(input.as_bytes(), 7);
            assert!(matches!(error, Err(Error::Syntax(_))), "{body:?}: {error:?}");
        }
        let is_too_long = |input: &str| {
            let error = decode(input.as_bytes(), 1000);
            assert!(matches!(error, Err(Error::TooLong { .. })), "{error:?}");
        };
        is_too_long(&format!("{head}1;{}", "x".repeat(1000)));
        is_too_long(&format!("{head}0\r\n{}", "a: b\r\n".repeat(20_000)));
        is_too_long(&format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(20_000)));
        assert!(matches!(decode(b"SSH-2.0-x\r\n\r\n", 4), Err(Error::Syntax(_))));
        assert!(matches!(decode(&[21, 3, 1, 0, 2, 2, 70], 7), Err(Error::SpeaksTls)));
        let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_LIMIT + 1);
        let error = decode(endless.as_bytes(), 10).unwrap_err();
        assert!(error.to_string().contains("interim"), "{error}");
    }
}
