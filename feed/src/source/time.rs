//! `/time`: the wall clock, each second on the second.

use jiff::Timestamp;

use super::{ClockedIds, Source, SourcePoll};
use crate::clock::{Now, SECOND};
use crate::event::Event;

/// Each second `data: The current time is …` in UTC; the id is the Unix second.
#[derive(Debug)]
pub struct Time(ClockedIds);

impl Time {
    /// From the next full second on; after `last_event_id` first the seconds since then, at most
    /// `retain`.
    pub fn new(last_event_id: Option<&str>, retain: u64, now: Now) -> Time {
        Time(ClockedIds::new(SECOND, last_event_id, retain, 1, now))
    }
}

impl Source for Time {
    fn poll(&mut self, now: Now) -> SourcePoll {
        let id = match self.0.poll(now) {
            Ok(id) => id,
            Err(other) => return other,
        };
        let second = i64::try_from(id).ok().and_then(|s| Timestamp::from_second(s).ok());
        let Some(second) = second else { return SourcePoll::End };
        let data = second.strftime("The current time is %Y-%m-%d %H:%M:%S").to_string();
        SourcePoll::Event(Event::data(data).with_id(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20 12:34:56 UTC.
    const SECOND_0: u64 = 1_795_178_096;

    #[test]
    fn the_time_is_sent_on_the_second() {
        let mut time = Time::new(None, 10, Now::at(SECOND_0 * SECOND - 1));
        assert!(
            matches!(time.poll(Now::at(SECOND_0 * SECOND - 1)), SourcePoll::Wait(Some(at)) if at == SECOND_0 * SECOND)
        );
        let SourcePoll::Event(event) = time.poll(Now::at(SECOND_0 * SECOND)) else {
            panic!("it is time")
        };
        assert_eq!(event.data.as_deref(), Some("The current time is 2026-11-20 12:34:56"));
        assert_eq!(event.id, Some(SECOND_0.to_string()));
    }

    #[test]
    fn missed_seconds_are_sent_again() {
        let now = Now::at(SECOND_0 * SECOND);
        let mut time = Time::new(Some(&(SECOND_0 - 2).to_string()), 10, now);
        for second in [SECOND_0 - 1, SECOND_0] {
            let SourcePoll::Event(event) = time.poll(now) else { panic!("{second} was missed") };
            assert_eq!(event.id, Some(second.to_string()));
        }
        assert!(matches!(time.poll(now), SourcePoll::Wait(_)));
    }
}
