//! As much HTTP/1.1 as the floor needs.

use std::io::Write;

/// Longest request, head and body: the contract's 64 KiB message and room for the head.
pub(super) const REQUEST_MAX_BYTES: usize = 96 * 1024;

/// The connection cannot go on.
pub(super) struct Gone;

/// A request, whole.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Takes one whole request off the front of `input`, if there is one.
    pub(super) fn take(input: &mut Vec<u8>) -> Result<Option<Request>, Gone> {
        let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&input[..end]).map_err(|_| Gone)?;
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(Gone) };
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length =
            length.map_or(Ok(0), |(_, value)| value.trim().parse::<usize>().map_err(|_| Gone))?;
        let whole = (end + 4).saturating_add(length);
        if whole > REQUEST_MAX_BYTES {
            return Err(Gone);
        }
        if input.len() < whole {
            return Ok(None);
        }
        let (method, target) = (method.to_owned(), target.to_owned());
        let body = input[end + 4..whole].to_vec();
        input.drain(..whole);
        Ok(Some(Request { method, target, body }))
    }
}

/// Appends events to `out` as one chunk of a chunked body; no events are no chunk, which would end it.
pub(super) fn chunk(events: &[u8], out: &mut Vec<u8>) {
    if events.is_empty() {
        return;
    }
    // Writing to memory cannot fail.
    let _ = write!(out, "{:x}\r\n", events.len());
    out.extend_from_slice(events);
    out.extend_from_slice(b"\r\n");
}
