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
    /// When it was sent, Unix nanoseconds; 0 if it does not say.
    pub emitted_ns: u64,
}

/// How an event of any server says when it was due.
#[derive(Debug, Clone, Default)]
pub enum StampReader {
    /// By our own stamp, read by position.
    #[default]
    Ours,
    /// By our own stamp somewhere in the data, as it is or within a JSON string: the code of a room's author wraps the
    /// text that was published. Such a stream has ids of its own, or none.
    Wrapped,
    /// By the value at this path of its JSON data: a number of seconds, milliseconds, microseconds
    /// or nanoseconds since 1970 (its size decides), or an RFC 3339 time.
    ///
    /// Parses each event as JSON: slower than our own stamp by a microsecond or so.
    Path(Vec<String>),
}

impl StampReader {
    /// Whether an event with this stamp may have this id.
    pub(super) fn fits(&self, stamp: Stamp, id: &str) -> bool {
        matches!(self, StampReader::Wrapped) || stamp.matches_id(id)
    }

    /// The stamp in `data`; one found by path has number 0.
    pub fn read(&self, data: &str) -> Option<Stamp> {
        let path = match self {
            StampReader::Ours => return Stamp::parse(data),
            StampReader::Wrapped => return Stamp::find(data),
            StampReader::Path(path) => path,
        };
        let json: serde_json::Value = serde_json::from_str(data).ok()?;
        let mut value = &json;
        for name in path {
            value = match name.parse::<usize>() {
                Ok(index) if value.is_array() => value.get(index)?,
                _ => value.get(name)?,
            };
        }
        let scheduled_ns = match value {
            serde_json::Value::String(text) => {
                u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()?
            }
            number => unix_ns_of(number.as_f64()?, number.as_u64())?,
        };
        Some(Stamp { n: 0, scheduled_ns, emitted_ns: 0 })
    }
}

/// Nanoseconds since 1970 from a number whose unit its size gives: seconds until the year 5138,
/// milliseconds from 1973 on, and so on.
fn unix_ns_of(value: f64, exact: Option<u64>) -> Option<u64> {
    if value <= 0.0 {
        return None;
    }
    let to_ns = match value {
        it if it < 1e11 => 1_000_000_000,
        it if it < 1e14 => 1_000_000,
        it if it < 1e17 => 1000,
        _ => 1,
    };
    match exact {
        Some(exact) => exact.checked_mul(to_ns),
        None => Some((value * to_ns as f64) as u64),
    }
}

impl Stamp {
    /// Reads the stamp at the beginning of `data`.
    pub fn parse(data: &str) -> Option<Stamp> {
        let (n, rest) = number(data.as_bytes().strip_prefix(b"{\"n\":")?)?;
        let (scheduled_ns, rest) = number(rest.strip_prefix(b",\"scheduled_ns\":")?)?;
        let emitted_ns = rest
            .strip_prefix(b",\"emitted_ns\":")
            .and_then(number)
            .map_or(0, |(emitted_ns, _)| emitted_ns);
        let is_whole = matches!(rest.first(), Some(b',' | b'}'));
        is_whole.then_some(Stamp { n, scheduled_ns, emitted_ns })
    }

    /// Reads the first stamp within `data`, its quotes escaped or not.
    pub fn find(data: &str) -> Option<Stamp> {
        let begins = memchr::memchr_iter(b'{', data.as_bytes());
        begins.filter_map(|at| Stamp::unwrapped(&data.as_bytes()[at..])).next()
    }

    /// Reads the stamp at the beginning of `data`, its quotes escaped or not.
    fn unwrapped(data: &[u8]) -> Option<Stamp> {
        let (n, rest) = number(skipped(data, b"{\"n\":")?)?;
        let (scheduled_ns, rest) = number(skipped(rest, b",\"scheduled_ns\":")?)?;
        let emitted_ns = skipped(rest, b",\"emitted_ns\":").and_then(number);
        let emitted_ns = emitted_ns.map_or(0, |(emitted_ns, _)| emitted_ns);
        matches!(rest.first(), Some(b',' | b'}')).then_some(Stamp { n, scheduled_ns, emitted_ns })
    }

