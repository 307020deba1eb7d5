//! One server of a run: its process, the load on it, the readings, and the end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fastrand::Rng;
use fleet::{Server, eventually};
use wire::ledger::{Judgement, Promise};

use super::guests::{Counts, Guests, Host};
use super::reading::Reading;
use super::{LOOK, PATIENCE, Plan, Subject};
use crate::chaos::books::{Books, EndOfRun};
use crate::chaos::publisher::Publishers;
use crate::chaos::reader::{Order, Reader};
use crate::chaos::relay::Relay;

/// The settings of the servers: what is left behind is given back within seconds, and a reader that is away for seconds
/// finds all that it missed.
const SETTINGS: [&str; 14] = [
    "--workers",
    "2",
    "--retain",
    "1024",
    "--keep-alive-ms",
    "1000",
    "--topic-idle-s",
    "10",
    "--stall-timeout-ms",
    "2000",
    "--request-timeout-ms",
    "5000",
    "--idempotency-s",
    "120",
];

/// That of the settings.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(5000);

/// Threads that publish.
const PUBLISHERS: usize = 2;
/// Clients that visit the other streams.
const VISITORS: usize = 3;
/// Between two readings, in a short run and in any other.
const READING: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// Readings that a run should have, if that is not too often.
const READINGS: u32 = 150;
/// Readings in a row that may have no answer.
const UNANSWERED: u32 = 2;
/// Between two disturbances of readers, at most.
const DISTURBANCE_MS: u64 = 1000;
/// A reader stays away so long at most: some dozen messages, of the thousand that the servers keep.
const AWAY_MS: u64 = 1500;
/// A connection is cut behind so many bytes at most.
const CUT_BYTES: u64 = 6000;
/// Between two messages that let readers see how far they are, at the end.
const MARKER: Duration = Duration::from_millis(300);
/// Files that a server opens for itself once it is busy, at most, as in `attack`.
const OWN_FILES: u64 = 8;

/// The figures of a server that the display shows while it runs.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) messages: AtomicU64,
    pub(super) moves: AtomicU64,
    pub(super) memory_bytes: AtomicU64,
    pub(super) is_over: AtomicBool,
}

/// The end of a run of one server.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) readings: Vec<(Duration, Reading)>,
    pub(super) judgement: Judgement,
    pub(super) guests: Guests,
    /// Answers that the contract does not have, a panic, an end.
    pub(super) odd: Vec<String>,
    pub(super) moves: u64,
    pub(super) cuts: u64,
    pub(super) breaks: u64,
    pub(super) repeats: u64,
    pub(super) host_was_late: u64,
    /// Before the load, and when all clients have left.
    pub(super) idle: [Reading; 2],
    pub(super) lasted: Duration,
    /// Why the run says nothing of the end, or of all.
    pub(super) failure: Option<String>,
}

/// Runs one server to its end.
///
/// # Errors
/// When it does not start, or the readers do not begin or catch up in time.
pub(super) fn run(
    subject: &Subject,
    plan: &Plan,
    cancel: &AtomicBool,
    view: &View,
) -> Result<Outcome> {
    let mut server = Server::start(&subject.launch.clone().with_args(SETTINGS))?;
    let mut outcome = Outcome::default();
    // The first answer may open what stays open.
    Reading::take(&server, PATIENCE)?;
    outcome.idle[0] = Reading::take(&server, PATIENCE)?;
    let address = server.addr();
    let relays: Vec<Relay> =
        (0..plan.clients).map(|_| Relay::open(vec![address], false)).collect::<Result<_>>()?;
    let books = Books::new(plan.clients, Some(REQUEST_TIMEOUT));
    let counts = Counts::default();
    let mix = |it: u64, byte: u8| it.wrapping_mul(31).wrapping_add(byte.into());
    let seed = plan.seed ^ subject.name.bytes().fold(0, mix);
    let load = Load {
        address,
        relays,
        publishers: Publishers::new(vec![address], &books, seed, plan.rate),
        books: &books,
        counts: &counts,
        seed,
    };
    let held = load.hold(&mut server, plan, cancel, view, &mut outcome);
    if let Some(words) = ended(&mut server) {
        outcome.odd.push(words);
    } else if let Err(error) = held {
        // The readings until then, and what readers saw, are kept.
        outcome.failure = Some(format!("{error:#}"));
    }
    load.close(&mut outcome);
    if outcome.odd.iter().all(|it| !it.starts_with(ENDED))
        && let Err(error) = end(server, subject, &mut outcome)
    {
        outcome.failure.get_or_insert(format!("{error:#}"));
    }
    Ok(outcome)
}

