//! How long to wait before a reconnection.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::HeaderValue;

/// The shortest wait. `retry: 0` and a server that ends each stream at once must not make a loop
/// that takes a core on both sides.
const MIN_DELAY: Duration = Duration::from_millis(50);

/// The longest wait of all: a day. `Retry-After` may ask for that.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest reconnection time that `retry` can set: an hour. A longer one is a mistake, or an
/// attempt to turn the client off, for which there is 204.
const MAX_RETRY: Duration = Duration::from_secs(60 * 60);

/// Below this base, doubling would take too many attempts to get anywhere.
const MIN_STEP: Duration = Duration::from_millis(100);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// A stream was open for as long as the reconnection time, or had an event.
    Lasted,
    /// A stream ended sooner, without an event.
    Empty,
    /// No stream was opened.
    Unopened,
}

/// The wait grows with each attempt that comes to nothing: no server, or an empty stream.
///
/// The standard's reconnection time is the least; the extra is random, so that the clients of a
/// server that was away do not come back all at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next attempt: exactly `retry` after a stream that lasted, and after the
    /// first empty one.
    pub(super) fn next(&mut self, retry: Duration, ending: Ending, max: Duration) -> Duration {
        let before = self.failures;
        self.failures = if ending == Ending::Lasted { 0 } else { before.saturating_add(1) };
        let doublings = if ending == Ending::Empty { before } else { self.failures };
        if doublings == 0 {
            return bounded(retry);
        }
        let grown = retry.max(MIN_STEP).saturating_mul(2u32.saturating_pow(doublings));
        let extra = grown.min(max).saturating_sub(retry);
        bounded(retry.saturating_add(extra.mul_f64(fastrand::f64())))
    }
}

/// The reconnection time that a server set, within reason.
pub(super) fn bounded_retry(retry: Duration) -> Duration {
    retry.min(MAX_RETRY)
}

/// A wait that neither spins nor sleeps forever.
pub(super) fn bounded(wait: Duration) -> Duration {
    wait.clamp(MIN_DELAY, MAX_DELAY)
}

/// Statuses that say “not now”: too many requests, and those of a server that is being restarted.
pub(super) fn is_unavailable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Reads `Retry-After`: seconds or a date ([RFC 9110, section 10.2.3][rfc]).
///
/// [rfc]: https://www.rfc-editor.org/rfc/rfc9110.html#section-10.2.3
pub(super) fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn after_a_stream_that_lasted_the_wait_is_the_reconnection_time() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            assert_eq!(backoff.next(RETRY, Ending::Lasted, MAX), RETRY);
        }
    }

    #[test]
    fn failed_connections_wait_longer_up_to_the_limit_and_never_less_than_retry() {
        for _ in 0..100 {
            let mut backoff = Backoff::default();
            for n in 1..100 {
                let wait = backoff.next(RETRY, Ending::Unopened, MAX);
                let most = MAX.min(RETRY * 2u32.pow(n.min(10)));
                assert!((RETRY..=most).contains(&wait), "attempt {n}: {wait:?}");
            }
            assert_eq!(
                backoff.next(RETRY, Ending::Lasted, MAX),
                RETRY,
                "an open connection starts over"
            );
        }
    }

    #[test]
    fn after_empty_streams_the_wait_grows_from_the_second_one_on() {
        for _ in 0..100 {
            let mut backoff = Backoff::default();
            let waits: Vec<_> =
                (0..20).map(|_| backoff.next(Duration::ZERO, Ending::Empty, MAX)).collect();
            assert_eq!(waits[0], MIN_DELAY);
            assert!(waits.iter().all(|wait| (MIN_DELAY..=MAX).contains(wait)), "{waits:?}");
            // Of ten draws from up to 30 s at least one is longer than 3 s, but for one time in 10^10.
            assert!(waits[10..].iter().any(|wait| *wait > MAX / 10), "{waits:?}");
            assert_eq!(backoff.next(RETRY, Ending::Lasted, MAX), RETRY);
            assert_eq!(backoff.next(RETRY, Ending::Empty, MAX), RETRY, "it starts over");
        }
    }

    #[test]
    fn a_server_cannot_ask_for_more_than_an_hour() {
        assert_eq!(bounded_retry(RETRY), RETRY);
        assert_eq!(bounded_retry(Duration::from_millis(u64::MAX)), Duration::from_secs(3600));
    }

    #[test]
    fn a_retry_above_the_limit_of_the_backoff_is_kept() {
        let retry = Duration::from_secs(60);
        assert_eq!(Backoff::default().next(retry, Ending::Unopened, MAX), retry);
    }

    #[test]
    fn waits_neither_spin_nor_last_forever() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Duration::ZERO, Ending::Lasted, MAX), MIN_DELAY);
        let huge = Duration::from_millis(u64::MAX);
        assert_eq!(backoff.next(huge, Ending::Lasted, MAX), MAX_DELAY);
        assert_eq!(backoff.next(huge, Ending::Unopened, MAX), MAX_DELAY);
        assert_eq!(backoff.next(Duration::MAX, Ending::Unopened, Duration::MAX), MAX_DELAY);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value: &'static str| retry_after(&HeaderValue::from_static(value), now);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(read("+5"), None);
        assert_eq!(read("soon"), None);
        assert_eq!(read(""), None);
    }
}
