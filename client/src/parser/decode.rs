//! UTF-8 with replacement, over chunks.
//!
//! The same U+FFFD in the same places as the [WHATWG decoder][decoder]: one for each maximal part
//! of a malformed sequence, which is also how Rust's standard library cuts them.
//!
//! [decoder]: https://encoding.spec.whatwg.org/#utf-8-decoder

/// The bytes of a character that the last chunk cut in two.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    cut: [u8; 3],
    cut_len: usize,
}

impl Decoder {
    /// Appends the decoded bytes to `text` and returns how many bytes it looked at.
    ///
    /// An incomplete character at the end waits for the next call.
    #[inline]
    pub(super) fn decode(&mut self, bytes: &[u8], text: &mut String) -> usize {
        let bytes = if self.cut_len == 0 { bytes } else { self.finish_cut(bytes, text) };
        let whole = bytes.len() - incomplete_len(bytes);
        let (bytes, cut) = bytes.split_at(whole);
        if !cut.is_empty() {
            self.cut[..cut.len()].copy_from_slice(cut);
            self.cut_len = cut.len();
        }
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.len() + cut.len()
            }
            Err(error) => {
                replace(bytes, text);
                error.valid_up_to() + bytes.len() + cut.len()
            }
        }
    }

    /// Completes the character that was cut, and returns the bytes that do not belong to it.
    #[cold]
    fn finish_cut<'a>(&mut self, mut bytes: &'a [u8], text: &mut String) -> &'a [u8] {
        while let [byte, rest @ ..] = bytes {
            let mut character = [0; 4];
            character[..self.cut_len].copy_from_slice(&self.cut[..self.cut_len]);
            character[self.cut_len] = *byte;
            match std::str::from_utf8(&character[..=self.cut_len]) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.cut_len = 0;
                    return rest;
                }
                Err(error) if error.error_len().is_none() => {
                    self.cut[self.cut_len] = *byte;
                    self.cut_len += 1;
                    bytes = rest;
                }
                // What was held back was as long as a malformed part can be: the byte is not of it.
                Err(_) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.cut_len = 0;
                    return bytes;
                }
            }
        }
        bytes
    }
}

/// How many bytes at the end begin a character that may still be completed.
#[inline]
fn incomplete_len(bytes: &[u8]) -> usize {
    match bytes.last() {
        None | Some(0..0x80) => 0,
        Some(_) => incomplete_len_non_ascii(bytes),
    }
}

#[cold]
fn incomplete_len_non_ascii(bytes: &[u8]) -> usize {
    let is_lead = |byte: &u8| *byte >= 0xC0;
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let Some(lead) = tail.iter().rposition(is_lead) else { return 0 };
    match std::str::from_utf8(&tail[lead..]) {
        Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => tail.len() - lead,
        _ => 0,
    }
}

#[cold]
fn replace(bytes: &[u8], text: &mut String) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in two chunks, cut at each place, and checks that the cut makes no difference.
    fn decode(bytes: &[u8]) -> String {
        let whole = String::from_utf8_lossy(bytes).into_owned();
        for cut in 0..=bytes.len() {
            let mut text = String::new();
            let mut decoder = Decoder::default();
            decoder.decode(&bytes[..cut], &mut text);
            decoder.decode(&bytes[cut..], &mut text);
            decoder.decode(b"|", &mut text);
            assert_eq!(text, format!("{}|", &whole), "{bytes:x?} cut at {cut}");
        }
        let mut text = String::new();
        let mut decoder = Decoder::default();
        for byte in bytes {
            decoder.decode(&[*byte], &mut text);
        }
        decoder.decode(b"|", &mut text);
        assert_eq!(text, format!("{whole}|"), "{bytes:x?} byte by byte");
        whole
    }

    #[test]
    fn characters_survive_any_cut() {
        assert_eq!(decode("aé€😀z".as_bytes()), "aé€😀z");
    }

    #[test]
    fn malformed_parts_are_replaced_one_by_one() {
        // The table in “Substitution of Maximal Subparts” of the Unicode standard, chapter 3.
        assert_eq!(decode(b"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82A"), "\u{fffd}".repeat(8) + "A");
        assert_eq!(decode(b"\xed\xa0\x80\xed\xbf\xbf\xed\xafA"), "\u{fffd}".repeat(8) + "A");
        assert_eq!(
            decode(b"\xf4\x91\x92\x93\xffA\x80\xbfB"),
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}A\u{fffd}\u{fffd}B"
        );
        assert_eq!(decode(b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA"), "\u{fffd}".repeat(4) + "A");
    }

    #[test]
    fn a_cut_character_before_ascii_is_replaced_and_the_ascii_kept() {
        assert_eq!(decode(b"\xf0\x9f\x98\n"), "\u{fffd}\n");
    }

    #[test]
    fn every_pair_and_triple_of_interesting_bytes() {
        let bytes = [0x00, b'a', 0x80, 0x8f, 0x90, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xe1, 0xed, 0xef];
        let more = [0xf0, 0xf1, 0xf4, 0xf5, 0xff];
        let all: Vec<u8> = bytes.iter().chain(&more).copied().collect();
        for &a in &all {
            for &b in &all {
                for &c in &all {
                    decode(&[a, b, c]);
                }
            }
        }
    }
}
