//! `/tasks`: two tasks that report their progress, one after the other.

use super::{After, Source, SourcePoll};
use crate::clock::{MS, Now};
use crate::event::{Event, Gap};

/// Tasks of a stream.
const TASKS: u64 = 2;
/// Progress reports of a task: each is ten percent more.
const REPORTS: u64 = 10;
/// Events of a task: start, the reports, end.
const STEPS: u64 = REPORTS + 2;

/// Id of the last event, `close`. After it there is nothing to resume: the answer is 204, and an
/// EventSource stops.
pub const LAST_STEP: u64 = TASKS * STEPS + 1;

/// `start`, `progress` … `end` for each task, and at last `close`. An event's id is its step.
#[derive(Debug)]
pub struct Tasks {
    step_ms: u64,
    gap: Option<Gap>,
    /// The next step, from 1.
    next: u64,
    due: u64,
}

impl Tasks {
    /// The tasks from the step after `last_event_id`; `None` if there is none left.
    pub fn new(step_ms: u64, last_event_id: Option<&str>, now: Now) -> Option<Tasks> {
        let (next, gap) = match After::parse(last_event_id) {
            After::Nothing => (1, None),
            After::Number(n) if n >= LAST_STEP => return None,
            After::Number(n) => (n + 1, None),
            After::Foreign => (1, Some(Gap::Reset)),
        };
        Some(Tasks { step_ms, gap, next, due: now.monotonic })
    }
}

impl Source for Tasks {
    fn poll(&mut self, now: Now) -> SourcePoll {
        if let Some(gap) = self.gap.take() {
            return SourcePoll::Gap(gap);
        }
        if self.next > LAST_STEP {
            return SourcePoll::End;
        }
        if now.monotonic < self.due {
            return SourcePoll::Wait(Some(self.due));
        }
        let (task, step) = ((self.next - 1) / STEPS + 1, (self.next - 1) % STEPS);
        let event = match step {
            _ if self.next == LAST_STEP => {
                Event::data(format!(r#"{{"tasks":{TASKS}}}"#)).with_event("close")
            }
            0 => Event::data(format!(r#"{{"task":{task}}}"#)).with_event("start"),
            report if report <= REPORTS => {
                let percent = report * 100 / REPORTS;
                Event::data(format!(r#"{{"task":{task},"percent":{percent}}}"#))
                    .with_event("progress")
            }
            _ => Event::data(format!(r#"{{"task":{task}}}"#)).with_event("end"),
        };
        let event = event.with_id(self.next);
        self.next += 1;
        self.due += self.step_ms * MS;
        SourcePoll::Event(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(last_event_id: Option<&str>) -> Vec<String> {
        let mut tasks = Tasks::new(10, last_event_id, Now::at(0)).expect("steps are left");
        let mut seen = Vec::new();
        loop {
            seen.push(match tasks.poll(Now::at(1_000_000 * MS)) {
                SourcePoll::Event(event) => format!(
                    "{} {} {}",
                    event.id.expect("an id"),
                    event.event.expect("a type"),
                    event.data.expect("data")
                ),
                SourcePoll::Gap(gap) => format!("{gap:?}"),
                SourcePoll::End => return seen,
                step => panic!("unexpected {step:?}"),
            });
        }
    }

    #[test]
    fn two_tasks_run_to_their_close() {
        let all = run(None);
        assert_eq!(all.len() as u64, LAST_STEP);
        assert_eq!(all[0], r#"1 start {"task":1}"#);
        assert_eq!(all[1], r#"2 progress {"task":1,"percent":10}"#);
        assert_eq!(all[10], r#"11 progress {"task":1,"percent":100}"#);
        assert_eq!(all[11], r#"12 end {"task":1}"#);
        assert_eq!(all[12], r#"13 start {"task":2}"#);
        assert_eq!(all[24], r#"25 close {"tasks":2}"#);
    }

    #[test]
    fn a_resumed_run_goes_on_at_the_next_step() {
        assert_eq!(run(Some("23")), run(None)[23..]);
        assert_eq!(run(Some("24")).len(), 1);
        assert!(Tasks::new(10, Some("25"), Now::at(0)).is_none());
        assert_eq!(run(Some("x"))[0], "Reset");
    }

    #[test]
    fn steps_keep_their_distance() {
        let mut tasks = Tasks::new(10, None, Now::at(0)).expect("steps are left");
        assert!(matches!(tasks.poll(Now::at(0)), SourcePoll::Event(_)));
        assert!(matches!(tasks.poll(Now::at(0)), SourcePoll::Wait(Some(at)) if at == 10 * MS));
    }
}
