//! The end of a server: one signal that streams, threads and tasks can see.
//!
//! A graceful stop of an HTTP server waits for responses to end, and an event stream never does by
//! itself: axum and warp wait forever ([axum#2673](https://github.com/tokio-rs/axum/issues/2673)).
//! So every stream ends itself when this signal begins, and a framework's graceful stop has nothing
//! left to wait for.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::wakers::{Sleeper, Slot, Wakers};

/// The time for streams to end whole, before the process ends in any case: the contract says 2 s,
/// and a client that reads nothing must not hold up the others for longer.
const GRACE: Duration = Duration::from_millis(1700);

/// The exit code of a process that Ctrl-C ended (128 + SIGINT).
const EXIT_INTERRUPTED: i32 = 130;

/// The signal that the server is about to stop. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    begun: AtomicBool,
    wakers: Wakers,
}

impl Shutdown {
    /// A shutdown that begins with the first SIGTERM or Ctrl-C. A second signal ends the process at
    /// once.
    ///
    /// # Errors
    /// If the signals cannot be hooked.
    pub fn on_signals() -> io::Result<Shutdown> {
        let shutdown = Shutdown::default();
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let begun = shutdown.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                if begun.has_begun() {
                    std::process::exit(EXIT_INTERRUPTED);
                }
                begun.begin();
                thread::spawn(|| {
                    thread::sleep(GRACE);
                    std::process::exit(0);
                });
            }
        })?;
        Ok(shutdown)
    }

    /// Begins the shutdown and wakes all that wait for it.
    pub fn begin(&self) {
        self.state.begun.store(true, Ordering::SeqCst);
        self.state.wakers.wake_all();
    }

    /// True from the moment it began.
    pub fn has_begun(&self) -> bool {
        self.state.begun.load(Ordering::SeqCst)
    }

    /// Waits, in any async runtime, until it begins.
    pub async fn begun(&self) {
        let (watch, mut sleeper) = (self.watch(), Sleeper::default());
        poll_fn(|cx: &mut Context<'_>| {
            if !sleeper.has(cx.waker()) {
                sleeper.set_waker(cx.waker());
                watch.set_sleeper(&sleeper);
            }
            sleeper.sleep();
            if self.has_begun() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits on this thread until it begins.
    pub fn wait(&self) {
        let watch = self.watch();
        let sleeper = Sleeper::from(&unpark_this_thread());
        watch.set_sleeper(&sleeper);
        sleeper.sleep();
        while !self.has_begun() {
            thread::park();
            sleeper.sleep();
        }
    }

    /// A slot in the list of wakers.
    pub(crate) fn watch(&self) -> Watch {
        Watch { slot: self.state.wakers.register(), shutdown: self.clone() }
    }
}

/// A slot in the list of wakers; given back on drop.
#[derive(Debug)]
pub(crate) struct Watch {
    slot: Slot,
    shutdown: Shutdown,
}

impl Watch {
    /// Sets what wakes when the shutdown begins.
    pub(crate) fn set_sleeper(&self, sleeper: &Sleeper) {
        self.shutdown.state.wakers.set(&self.slot, sleeper);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.shutdown.has_begun()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shutdown.state.wakers.unregister(&self.slot);
    }
}

/// A waker that unparks the calling thread: how a server without a runtime sleeps on a topic.
pub fn unpark_this_thread() -> std::task::Waker {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    Arc::new(Unpark(thread::current())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_thread_sees_the_beginning() {
        let shutdown = Shutdown::default();
        let waiting = {
            let shutdown = shutdown.clone();
            thread::spawn(move || shutdown.wait())
        };
        shutdown.begin();
        waiting.join().expect("the waiting thread ends");
    }

    #[test]
    fn places_are_given_back() {
        let shutdown = Shutdown::default();
        let watches: Vec<Watch> = (0..100).map(|_| shutdown.watch()).collect();
        assert_eq!(shutdown.state.wakers.len(), 100);
        drop(watches);
        assert_eq!(shutdown.state.wakers.len(), 0);
    }
}