/// Lets a server end, and looks at the things that it gives back and says.
fn end(server: Server, subject: &Subject, outcome: &mut Outcome) -> Result<()> {
    outcome.odd.extend(panic(&server, &subject.known_panics));
    idle_again(&server, outcome)?;
    let stopped = server.stop().context("the stop of the server")?;
    if !stopped.status.success() {
        outcome.odd.push(format!("SIGTERM at the end: {}", stopped.status));
    }
    Ok(())
}

/// The begin of the words about a process that is gone.
const ENDED: &str = "the process ended";

/// The load on one server.
struct Load<'l> {
    address: SocketAddr,
    relays: Vec<Relay>,
    publishers: Publishers<'l>,
    books: &'l Books,
    counts: &'l Counts,
    seed: u64,
}

impl Load<'_> {
    /// Holds the load, with readings, and lets all clients leave.
    fn hold(
        &self,
        server: &mut Server,
        plan: &Plan,
        cancel: &AtomicBool,
        view: &View,
        outcome: &mut Outcome,
    ) -> Result<()> {
        thread::scope(|scope| {
            let _ends = EndOfRun(self.books);
            let readers = self.readers(scope);
            self.begin()?;
            let start = Instant::now();
            let publishing: Vec<_> =
                (0..PUBLISHERS).map(|_| scope.spawn(move || self.publishers.run(start))).collect();
            self.guests(scope);
            let watched = self.watch(server, start, plan, cancel, view, &readers, outcome);
            outcome.lasted = start.elapsed();
            self.publishers.close();
            watched?;
            join(publishing)?;
            self.drain()
        })
    }

    fn readers<'s, 'e>(&'e self, scope: &'s Scope<'s, 'e>) -> Vec<Sender<Order>> {
        let reader = |(number, relay): (usize, &'e Relay)| {
            let (sender, orders) = channel();
            let reader = Reader::new(number, relay, 1, self.books, orders);
            scope.spawn(|| reader.run());
            sender
        };
        self.relays.iter().enumerate().map(reader).collect()
    }

    fn guests<'s, 'e>(&'e self, scope: &'s Scope<'s, 'e>) {
        let host = || Host { server: self.address, books: self.books, counts: self.counts };
        for number in 0..VISITORS as u64 {
            let host = host();
            let rng = Rng::with_seed(self.seed ^ (number + 1).rotate_left(40));
            scope.spawn(move || host.visits(rng));
        }
        let (stalls, nonsense, topics) = (host(), host(), host());
        let rng = Rng::with_seed(self.seed.rotate_left(20));
        scope.spawn(move || stalls.stalls());
        scope.spawn(move || nonsense.nonsense(rng));
        scope.spawn(move || topics.topics());
    }

    /// All readers have a stream and the first message: from then on each of them must see all.
    fn begin(&self) -> Result<()> {
        let all = self.relays.len() as u64;
        let open = || match self.books.counts.readers.load(Relaxed) {
            some if some < all => Err(anyhow!("{some} of {all} readers have a stream")),
            _ => Ok(()),
        };
        eventually(PATIENCE, LOOK, open).context("the load cannot begin")?;
        ensure!(self.publishers.publish_next(), "the server takes no message");
        let first = || self.until_all_have(|place, last| place >= last);
        eventually(PATIENCE, LOOK, first).context("the load cannot begin")
    }

    /// Disturbs readers and takes readings until the time is over.
    #[expect(clippy::too_many_arguments, reason = "what a run is made of, each used once")]
    fn watch(
        &self,
        server: &mut Server,
        start: Instant,
        plan: &Plan,
        cancel: &AtomicBool,
        view: &View,
        readers: &[Sender<Order>],
        outcome: &mut Outcome,
    ) -> Result<()> {
        let mut rng = Rng::with_seed(self.seed);
        let every = (plan.lasts / READINGS).clamp(READING[0], READING[1]);
        let mut unanswered = 0;
        let (mut next_reading, mut next_disturbance) = (start, start);
        while start.elapsed() < plan.lasts && !cancel.load(Relaxed) {
            let now = Instant::now();
            if now >= next_disturbance {
                self.disturb(&mut rng, readers);
                next_disturbance = now + Duration::from_millis(rng.u64(..DISTURBANCE_MS));
            }
            if now >= next_reading {
                next_reading = now + every;
                ensure!(server.ended()?.is_none(), "the process is gone");
                let reading = match Reading::take(server, PATIENCE) {
                    Ok(reading) => reading,
                    // A busy host may hold up one answer; a server that hangs gives no further one.
                    Err(_) if unanswered < UNANSWERED => {
                        unanswered += 1;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                unanswered = 0;
                outcome.readings.push((start.elapsed(), reading));
                view.memory_bytes.store(reading.memory_bytes, Relaxed);
                view.messages.store(self.books.ledger().acknowledged() as u64, Relaxed);
                view.moves.store(self.books.counts.moves.load(Relaxed), Relaxed);
            }
            let next = next_reading.min(next_disturbance);
            // The pace of the run, not a wait for something.
            thread::sleep(next.saturating_duration_since(Instant::now()).min(LOOK * 10));
        }
        Ok(())
    }

    fn disturb(&self, rng: &mut Rng, readers: &[Sender<Order>]) {
        let client = rng.usize(..readers.len());
        if rng.u8(..3) == 0 {
            self.relays[client].cut(rng.u64(..CUT_BYTES));
        } else {
            let away = Duration::from_millis(rng.u64(..AWAY_MS));
            // A reader ends with the run only.
            let _ = readers[client].send(Order::Move { node: 0, away });
        }
    }

    /// Waits until each reader has had a message behind the last one of the publishers. A message that is lost shows
    /// when a later one comes, so there are later ones until then.
    fn drain(&self) -> Result<()> {
        let last = self.books.ledger().last_acknowledged().unwrap_or(0);
        let look = || -> Result<()> {
            if self.until_all_have(|place, _| place > last).is_ok() {
                return Ok(());
            }
            ensure!(self.publishers.publish_next(), "the server takes no message");
            bail!("a reader has not caught up with place {last}")
        };
        eventually(PATIENCE * 2, MARKER, look)
    }

    fn until_all_have(&self, has: impl Fn(u64, u64) -> bool) -> Result<()> {
        let ledger = self.books.ledger();
        let last = ledger.last_acknowledged().unwrap_or(0);
        let has_all = |it: usize| ledger.reached(it).is_some_and(|place| has(place, last));
        match (0..self.relays.len()).find(|it| !has_all(*it)) {
            Some(reader) => Err(anyhow!("reader {reader} has not caught up with place {last}")),
            None => Ok(()),
        }
    }

    /// The books, when all clients have ended; the relays close with it.
    fn close(self, outcome: &mut Outcome) {
        let counts = &self.books.counts;
        outcome.moves = counts.moves.load(Relaxed);
        outcome.breaks = counts.breaks.load(Relaxed);
        outcome.repeats = counts.repeats.load(Relaxed);
        outcome.host_was_late = counts.host_was_late.load(Relaxed);
        outcome.cuts = self.relays.iter().map(Relay::cuts).sum();
        outcome.guests = self.counts.read();
        outcome.judgement = self.books.ledger().judge(Promise::Whole);
        // If the process is gone, that is the finding.
        if outcome.odd.is_empty() {
            outcome.odd = self.books.odd_answers();
        }
    }
}

fn join(threads: Vec<ScopedJoinHandle<'_, ()>>) -> Result<()> {
    for it in threads {
        it.join().map_err(|_| anyhow!("a thread of the run has panicked"))?;
    }
    Ok(())
}

/// Waits until the server has given back what its clients had. A server that does not is judged by the last reading.
fn idle_again(server: &Server, outcome: &mut Outcome) -> Result<()> {
    let before = outcome.idle[0];
    let look = || -> Result<Reading, Result<Reading>> {
        let now = Reading::take(server, PATIENCE).map_err(Err)?;
        if is_idle(&before, &now) { Ok(now) } else { Err(Ok(now)) }
    };
    outcome.idle[1] = match eventually(PATIENCE, LOOK, look) {
        Ok(now) | Err(Ok(now)) => now,
        Err(Err(error)) => return Err(error.context("when all clients had left")),
    };
    Ok(())
}

/// Whether a server holds no more than before its clients came.
pub(super) fn is_idle(before: &Reading, now: &Reading) -> bool {
    now.streams == 0 && now.sources == 0 && now.descriptors <= before.descriptors + OWN_FILES
}

/// The end of a process, in words, if it has ended by itself.
fn ended(server: &mut Server) -> Option<String> {
    let status = server.ended().ok()??;
    let stderr = server.stderr();
    Some(format!("{ENDED}: {status} {}", stderr.lines().last().unwrap_or_default()))
}

/// A panic that no deviation lists.
fn panic(server: &Server, known: &[String]) -> Option<String> {
    let stderr = server.stderr();
    let is_new = |line: &&str| {
        line.contains("panicked at") && !known.iter().any(|it| line.contains(it.as_str()))
    };
    stderr.lines().find(is_new).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_idle_without_streams_and_with_few_files_more() {
        let before = Reading { descriptors: 20, ..Reading::default() };
        let more = |descriptors, streams| Reading { descriptors, streams, ..before };
        assert!(is_idle(&before, &more(28, 0)));
        assert!(!is_idle(&before, &more(29, 0)));
        assert!(!is_idle(&before, &more(20, 1)));
    }
}
