//! The stamp in an event's data: its number and the time it was scheduled for.
//!
//! `{"n":7,"scheduled_ns":1763638496000000000,"emitted_ns":…,"pad":""}` is what `/ticks?stamp=1`
//! sends and what the harness publishes. Read by position, not as JSON: it is on the hot path.

use std::fmt::Write;

/// Number and scheduled time of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The event's number in its stream, from 1.
    pub n: u64,
    /// When it was due, Unix nanoseconds.
    pub scheduled_ns: u64,
}

impl Stamp {
    /// Reads the stamp at the beginning of `data`.
    pub fn parse(data: &str) -> Option<Stamp> {
        let (n, rest) = number(data.as_bytes().strip_prefix(b"{\"n\":")?)?;
        let (scheduled_ns, rest) = number(rest.strip_prefix(b",\"scheduled_ns\":")?)?;
        matches!(rest.first(), Some(b',' | b'}')).then_some(Stamp { n, scheduled_ns })
    }

    /// Appends the stamp as JSON, with the time it is sent at.
    pub fn write(self, emitted_ns: u64, out: &mut String) {
        let Stamp { n, scheduled_ns } = self;
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{{\"n\":{n},\"scheduled_ns\":{scheduled_ns},\"emitted_ns\":{emitted_ns},\"pad\":\"\"}}"
        );
    }

    /// Whether the event id ends in the number: `7`, or `0a1b2c3d-7` in a topic.
    pub fn matches_id(self, id: &str) -> bool {
        let digits = id.rsplit_once('-').map_or(id, |(_, digits)| digits);
        number(digits.as_bytes()) == Some((self.n, b""))
    }
}

/// The decimal number at the front, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut value: u64 = 0;
    for byte in &text[..digits] {
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    (digits > 0).then_some((value, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp { n: 7, scheduled_ns: 1_763_638_496_000_000_000 };
        let mut text = String::new();
        stamp.write(1_763_638_496_000_000_500, &mut text);
        assert_eq!(Stamp::parse(&text), Some(stamp));
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    #[test]
    fn anything_else_is_no_stamp() {
        for text in
            ["", "{}", "{\"n\":1}", "{\"n\":,\"scheduled_ns\":2}", "{\"n\":1,\"scheduled_ns\":2"]
        {
            assert_eq!(Stamp::parse(text), None, "{text}");
        }
        assert_eq!(Stamp::parse("{\"n\":99999999999999999999,\"scheduled_ns\":1}"), None);
    }

    #[test]
    fn the_id_carries_the_number() {
        let stamp = Stamp { n: 12, scheduled_ns: 1 };
        assert!(stamp.matches_id("12") && stamp.matches_id("0a1b2c3d-12"));
        assert!(!stamp.matches_id("") && !stamp.matches_id("13") && !stamp.matches_id("12x"));
    }
}
