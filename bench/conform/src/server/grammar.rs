//! The lines and blocks of a stream, for cases that look at what was written, not at what it means.

/// The whole lines of a stream, split at CRLF, LF and CR, and what follows the last line end.
pub(super) fn lines(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        lines.push(&rest[..end]);
        let length = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + length..];
    }
    (lines, rest)
}

/// The blocks that a blank line ended, each with its lines.
pub(super) fn blocks(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let (lines, _) = lines(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let mut blocks: Vec<Vec<&[u8]>> =
        lines.split(|line| line.is_empty()).map(<[_]>::to_vec).collect();
    // The lines after the last blank line are no block yet.
    blocks.pop();
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// A word of this suite's own texts: `t` and twelve hexadecimal digits.
const WORD_DIGITS: usize = 12;

/// The bytes without the blocks that have a text of this suite: a room with a history says again what an
/// earlier case, or an earlier run, has published there.
pub(super) fn without_own(bytes: &[u8]) -> Vec<u8> {
    if !has_own_word(bytes) {
        return bytes.to_vec();
    }
    let (mut kept, mut block, mut rest) = (Vec::new(), 0, 0);
    while let Some(end) = memchr::memchr2(b'\r', b'\n', &bytes[rest..]).map(|at| rest + at) {
        let is_blank = end == rest;
        rest = end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
        if is_blank {
            kept.extend_from_slice(unless_own(&bytes[block..rest]));
            block = rest;
        }
    }
    kept.extend_from_slice(unless_own(&bytes[block..]));
    kept
}

fn unless_own(block: &[u8]) -> &[u8] {
    if has_own_word(block) { b"" } else { block }
}

/// Whether they have a text of this suite.
pub(super) fn has_own_word(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b't', bytes).any(|at| {
        let digits =
            bytes[at + 1..].iter().take_while(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        digits.count() == WORD_DIGITS
    })
}

/// The name of a line's field; empty for a comment.
pub(super) fn name(line: &[u8]) -> &[u8] {
    line.split(|&byte| byte == b':').next().unwrap_or_default()
}

/// The value of a line, without the one space that a parser removes.
pub(super) fn value(line: &[u8]) -> &[u8] {
    let value = line.get(name(line).len() + 1..).unwrap_or_default();
    value.strip_prefix(b" ").unwrap_or(value)
}

/// Whether a block has a field of this name.
pub(super) fn has(block: &[&[u8]], field: &[u8]) -> bool {
    block.iter().any(|line| name(line) == field)
}

/// A block as text on one line, for "actual".
pub(super) fn show(block: &[&[u8]]) -> String {
    let text = block.join(&b"\n"[..]);
    format!("\"{}\"", wire::shown(&text[..text.len().min(200)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_with_a_text_of_this_suite_are_left_out() {
        let own = crate::server::room::word();
        let bytes =
            format!("id: 1\ndata: a\n\ndata: {own}\nevent: injected\n\n: t0123\n\ndata: {own}");
        let kept = without_own(bytes.as_bytes());
        assert_eq!(String::from_utf8(kept).unwrap(), "id: 1\ndata: a\n\n: t0123\n\n");
        assert_eq!(
            without_own(format!("data: {own}\r\n\r\ndata: b\r\n").as_bytes()),
            b"data: b\r\n"
        );
    }

    #[test]
    fn blocks_end_at_blank_lines_whatever_the_line_ends() {
        let blocks =
            blocks(b"\xef\xbb\xbfid: 1\r\ndata:a\r\n\r\n: ping\n\ndata\r\rdata: unfinished");
        assert_eq!(blocks, [vec![&b"id: 1"[..], b"data:a"], vec![b": ping"], vec![b"data"]]);
        assert_eq!((value(blocks[0][0]), value(blocks[0][1])), (&b"1"[..], &b"a"[..]));
        assert_eq!((name(blocks[1][0]), name(blocks[2][0])), (&b""[..], &b"data"[..]));
        assert!(has(&blocks[0], b"id") && !has(&blocks[1], b"data"));
    }
}
