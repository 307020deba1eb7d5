//! How long to wait before a reconnection.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::HeaderValue;

/// The shortest wait. `retry: 0` and a server that ends each stream at once must not make a loop
/// that takes a core on both sides.
const MIN_DELAY: Duration = Duration::from_millis(50);

/// The longest wait that a server can ask for: a day. More than that is a mistake, or an attempt to
/// turn the client off, for which there is 204.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Below this base, doubling would take too many attempts to get anywhere.
const MIN_STEP: Duration = Duration::from_millis(100);

/// The wait grows with each attempt that finds no server.
///
/// The standard's reconnection time is the least; the extra is random, so that the clients of a
/// server that was away do not come back all at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after a connection that was open (exactly `retry`), or that never came to be.
    pub(super) fn next(&mut self, retry: Duration, was_open: bool, max: Duration) -> Duration {
        if was_open {
            self.failures = 0;
            return bounded(retry);
        }
        self.failures = self.failures.saturating_add(1);
        let grown = retry.max(MIN_STEP).saturating_mul(2u32.saturating_pow(self.failures));
        let extra = grown.min(max).saturating_sub(retry);
        bounded(retry.saturating_add(extra.mul_f64(fastrand::f64())))
    }
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
    fn a_connection_that_was_open_waits_for_the_reconnection_time_alone() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            assert_eq!(backoff.next(RETRY, true, MAX), RETRY);
        }
    }

    #[test]
    fn failed_connections_wait_longer_up_to_the_limit_and_never_less_than_retry() {
        for _ in 0..100 {
            let mut backoff = Backoff::default();
            for n in 1..100 {
                let wait = backoff.next(RETRY, false, MAX);
                let most = MAX.min(RETRY * 2u32.pow(n.min(10)));
                assert!((RETRY..=most).contains(&wait), "attempt {n}: {wait:?}");
            }
            assert_eq!(backoff.next(RETRY, true, MAX), RETRY, "an open connection starts over");
        }
    }

    #[test]
    fn a_retry_above_the_limit_of_the_backoff_is_kept() {
        let retry = Duration::from_secs(60);
        assert_eq!(Backoff::default().next(retry, false, MAX), retry);
    }

    #[test]
    fn waits_neither_spin_nor_last_forever() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Duration::ZERO, true, MAX), MIN_DELAY);
        let huge = Duration::from_millis(u64::MAX);
        assert_eq!(backoff.next(huge, true, MAX), MAX_DELAY);
        assert_eq!(backoff.next(huge, false, MAX), MAX_DELAY);
        assert_eq!(backoff.next(Duration::MAX, false, Duration::MAX), MAX_DELAY);
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
