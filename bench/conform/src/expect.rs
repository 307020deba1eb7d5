//! The vocabulary in which cases judge.

use std::fmt::Debug;
use std::time::Duration;

use wire::Head;

use super::{Fault, Finding, Outcome};

/// A failure: the demand of the claim and the behaviour of the server.
pub(super) fn miss(expected: impl Into<String>, actual: impl Into<String>) -> Fault {
    let (expected, actual) = (expected.into(), actual.into());
    Fault::Miss { expected, actual, lenient: false, unanswered: false, took: None }
}

/// The failure of a recommendation inside a case of a higher level.
pub(super) fn miss_should(expected: impl Into<String>, actual: impl Into<String>) -> Fault {
    miss(expected, actual).recommended()
}

/// Holds if the condition does.
pub(super) fn ensure(
    condition: bool,
    expected: impl Into<String>,
    actual: impl Into<String>,
) -> Result<(), Fault> {
    if condition { Ok(()) } else { Err(miss(expected, actual)) }
}

/// Holds if no more time was taken than allowed.
pub(super) fn in_time(
    took: Duration,
    allowed: Duration,
    expected: impl Into<String>,
    actual: impl Into<String>,
) -> Result<(), Fault> {
    ensure(took <= allowed, expected, actual).map_err(|fault| fault.too_slow(took))
}

/// Holds if a time that kept to a limit which a busy host had widened keeps to the limit itself, too. Else it says
/// nothing: a server that is as slow would hide behind the host.
pub(super) fn within_plain(took: Duration, limit: Duration) -> Result<(), Fault> {
    if took <= limit {
        return Ok(());
    }
    let (took, limit) = (took.as_millis(), limit.as_millis());
    Err(Fault::Unjudged(format!("it took {took} ms of {limit}, and this host was busy")))
}

/// Holds if both are equal; long values are shown where they begin to differ.
pub(super) fn equal<T: PartialEq + Debug + ?Sized>(
    what: &str,
    actual: &T,
    expected: &T,
) -> Result<(), Fault> {
    if actual == expected {
        return Ok(());
    }
    let (expected, actual) = (format!("{expected:?}"), format!("{actual:?}"));
    let same = expected.chars().zip(actual.chars()).take_while(|(a, b)| a == b).count();
    let excerpt = |text: &str| {
        if text.chars().count() <= 200 {
            return text.to_owned();
        }
        let from = same.saturating_sub(40);
        let part: String = text.chars().skip(from).take(120).collect();
        format!("… {part} … ({} characters, from {from})", text.chars().count())
    };
    Err(miss(format!("{what} {}", excerpt(&expected)), excerpt(&actual)))
}

/// Holds if the status is one of these.
pub(super) fn status_in(head: &Head, allowed: &[u16]) -> Result<(), Fault> {
    let words: Vec<_> = allowed.iter().map(u16::to_string).collect();
    ensure(allowed.contains(&head.status), format!("status {}", words.join(" or ")), head.summary())
}

/// Holds if the answer opens an event stream.
pub(super) fn is_stream(head: &Head) -> Result<(), Fault> {
    ensure(head.is_event_stream(), "status 200 with Content-Type text/event-stream", head.summary())
}

/// A server's reaction to a request, for "actual".
pub(super) fn describe(answer: &wire::Result<Head>) -> String {
    match answer {
        Ok(head) => head.summary(),
        Err(error) => error.to_string(),
    }
}

/// Between two looks of [`eventually`].
const LOOK: Duration = Duration::from_millis(10);

/// A failure for this reaction; where nothing came in time, a busy host looks the same.
pub(super) fn miss_of(expected: impl Into<String>, answer: &wire::Result<Head>) -> Fault {
    match answer {
        Err(error) => Fault::instead_of(expected, error),
        Ok(head) => miss(expected, head.summary()),
    }
}

/// Looks again and again until the inner result holds; its last failure when the time is over.
pub(super) fn eventually<T>(
    within: Duration,
    mut look: impl FnMut() -> Result<Result<T, Fault>, Fault>,
) -> Result<T, Fault> {
    // A fault of the look itself ends it at once.
    let look = || match look() {
        Ok(found) => found.map(Ok),
        Err(fault) => Ok(Err(fault)),
    };
    fleet::eventually(within, LOOK, look).map_err(|fault| fault.too_slow(within))?
}

/// The claim holds.
pub(super) fn pass() -> Outcome {
    Ok(Finding::Pass)
}

/// The claim holds, and this is worth recording.
pub(super) fn fact(text: impl Into<String>) -> Outcome {
    Ok(Finding::Fact(text.into()))
}

/// The claim cannot be judged from here, and this is worth recording.
pub(super) fn noted(text: impl Into<String>) -> Outcome {
    Ok(Finding::Noted(text.into()))
}
