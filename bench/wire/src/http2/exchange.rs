//! One request on a connection of HTTP/2, and what comes of it.

use std::collections::VecDeque;

use super::frame::Code;
use super::hpack::Field;
use crate::stream::Reading;
use crate::{Error, Head, Request, Result};

/// Fields that HTTP/1.1 has for a connection (RFC 9113, 8.2.2), and `Host`, which is `:authority` here.
const NOT_SENT: [&str; 6] =
    ["connection", "host", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// A request and what has come of its answer.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) fields: Option<Vec<Field>>,
    pub(super) head: Option<Head>,
    pub(super) pieces: VecDeque<Vec<u8>>,
    pub(super) read: Reading,
    /// How much it has cost to keep.
    pub(super) bytes: usize,
    pub(super) end: Option<Ended>,
    /// How many bytes the peer may still send.
    pub(super) room: u32,
    /// Bytes that came since the stream was last given more room; `None` while it is given none.
    pub(super) taken: Option<u32>,
    /// Frames that came after this side had reset it.
    pub(super) late_frames: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    /// END_STREAM.
    Whole,
    /// RST_STREAM of the peer.
    Reset(Code),
    /// RST_STREAM of this side.
    Left,
}

impl Exchange {
    /// How the answer has ended, if it has: an error but for END_STREAM.
    pub(super) fn ended(&self, awaited: &'static str) -> Option<Result<()>> {
        Some(match self.end? {
            Ended::Whole => Ok(()),
            Ended::Reset(code) => Err(Error::Reset { awaited, code }),
            Ended::Left => Err(Error::Closed { awaited }),
        })
    }
}

/// RFC 9113, 8.3.1.
pub(super) fn fields_of(request: &Request, is_tls: bool) -> Vec<Field> {
    let is_host = |(name, _): &&(String, Vec<u8>)| name.eq_ignore_ascii_case("host");
    let authority = request.headers().iter().find(is_host).map(|(_, value)| value.clone());
    let scheme: &[u8] = if is_tls { b"https" } else { b"http" };
    let pseudo = [
        (":method", request.method().as_bytes().to_vec()),
        (":scheme", scheme.to_vec()),
        (":authority", authority.unwrap_or_default()),
        (":path", request.target().as_bytes().to_vec()),
    ];
    let pseudo = pseudo.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value));
    let others = request.headers().iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        (!NOT_SENT.contains(&name.as_str())).then(|| (name.into_bytes(), value.clone()))
    });
    let length = request.body_bytes().map(|it| it.len().to_string().into_bytes());
    let length = length.map(|it| (b"content-length".to_vec(), it));
    pseudo.chain(others).chain(length).collect()
}

/// The head of a field section, as it would be in HTTP/1.1; whether it is well-formed is for a case to say.
pub(super) fn head_of(fields: &[Field]) -> Result<Head> {
    let status = fields.iter().find(|(name, _)| name == b":status").map(|(_, value)| value);
    let digits = status.and_then(|it| std::str::from_utf8(it).ok()).filter(|it| it.len() == 3);
    let status = digits.and_then(|it| it.parse().ok()).filter(|it| *it >= 100);
    let status = status.ok_or_else(|| Error::Http2("an answer without a status".to_owned()))?;
    let is_field = |(name, _): &&Field| !name.starts_with(b":");
    let headers = fields.iter().filter(is_field);
    let headers =
        headers.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.clone()));
    Ok(Head { minor_version: 0, status, headers: headers.collect() })
}
