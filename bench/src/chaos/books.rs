//! The books that all threads of a run write: the ledger, and counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conform::host;
use wire::Error;
use wire::ledger::Ledger;

/// Odd answers that are kept in words, at most.
const ODD_ANSWERS: usize = 5;
/// The answer to a request that came too late, or not whole.
const REQUEST_TIMEOUT: u16 = 408;

/// Shared by readers, publishers and the player of the schedule.
#[derive(Debug)]
pub(crate) struct Books {
    ledger: Mutex<Ledger>,
    odd: Mutex<Vec<String>>,
    /// No reader goes on, and no publisher.
    is_over: AtomicBool,
    /// The servers close a connection without a whole request after this time, where the host is watched for that.
    deadline: Option<Duration>,
    host_explains_end_by: fn(Duration) -> bool,
    pub(crate) counts: Counts,
}

/// Counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Readers that have had a stream.
    pub(crate) readers: AtomicU64,
    /// Orders that readers have carried out: moves, and resumptions with an older id.
    pub(crate) moves: AtomicU64,
    /// Streams that ended under their reader.
    pub(crate) breaks: AtomicU64,
    /// Streams that were left since nothing came.
    pub(crate) silences: AtomicU64,
    /// The longest time of a reader without a stream, milliseconds.
    pub(crate) absence_ms: AtomicU64,
    /// Attempts to publish that were repeated.
    pub(crate) repeats: AtomicU64,
    /// Answers 503 to them.
    pub(crate) refusals: AtomicU64,
    /// Messages that were given up without an acknowledgement.
    pub(crate) given_up: AtomicU64,
    /// Answers to readers and publishers that the contract does not have.
    pub(crate) odd: AtomicU64,
    /// Ends that are no finding, since this host may have sent the request behind the deadline of the server.
    pub(crate) host_was_late: AtomicU64,
    pub(crate) kills: AtomicU64,
    pub(crate) stops: AtomicU64,
    pub(crate) broker_restarts: AtomicU64,
}

impl Books {
    pub(crate) fn new(readers: usize, deadline: Option<Duration>) -> Books {
        Books {
            ledger: Mutex::new(Ledger::new(readers)),
            odd: Mutex::default(),
            is_over: AtomicBool::new(false),
            deadline,
            host_explains_end_by: host::explains_end_by,
            counts: Counts::default(),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic of another thread ends the run anyway.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an answer that the contract does not have.
    pub(crate) fn odd(&self, words: String) {
        self.counts.odd.fetch_add(1, Relaxed);
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if odd.len() < ODD_ANSWERS {
            odd.push(words);
        }
    }

    /// Notes an error of a request.
    pub(crate) fn odd_error(&self, error: &Error, words: String) {
        match error {
            Error::NotAStream { status, .. } => self.odd_status(*status, words),
            _ => self.odd_end(error.is_end(), words),
        }
    }

    /// Notes a status that the contract does not have here.
    pub(crate) fn odd_status(&self, status: u16, words: String) {
        self.odd_end(status == REQUEST_TIMEOUT, words);
    }

    /// A host that is late may send a request behind the deadline of the server: then the end says nothing.
    fn odd_end(&self, is_by_deadline: bool, words: String) {
        if is_by_deadline && self.deadline.is_some_and(self.host_explains_end_by) {
            self.counts.host_was_late.fetch_add(1, Relaxed);
        } else {
            self.odd(words);
        }
    }

    pub(crate) fn odd_answers(&self) -> Vec<String> {
        self.odd.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn was_absent(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.counts.absence_ms.fetch_max(ms, Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

/// Ends the run of all threads as it goes, however that comes.
pub(crate) struct EndOfRun<'b>(pub(crate) &'b Books);

impl Drop for EndOfRun<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_the_deadline_is_a_finding_unless_the_host_was_late() {
        let mut books = Books::new(1, Some(Duration::from_secs(5)));
        let closed = Error::Closed { awaited: "a response head" };
        books.odd_error(&closed, "closed".into());
        books.odd_status(REQUEST_TIMEOUT, "status 408".into());
        assert_eq!(books.odd_answers(), ["closed", "status 408"]);

        books.host_explains_end_by = |_| true;
        books.odd_error(&closed, "closed".into());
        books.odd_status(REQUEST_TIMEOUT, "status 408".into());
        assert_eq!(books.counts.host_was_late.load(Relaxed), 2);
        books.odd_status(500, "status 500".into());
        assert_eq!(books.odd_answers(), ["closed", "status 408", "status 500"]);
    }
}
