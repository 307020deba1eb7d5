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
    format!("\"{}\"", text[..text.len().min(200)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

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
