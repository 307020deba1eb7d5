//! Whether a server has several streams open at a time: some allow one, on purpose.

use std::thread;
use std::time::{Duration, Instant};

use fleet::eventually;

use super::Target;

/// How long a stream is watched for an end that another one causes.
const WATCH: Duration = Duration::from_millis(200);
/// Between two looks whether a place is free again.
const LOOK: Duration = Duration::from_millis(50);
/// The time that is added to the wait before a further request, each time.
const LONGER: Duration = Duration::from_millis(300);
/// Requests in turn, where one was refused although a place should have been free.
const TRIES: u32 = 4;

/// The fate of a second stream while one is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concurrency {
    /// It serves both.
    Many,
    /// It answers nothing until the first one is gone: one worker, or one thread.
    Queues,
    /// It refuses the second one.
    Refuses {
        /// With this status, or by closing.
        status: Option<u16>,
        /// A place is free so long after a client has left.
        free_after: Duration,
    },
    /// It ends the first one.
    Replaces,
}

impl Concurrency {
    /// Fewer requests than this are for the cases.
    pub(super) const LEAST_BUDGET: u64 = 50;

    /// One sentence, if cases have to run one after the other.
    pub(super) fn words(self) -> Option<String> {
        let what = match self {
            Concurrency::Many => return None,
            Concurrency::Queues => "it answers no second request while a stream is open".to_owned(),
            Concurrency::Refuses { status: Some(status), .. } => {
                format!("it refuses a second stream with status {status}")
            }
            Concurrency::Refuses { status: None, .. } => {
                "it closes the connection of a second stream".to_owned()
            }
            Concurrency::Replaces => "a second stream ends the first one".to_owned(),
        };
        Some(format!("one stream at a time: {what}, so the cases run one after the other"))
    }

    /// Finds it out by asking.
    ///
    /// # Errors
    /// One line, if the server does not come back to a second client within twice the patience.
    pub(super) fn of(target: &Target) -> Result<Concurrency, String> {
        let patience = target.patience() * 2;
        let is_served = || match target.head(&target.get(target.path())) {
            Ok(head) if head.is_event_stream() => Ok(()),
            Ok(head) => Err(head.summary()),
            Err(error) => Err(error.to_string()),
        };
        let blocks = |words: String| {
            format!(
                "the server serves no second stream, nor any within {} ms after the client of the first \
                 has left ({words}): no case can be judged; give it more workers or threads",
                patience.as_millis()
            )
        };
        // The stream of the probe may still hold the only place.
        let open = || {
            let asked = Instant::now();
            target.stream().map(|stream| (stream, asked.elapsed()))
        };
        let opened = eventually(patience, LOOK, open);
        let (mut first, head) = opened.map_err(|error| blocks(error.to_string()))?;
        let is_held_back = head > target.patience() / 2;
        let blocks = |words: String| match is_held_back {
            true => format!(
                "the first head took {} ms, and then: {words}; a head that waits for the first event is \
                 late for each client (S5.01): flush it, or raise --patience-ms",
                head.as_millis()
            ),
            false => blocks(words),
        };
        let began = Instant::now();
        // A stream that ends by itself shows nothing.
        if !matches!(first.watch_on(WATCH), Ok(true)) {
            return Ok(Concurrency::Many);
        }
        let second = target.head(&target.get(target.path()));
        let left = |kind: fn(Option<u16>, Duration) -> Concurrency, status| {
            let left = Instant::now();
            let served = eventually(patience, LOOK, is_served);
            served.map(|()| kind(status, left.elapsed())).map_err(blocks)
        };
        match second {
            Ok(head) if head.is_event_stream() => {
                if matches!(first.watch_on(WATCH), Ok(true)) {
                    return Ok(Concurrency::Many);
                }
                let age = began.elapsed();
                let alone = target.stream().and_then(|mut it| it.watch_on(age));
                // A stream that ends at this age without another one is a short one.
                let is_short = !matches!(alone, Ok(true));
                Ok(if is_short { Concurrency::Many } else { Concurrency::Replaces })
            }
            Err(wire::Error::LateHead { .. }) => {
                drop(first);
                left(|_, _| Concurrency::Queues, None)
            }
            refused => {
                drop(first);
                let status = refused.ok().map(|head| head.status);
                left(|status, free_after| Concurrency::Refuses { status, free_after }, status)
            }
        }
    }

    /// Waits until the place of a client that has just left is free.
    pub(super) fn wait_for_place(self) {
        if let Concurrency::Refuses { free_after, .. } = self {
            thread::sleep(free_after + LOOK);
        }
    }

    /// Asks, and again where it is refused as a second stream would be.
    pub(super) fn in_turn<T>(
        self,
        status_of: impl Fn(&wire::Result<T>) -> Option<u16>,
        ask: impl Fn() -> wire::Result<T>,
    ) -> wire::Result<T> {
        let Concurrency::Refuses { status: Some(busy), .. } = self else { return ask() };
        for tries in 1..TRIES {
            let answer = ask();
            if status_of(&answer) != Some(busy) {
                return answer;
            }
            thread::sleep(LONGER * tries);
        }
        ask()
    }
}
