//! Answers that end: when each connection asks, and what becomes of a refusal.

use super::{Asking, Book, Generator, Subscriber, Times};

impl Generator<'_> {
    /// The requests of an open loop that are due: each takes a connection that is free.
    pub(super) fn ask_due(&mut self, now_ns: u64, registry: &mio::Registry) {
        while let Some(due_ns) = self.arrivals.as_ref().and_then(Times::next_ns) {
            if due_ns > now_ns {
                self.holds_back = false;
                return;
            }
            let index = match self.free.pop() {
                Some(index) => index,
                None if self.subscribers.len() < self.plan.connections() => {
                    self.books.push(Book::default());
                    self.subscribers.push(None);
                    self.subscribers.len() - 1
                }
                None => {
                    self.holds_back = true;
                    return;
                }
            };
            self.ledger.outcome.held_back += u64::from(self.holds_back);
            if let Some(arrivals) = &mut self.arrivals {
                arrivals.advance();
            }
            self.books[index].times.due_ns = due_ns;
            self.connect(index, false, now_ns, registry);
        }
    }

    /// Ends the refusals that have had their time.
    pub(super) fn refusals_due(&mut self, now_ns: u64) {
        while let Some((_, index, number)) = self.refusing.pop_front_if(|it| it.0 <= now_ns) {
            if self.books[index].watch.number == number {
                self.end_refusal(index, now_ns);
            }
        }
    }

    /// Of a refusal that is not whole, the beginning says enough.
    pub(super) fn end_refusal(&mut self, index: usize, now_ns: u64) {
        let slot = self.subscribers[index].as_mut().filter(|it| it.is_refused());
        if let Some(refusal) = slot.map(Subscriber::refusal) {
            self.subscriber_failed(index, &refusal, now_ns);
        }
    }

    /// Whether nothing is open and nothing will be asked for.
    pub(super) fn is_asked_out(&self) -> bool {
        match &self.plan.asking {
            None => self.failed == self.plan.connect_at_ns.len(),
            Some(_) if self.busy > 0 => false,
            Some(Asking::Again { requests }) => self.asked >= *requests,
            Some(Asking::At { .. }) => {
                self.arrivals.as_ref().is_none_or(|it| it.next_ns().is_none())
            }
        }
    }
}
