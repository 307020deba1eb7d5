//! The number of connections without an open stream, and its limit.
//!
//! `--max-streams` limits streams. Without a second limit, clients that open none could take every
//! descriptor and all memory until their deadlines.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::settings::Settings;

/// Counts connections without an open stream.
#[derive(Debug)]
pub struct Pending {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    /// The one task that waits, and for what: room, or none.
    waiting: Option<(bool, Waker)>,
}

impl Pending {
    /// As many as `--max-pending` says.
    pub fn new(settings: &Settings) -> Arc<Pending> {
        let max = usize::try_from(settings.max_pending).unwrap_or(usize::MAX);
        Arc::new(Pending { max, state: Mutex::default() })
    }

    /// A place, if one is free.
    pub fn try_place(self: &Arc<Pending>) -> Option<Place> {
        let mut state = self.state();
        let free = state.count < self.max;
        state.count += usize::from(free);
        drop(state);
        free.then(|| Place(Arc::clone(self)))
    }

    /// A place, even beyond the limit: for a connection that there is already.
    pub fn place(self: &Arc<Pending>) -> Place {
        self.change(|count| count + 1);
        Place(Arc::clone(self))
    }

    /// Waits, in any async runtime, until there is room for one more connection, or until there is
    /// none. One task at a time may wait.
    pub async fn until(&self, room: bool) {
        poll_fn(|cx| {
            let mut state = self.state();
            if (state.count < self.max) == room {
                return Poll::Ready(());
            }
            state.waiting = Some((room, cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let mut state = self.state();
        state.count = change(state.count);
        let room = state.count < self.max;
        let woken = state.waiting.take_if(|(waits_for, _)| *waits_for == room);
        drop(state);
        if let Some((_, waker)) = woken {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection without an open stream; given back on drop.
#[derive(Debug)]
pub struct Place(Arc<Pending>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.change(|count| count - 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let pending = Pending::new(&Settings { max_pending: 1, ..Settings::for_tests() });
        let first = pending.try_place().expect("a free place");
        assert!(pending.try_place().is_none());
        // The stream of a connection has ended.
        let second = pending.place();
        drop(first);
        assert!(pending.try_place().is_none(), "two were taken, and one is left");
        drop(second);
        assert!(pending.try_place().is_some());
    }

    #[tokio::test]
    async fn the_end_of_a_connection_wakes_the_one_that_waits_for_room() {
        let pending = Pending::new(&Settings { max_pending: 1, ..Settings::for_tests() });
        let place = pending.place();
        assert_eq!(pending.until(false).now_or_never(), Some(()));
        let waiting = tokio::spawn({
            let pending = Arc::clone(&pending);
            async move { pending.until(true).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(place);
        waiting.await.expect("no panic");
    }
}
