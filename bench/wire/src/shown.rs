//! Bytes of a peer as text for people.

use std::fmt::Write as _;

/// The bytes as text on one line, as they are but for what would mislead a reader.
///
/// Quotes and other UTF-8 stay. Escaped are the backslash (`\\`), control bytes (`\r`, `\n`, `\t`, `\x1b`), bytes that are
/// no UTF-8 (`\xff`), and characters that end a line, steer a terminal or cannot be seen (`\u{202e}`): so each text is
/// that of one sequence of bytes alone.
pub fn shown(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                _ if character.is_ascii_control() => hex(character as u8, &mut out),
                _ if steers(character) => out.extend(character.escape_unicode()),
                _ => out.push(character),
            }
        }
        // A character that is split between two reads is such bytes, too, in each of them.
        chunk.invalid().iter().for_each(|byte| hex(*byte, &mut out));
    }
    out
}

fn hex(byte: u8, out: &mut String) {
    let _ = write!(out, "\\x{byte:02x}");
}

/// Whether it ends a line, commands a terminal, changes the order of other characters, or has no width.
///
/// Sources: [ECMA-48](https://ecma-international.org/publications-and-standards/standards/ecma-48/) for C1,
/// [UAX #9](https://www.unicode.org/reports/tr9/) for those of direction.
pub fn steers(character: char) -> bool {
    matches!(
        character,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_sequences_of_bytes_look_alike() {
        let alike: [(&[u8], &[u8]); 4] = [
            (b"\n", b"\\n"),
            (b"\xff", b"\\xff"),
            ("\u{202e}".as_bytes(), b"\\u{202e}"),
            ("ÿ".as_bytes(), b"\xff"),
        ];
        for (one, other) in alike {
            assert_ne!(shown(one), shown(other));
        }
    }

    #[test]
    fn no_byte_reaches_a_terminal_as_a_command() {
        let all: Vec<u8> = (0..=255).collect();
        assert!(!shown(&all).chars().any(char::is_control));
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        assert!(!shown(all.as_bytes()).chars().any(|it| it.is_control() || steers(it)));
    }
}
