//! `/script`: a list of events that a conformance test chooses, through the server's normal
//! encoder.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::{Source, SourcePoll};
use crate::clock::{MS, Now};
use crate::event::Event;

/// Bytes of all events of a script together: enough for the largest case, and a bound for a hostile
/// client.
pub const MAX_SCRIPT_BYTES: usize = 64 * 1024 * 1024;

/// The longest pause before an event.
const MAX_DELAY_MS: u64 = 600_000;

/// One item of a script, as JSON has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    id: Option<String>,
    event: Option<String>,
    data: Option<String>,
    /// Milliseconds.
    retry: Option<u64>,
    comment: Option<String>,
    /// Wait before it.
    #[serde(default)]
    delay_ms: u64,
    /// How often `data` is repeated: large events in a short URL.
    #[serde(default = "one")]
    times: usize,
    /// How often the event is sent.
    #[serde(default = "one")]
    repeat: usize,
    then: Option<Then>,
}

fn one() -> usize {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Then {
    End,
    Hold,
}

/// A list of events with delays, then the end or silence.
#[derive(Debug)]
pub struct Script {
    items: VecDeque<Item>,
    then: Then,
    due: u64,
}

impl Script {
    /// A script from its base64url form (no padding), starting `now`.
    ///
    /// # Errors
    /// The bounds that it breaks, in words.
    pub fn parse(events: &str, now: Now) -> Result<Script, String> {
        let json =
            URL_SAFE_NO_PAD.decode(events).map_err(|e| format!("unpadded base64url ({e})"))?;
        let mut items: VecDeque<Item> =
            serde_json::from_slice(&json).map_err(|e| format!("a JSON list of events ({e})"))?;
        let then = items.pop_back_if(|item| item.then.is_some()).and_then(|item| item.then);
        if items.iter().any(|item| item.then.is_some()) {
            return Err("a list in which `then` stands last".into());
        }
        if items.iter().any(|item| item.delay_ms > MAX_DELAY_MS) {
            return Err(format!("a list in which delay_ms is at most {MAX_DELAY_MS}"));
        }
        let bytes = items.iter().try_fold(0_usize, |sum, item| {
            let data = item.data.as_ref().map_or(0, String::len).checked_mul(item.times)?;
            // An event has a few bytes beside its data; without them `repeat` alone would have no
            // bound.
            sum.checked_add(data.checked_add(16)?.checked_mul(item.repeat)?)
        });
        if bytes.is_none_or(|bytes| bytes > MAX_SCRIPT_BYTES) {
            return Err(format!("events of at most {MAX_SCRIPT_BYTES} bytes in all"));
        }
        items.retain(|item| item.repeat > 0);
        let due = now.monotonic + items.front().map_or(0, |item| item.delay_ms * MS);
        Ok(Script { items, then: then.unwrap_or(Then::End), due })
    }
}

impl Source for Script {
    fn poll(&mut self, now: Now) -> SourcePoll {
        let Some(item) = self.items.front_mut() else {
            return if self.then == Then::Hold { SourcePoll::Wait(None) } else { SourcePoll::End };
        };
        if now.monotonic < self.due {
            return SourcePoll::Wait(Some(self.due));
        }
        let event = Event {
            id: item.id.clone(),
            event: item.event.clone().map(Into::into),
            data: item.data.as_ref().map(|data| data.repeat(item.times)),
            retry: item.retry.map(Duration::from_millis),
            comment: item.comment.clone(),
        };
        item.repeat -= 1;
        if item.repeat == 0 {
            self.items.pop_front();
        }
        self.due += self.items.front().map_or(0, |item| item.delay_ms * MS);
        SourcePoll::Event(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(json: &str) -> Result<Script, String> {
        Script::parse(&URL_SAFE_NO_PAD.encode(json), Now::at(0))
    }

    #[test]
    fn events_come_as_written_with_their_delays() {
        let mut script = script(
            r#"[{"id":"1","event":"e","data":"ab","times":2,"retry":9,"comment":"c"},
                {"data":"","delay_ms":10,"repeat":2},{"then":"hold"}]"#,
        )
        .expect("a good script");
        let SourcePoll::Event(first) = script.poll(Now::at(0)) else {
            panic!("no delay before the first")
        };
        let expected = Event::data("abab").with_id(1).with_event("e");
        let retry = Some(Duration::from_millis(9));
        assert_eq!(first, Event { retry, comment: Some("c".into()), ..expected });
        for due in [10 * MS, 20 * MS] {
            assert!(
                matches!(script.poll(Now::at(due - 1)), SourcePoll::Wait(Some(at)) if at == due)
            );
            assert!(
                matches!(script.poll(Now::at(due)), SourcePoll::Event(event) if event == Event::data(""))
            );
        }
        assert!(matches!(script.poll(Now::at(u64::MAX)), SourcePoll::Wait(None)));
    }

    #[test]
    fn a_script_without_then_ends() {
        assert!(matches!(script("[]").expect("a good script").poll(Now::at(0)), SourcePoll::End));
    }

    #[test]
    fn a_bad_script_is_refused_in_words() {
        for (json, word) in [
            ("{}", "JSON"),
            (r#"[{"dta":"x"}]"#, "dta"),
            (r#"[{"then":"hold"},{"data":"x"}]"#, "last"),
            (r#"[{"data":"xxxxxxxx","times":9000000}]"#, "bytes"),
            (r#"[{"repeat":18446744073709551615}]"#, "bytes"),
            (r#"[{"delay_ms":600001}]"#, "delay_ms"),
        ] {
            let error = script(json).expect_err(json);
            assert!(error.contains(word), "{json}: {error}");
        }
        assert!(Script::parse("***", Now::at(0)).expect_err("not base64url").contains("base64url"));
    }
}