    /// Appends the stamp as JSON, with this many filler bytes.
    pub fn write(self, pad_bytes: usize, out: &mut String) {
        let Stamp { n, scheduled_ns, emitted_ns } = self;
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{{\"n\":{n},\"scheduled_ns\":{scheduled_ns},\"emitted_ns\":{emitted_ns},\"pad\":\"{:x<pad_bytes$}\"}}",
            ""
        );
    }

    /// Whether the event id ends in the number: `7`, or `0a1b2c3d-7` in a topic.
    pub fn matches_id(self, id: &str) -> bool {
        number_of_id(id) == Some(self.n)
    }
}

/// The rest behind these bytes, with backslashes before any of them.
fn skipped<'d>(mut data: &'d [u8], expected: &[u8]) -> Option<&'d [u8]> {
    for byte in expected {
        let escapes = data.iter().take_while(|it| **it == b'\\').count();
        data = data[escapes..].strip_prefix(&[*byte])?;
    }
    Some(data)
}

/// The number that an event id ends in: `7`, or `0a1b2c3d-7` in a topic.
pub fn number_of_id(id: &str) -> Option<u64> {
    let digits = id.rsplit_once('-').map_or(id, |(_, digits)| digits);
    number(digits.as_bytes()).and_then(|(n, rest)| rest.is_empty().then_some(n))
}

/// The decimal number at the front, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    // Any number of that many digits fits: no check at each.
    let (safe, last) = number.split_at(digits.min(19));
    let digit = |byte: &u8| u64::from(byte - b'0');
    let mut value = safe.iter().fold(0, |value: u64, byte| value * 10 + digit(byte));
    for byte in last {
        value = value.checked_mul(10)?.checked_add(digit(byte))?;
    }
    (digits > 0).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let scheduled_ns = 1_763_638_496_000_000_000;
        let stamp = Stamp { n: 7, scheduled_ns, emitted_ns: scheduled_ns + 500 };
        let mut text = String::new();
        stamp.write(3, &mut text);
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
    fn a_stamp_is_found_in_whatever_wraps_it() {
        let stamp = Stamp { n: 7, scheduled_ns: 1_763_638_496_000_000_000, emitted_ns: 5 };
        let mut text = String::new();
        stamp.write(0, &mut text);
        let json = serde_json::json!({ "room": {}, "text": text }).to_string();
        let twice = serde_json::json!({ "data": json }).to_string();
        for data in [text.clone(), format!("ann: {text}"), json, twice] {
            assert_eq!(StampReader::Wrapped.read(&data), Some(stamp), "{data}");
        }
        for data in ["", "{", "{\\", "{\"n\":7}", "{\"text\":\"hello\"}"] {
            assert_eq!(StampReader::Wrapped.read(data), None, "{data}");
        }
    }

    #[test]
    fn the_id_carries_the_number() {
        let stamp = Stamp { n: 12, scheduled_ns: 1, emitted_ns: 0 };
        assert!(stamp.matches_id("12") && stamp.matches_id("0a1b2c3d-12"));
        assert!(!stamp.matches_id("") && !stamp.matches_id("13") && !stamp.matches_id("12x"));
    }

    #[test]
    fn a_path_finds_the_time_in_any_unit() {
        let read = |data: &str| {
            let path = StampReader::Path(vec!["meta".into(), "at".into()]);
            path.read(data).map(|it| it.scheduled_ns)
        };
        let truth = Some(1_763_638_496_000_000_000);
        for value in [
            "1763638496",
            "1763638496000",
            "1763638496000000",
            "1763638496000000000",
            "\"2025-11-20T11:34:56Z\"",
            "1763638496.0",
        ] {
            assert_eq!(read(&format!("{{\"meta\":{{\"at\":{value}}}}}")), truth, "{value}");
        }
        assert_eq!(read("{\"meta\":{}}"), None);
        assert_eq!(read("not JSON"), None);
        let array = StampReader::Path(vec!["1".into()]);
        assert_eq!(array.read("[0,1763638496]").map(|it| it.scheduled_ns), truth);
    }
}
