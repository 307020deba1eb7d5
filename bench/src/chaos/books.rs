//! The books that all threads of a run write: the ledger, and counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wire::ledger::Ledger;

/// Odd answers that are kept in words, at most.
const ODD_ANSWERS: usize = 5;

/// Shared by readers, publishers and the player of the schedule.
#[derive(Debug)]
pub(crate) struct Books {
    ledger: Mutex<Ledger>,
    odd: Mutex<Vec<String>>,
    /// No reader goes on, and no publisher.
    is_over: AtomicBool,
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
    pub(crate) kills: AtomicU64,
    pub(crate) stops: AtomicU64,
    pub(crate) broker_restarts: AtomicU64,
}

impl Books {
    pub(crate) fn new(readers: usize) -> Books {
        Books {
            ledger: Mutex::new(Ledger::new(readers)),
            odd: Mutex::default(),
            is_over: AtomicBool::new(false),
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
