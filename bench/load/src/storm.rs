//! The restart storm: a server dies under its streams and comes back, and so do they.
//!
//! The streams follow the simulation, whose events have the same number on every server and are
//! due at known times, so what was lost or repeated can be counted exactly.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::ledger::Received;
use super::stamp::StampReader;
use super::subscriber::{Book, Reading, Subscriber};
use super::{CONNECT_EVERY_NS, LEAD_NS};
use crate::timer::{MILLISECOND_NS, SECOND_NS, unix_ns};

/// Between two prices, as the contract says.
const PRICE_NS: u64 = 100 * MILLISECOND_NS;

/// From the first stream to the kill, beyond the time to connect: each has had some events.
const CALM_NS: u64 = 500 * MILLISECOND_NS;

/// All must be back by then.
const BACK_NS: u64 = 10 * SECOND_NS;

/// The loop looks at its clients at least this often.
const LOOK: Duration = Duration::from_millis(5);

/// The outcome of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// From the kill until 99 % had an event from after the restart, nanoseconds.
    pub live_99_ns: Option<u64>,
    /// From the kill until all had.
    pub live_all_ns: Option<u64>,
    /// From the kill until the new server listened.
    pub down_ns: u64,
    /// Events, all streams together.
    pub events: u64,
    /// Numbers that never came.
    pub lost: u64,
    /// Numbers that came again.
    pub repeated: u64,
    /// `event: gap`.
    pub gap_events: u64,
    /// Connections that were refused or broke.
    pub retries: u64,
}

struct Client {
    subscriber: Option<Subscriber>,
    request: Vec<u8>,
    book: Book,
    next_try_ns: u64,
    last: Option<u64>,
    live_ns: Option<u64>,
}

/// Opens the streams, has the server restarted by `restart`, and waits until all are live again.
///
/// `restart` kills the server, starts it on the same port, and returns when it was killed and when
/// it listened. It runs on a separate thread.
///
/// # Errors
/// When epoll fails, or `restart` does.
pub fn run<R>(
    addr: SocketAddr,
    streams: u64,
    retry_ms: u64,
    seed: u64,
    restart: R,
) -> anyhow::Result<Recovery>
where
    R: FnOnce() -> anyhow::Result<(u64, u64)> + Send,
{
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    let mut random = fastrand::Rng::with_seed(seed);
    let mut recovery = Recovery::default();
    let mut received = Received::default();
    let start_ns = unix_ns() + LEAD_NS;
    let kill_at_ns = start_ns + streams * CONNECT_EVERY_NS + CALM_NS;
    let mut clients: Vec<Client> = (0..streams)
        .map(|index| Client {
            subscriber: None,
            request: Vec::new(),
            book: Book::default(),
            next_try_ns: start_ns + index * CONNECT_EVERY_NS,
            last: None,
            live_ns: None,
        })
        .collect();
    std::thread::scope(|scope| {
        let mut restart = Some(restart);
        let mut restarting = None;
        let mut times: Option<(u64, u64)> = None;
        loop {
            let now_ns = unix_ns();
            if now_ns >= kill_at_ns
                && let Some(restart) = restart.take()
            {
                restarting = Some(scope.spawn(restart));
            }
            if restarting.as_ref().is_some_and(|it| it.is_finished())
                && let Some(handle) = restarting.take()
            {
                times = Some(handle.join().expect("the restart has nothing that panics")?);
            }
            for (index, client) in clients.iter_mut().enumerate() {
                if client.subscriber.is_none() && client.next_try_ns <= now_ns {
                    client.connect(addr, index, &poll)?;
                }
            }
            poll.poll(&mut events, Some(LOOK)).or_else(|error| match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            })?;
            for event in &events {
                let client = &mut clients[event.token().0];
                let until_closed = event.is_read_closed() || event.is_error();
                if !client.advance(until_closed, &mut buffer, &mut received, &mut recovery, times) {
                    client.subscriber = None;
                    recovery.retries += 1;
                    let wait_ns = random.u64(0..=retry_ms) * MILLISECOND_NS;
                    client.next_try_ns = unix_ns() + wait_ns;
                }
            }
            let live = clients.iter().filter(|it| it.live_ns.is_some()).count() as u64;
            if live == streams || now_ns > kill_at_ns + BACK_NS {
                break;
            }
        }
        if let Some((killed_ns, ready_ns)) = times {
            recovery.down_ns = ready_ns.saturating_sub(killed_ns);
            let mut live: Vec<u64> = clients.iter().filter_map(|it| it.live_ns).collect();
            live.sort_unstable();
            let after = |count: u64| {
                let at_ns = live.get((count as usize).checked_sub(1)?)?;
                Some(at_ns.saturating_sub(killed_ns))
            };
            recovery.live_99_ns = after((streams * 99).div_ceil(100));
            recovery.live_all_ns = after(streams);
        }
        Ok(recovery)
    })
}

impl Client {
    fn connect(&mut self, addr: SocketAddr, index: usize, poll: &Poll) -> io::Result<()> {
        let resume = self.last.map_or(String::new(), |it| format!("Last-Event-ID: {it}\r\n"));
        self.request =
            format!("GET /simulation HTTP/1.1\r\nHost: {addr}\r\n{resume}\r\n").into_bytes();
        self.book = Book::default();
        self.subscriber = Some(Subscriber::connect(addr, Token(index), false, poll.registry())?);
        Ok(())
    }

    /// `false` if the connection is of no more use.
    fn advance(
        &mut self,
        until_closed: bool,
        buffer: &mut [u8],
        received: &mut Received,
        recovery: &mut Recovery,
        times: Option<(u64, u64)>,
    ) -> bool {
        let Some(subscriber) = &mut self.subscriber else { return true };
        let (last, live_ns) = (&mut self.last, &mut self.live_ns);
        let book = &mut self.book;
        subscriber
            .request(&self.request, book, &unix_ns)
            .and_then(|()| {
                subscriber.receive(
                    buffer,
                    &Reading { until_closed, clock: &unix_ns, stamp: &StampReader::Ours },
                    received,
                    book,
                    |_, arrival| {
                        if arrival.is_gap {
                            recovery.gap_events += 1;
                            return;
                        }
                        let Some(n) = arrival.id else { return };
                        recovery.events += 1;
                        match *last {
                            Some(before) if n <= before => recovery.repeated += 1,
                            Some(before) => recovery.lost += n - before - 1,
                            None => {}
                        }
                        *last = Some(n.max(last.unwrap_or(0)));
                        // Due after the new server listened: it is live, not replayed.
                        if let Some((_, ready_ns)) = times
                            && n * PRICE_NS > ready_ns
                        {
                            live_ns.get_or_insert(arrival.received_ns);
                        }
                    },
                )
            })
            .is_ok()
    }
}
