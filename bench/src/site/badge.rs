//! Badges, in the form that shields.io reads from an address: one of the newest set that a program passes, and one of each set.

use conform::report::Run;
use conform::{Requirements, Scope, Side, Standing};
use serde::Serialize;

/// A badge: <https://shields.io/badges/endpoint-badge>.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Badge {
    schema_version: u8,
    label: &'static str,
    pub(super) message: String,
    color: &'static str,
}

impl Badge {
    fn new(run: &Run, message: String, color: &'static str) -> Badge {
        let label = match run.side() {
            Side::Server => "SSE stream",
            Side::Client => "SSE client",
        };
        Badge { schema_version: 1, label, message, color }
    }

    /// Of one set: another set changes nothing of it.
    pub(super) fn of_set(run: &Run, set: &Requirements) -> Badge {
        let standing = set.standing(run, scope_of(run));
        let date = &set.date;
        match standing {
            it if it.passes() => Badge::new(run, format!("passes {date}"), "brightgreen"),
            it if it.failed.is_empty() => {
                Badge::new(run, format!("not judged, {date}"), "lightgrey")
            }
            it => Badge::new(run, format!("fails {} of {date}", it.failed.len()), "orange"),
        }
    }

    /// Of the newest set that is passed; else of the oldest, which asks the least.
    pub(super) fn of(run: &Run, sets: &[Requirements]) -> Option<Badge> {
        let set = newest_passed(run, sets).or(sets.first())?;
        Some(Badge::of_set(run, set))
    }

    /// The words on its left.
    pub(super) fn label(&self) -> &'static str {
        self.label
    }

    /// The JSON text.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and a number") + "\n"
    }
}

/// The newest set whose requirements on the stream, or on a client, are met.
pub(super) fn newest_passed<'s>(run: &Run, sets: &'s [Requirements]) -> Option<&'s Requirements> {
    sets.iter().rev().find(|set| set.standing(run, scope_of(run)).passes())
}

/// A badge of a server is about its stream: the HTTP below it is another line. One of a client is about all.
pub(super) fn scope_of(run: &Run) -> Option<Scope> {
    (run.side() == Side::Server).then_some(Scope::Sse)
}

/// A standing in words.
pub(super) fn words(standing: &Standing) -> String {
    let judged = standing.passed + standing.failed.len();
    match standing {
        it if it.passes() => format!("passes all {judged} that could be judged"),
        it if !it.failed.is_empty() => format!("fails {} of {judged}", it.failed.len()),
        it if it.passed == 0 && it.unjudged == 0 => "nothing to judge".to_owned(),
        it => format!("not judged in {}", it.unjudged),
    }
}
