//! One run of a schedule: brokers, nodes, relays, readers and publishers, the disturbances, and the ledger at the end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fleet::{Launch, eventually};
use serde::Serialize;
use serde_json::json;
use wire::ledger::{Judgement, Promise};

use super::books::{Books, EndOfRun};
use super::edit::Fault;
use super::node::Node;
use super::publisher::{GIVE_UP, PUBLISHERS, Publishers};
use super::reader::{Order, Reader};
use super::relay::Relay;
use super::schedule::{Action, Schedule};
use super::{LOOK, PATIENCE, texts};
use crate::broker::{Broker, Kept};
use crate::run::progress::Progress;

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);
/// Between two messages that let readers see how far they are, at the end.
const MARKER: Duration = Duration::from_millis(300);
/// The longest time in which a repeated message is the same one: longer than any is repeated.
const SAME_KEY: &str = "3600";

/// The programs of a run, and a folder for it.
#[derive(Debug)]
pub(super) struct Stage {
    /// A name and a launch for each node of a schedule.
    pub(super) nodes: Vec<(String, Launch)>,
    pub(super) nats_server: PathBuf,
    pub(super) folder: PathBuf,
}

/// The end of a run.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) judgement: Judgement,
    pub(super) figures: Figures,
    /// Answers that the contract does not have, and panics of nodes: the first ones.
    pub(super) odd: Vec<String>,
}

/// The numbers of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Moves of readers that were carried out.
    pub moves: u64,
    /// Nodes that were killed and started again.
    pub kills: u64,
    /// Nodes that were held and went on.
    pub stops: u64,
    /// Brokers that were killed and started again.
    pub broker_restarts: u64,
    /// Connections that were cut at a byte.
    pub cuts: u64,
    /// Streams that ended under their readers, by a cut or the death of a node.
    pub breaks: u64,
    /// Streams that readers left since nothing came.
    pub silences: u64,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages that came without an acknowledgement.
    pub unacknowledged: u64,
    /// Attempts to publish that were repeated.
    pub repeats: u64,
    /// Answers 503 to publishers.
    pub refusals: u64,
    /// Events that readers saw, all of them together.
    pub delivered: u64,
    /// Acknowledged, in the stream, and passed over at a reader.
    pub lost: u64,
    /// Came again.
    pub doubled: u64,
    /// Came after a later one.
    pub misordered: u64,
    /// Gaps that were not allowed.
    pub gaps: u64,
    /// The longest time of a reader without a stream, milliseconds.
    pub longest_absence_ms: u64,
    /// From the first message to the last reader that had all, seconds.
    pub took_s: f64,
}

impl Outcome {
    /// Nothing speaks against the servers.
    fn is_clean(&self) -> bool {
        self.odd.is_empty() && self.judgement.of_servers().iter().all(|it| it.1.count == 0)
    }
}

impl Stage {
    /// Plays a schedule. An error says why there is no verdict.
    ///
    /// # Errors
    /// When a program does not start or go on, or readers do not catch up in time.
    pub(super) fn play(&self, schedule: &Schedule, progress: &mut Progress) -> Result<Outcome> {
        let _ = std::fs::remove_dir_all(&self.folder);
        let outcome = self.play_in_folder(schedule, progress);
        let _ = std::fs::remove_dir_all(&self.folder);
        outcome
    }

    fn play_in_folder(&self, schedule: &Schedule, progress: &mut Progress) -> Result<Outcome> {
        progress.say("start brokers and nodes");
        let brokers = Broker::start(&self.nats_server, &self.folder, schedule.brokers)?;
        let bus: Vec<String> = brokers.iter().map(Broker::url).collect();
        let nodes = self.start_nodes(schedule, &bus.join(","))?;
        let addresses: Vec<SocketAddr> = nodes.iter().map(Node::address).collect();
        let relay = |_| Relay::open(addresses.clone(), schedule.edits_bytes());
        let relays: Vec<Relay> = (0..schedule.clients).map(relay).collect::<Result<_>>()?;
        let books = Books::new(schedule.clients, None);
        let run = Run {
            schedule,
            relays,
            publishers: Publishers::new(addresses, &books, schedule.seed, schedule.rate),
            books: &books,
            nodes: nodes.into_iter().map(Mutex::new).collect(),
            brokers: Mutex::new(brokers),
            failure: Mutex::default(),
        };
        let (took, caught_up) = run.play(progress)?;
        let outcome = run.outcome(took)?;
        match caught_up {
            // Readers that are late, and have had an event twice, are no matter of time.
            Err(error) if outcome.is_clean() => Err(error),
            _ => Ok(outcome),
        }
    }

    /// The first one alone, as GUIDE says for several brokers: it makes the stream. Two nodes that make it in the same moment
    /// may give it two times of creation, and so their ids two epochs. Then all others at once: debug builds take a while.
    fn start_nodes(&self, schedule: &Schedule, bus: &str) -> Result<Vec<Node>> {
        let (retain, copies) = (schedule.retain.to_string(), schedule.brokers.to_string());
        let start = |(name, launch): &(String, Launch)| {
            let launch = launch
                .clone()
                .with_args(["--bus", bus, "--bus-replicas", &copies, "--retain", &retain])
                .with_args(["--retain-total-mb", "2048", "--idempotency-s", SAME_KEY])
                .with_args(["--keep-alive-ms", "1000", "--workers", "2"]);
            let node = Node::start(name, launch)?;
            node.until_ready()?;
            Ok(node)
        };
        let (first, others) = self.nodes.split_first().context("a run has a node")?;
        let first = start(first)?;
        let others = thread::scope(|scope| {
            let starting: Vec<_> = others.iter().map(|it| scope.spawn(move || start(it))).collect();
            let ended = starting.into_iter().map(|it| it.join().expect("nothing here panics"));
            ended.collect::<Result<Vec<_>>>()
        })?;
        Ok(std::iter::once(first).chain(others).collect())
    }
}

/// A run while it lasts.
struct Run<'r> {
    schedule: &'r Schedule,
    relays: Vec<Relay>,
    publishers: Publishers<'r>,
    books: &'r Books,
    nodes: Vec<Mutex<Node>>,
    brokers: Mutex<Vec<Broker>>,
    /// Why the run cannot go on.
    failure: Mutex<Option<anyhow::Error>>,
}

/// The threads that carry out what lasts, each in the order of the schedule.
struct Hands<'h> {
    readers: Vec<Sender<Order>>,
    nodes: Vec<Sender<Action>>,
    brokers: Sender<Action>,
    working: Vec<thread::ScopedJoinHandle<'h, ()>>,
}

impl Run<'_> {
    /// Plays the schedule to its end; how long that took, and whether the readers have caught up.
    fn play(&self, progress: &mut Progress) -> Result<(Duration, Result<()>)> {
        thread::scope(|scope| {
            let _ends = EndOfRun(self.books);
            let hands = self.hands(scope);
            self.begin()?;
            let start = Instant::now();
            let publishing: Vec<_> =
                (0..PUBLISHERS).map(|_| scope.spawn(move || self.publishers.run(start))).collect();
            for step in &self.schedule.steps {
                self.wait_until(start, step.at_ms, progress)?;
                self.disturb(step.action, &hands)?;
            }
            self.wait_until(start, self.schedule.duration_ms, progress)?;
            progress.say(&self.line(start, "wait until all is well again"));
            self.publishers.close();
            let Hands { readers, nodes, brokers, working } = hands;
            drop((nodes, brokers));
            for it in working.into_iter().chain(publishing) {
                it.join().map_err(|_| anyhow!("a thread of the run has panicked"))?;
            }
            self.check()?;
            for node in &self.nodes {
                lock(node).until_ready()?;
            }
            progress.say(&self.line(start, "wait until all readers have all"));
            let caught_up = self.drain();
            drop(readers);
            Ok((start.elapsed(), caught_up))
        })
    }

    fn hands<'s, 'e>(&'e self, scope: &'s Scope<'s, 'e>) -> Hands<'s> {
        let mut readers = Vec::new();
        for (number, relay) in self.relays.iter().enumerate() {
            let (sender, orders) = channel();
            let reader = Reader::new(number, relay, self.nodes.len(), self.books, orders);
            scope.spawn(|| reader.run());
            readers.push(sender);
        }
        let (mut nodes, mut working) = (Vec::new(), Vec::new());
        for node in &self.nodes {
            let (sender, actions) = channel();
            working
                .push(scope.spawn(|| self.work(actions, |action| self.disturb_node(node, action))));
            nodes.push(sender);
        }
        let (brokers, actions) = channel();
        working.push(scope.spawn(|| self.work(actions, |action| self.disturb_broker(action))));
        Hands { readers, nodes, brokers, working }
    }

    /// A thread that carries out one action after the other.
    fn work(&self, actions: Receiver<Action>, act: impl Fn(Action) -> Result<()>) {
        for action in actions {
            if self.books.is_over() {
                return;
            }
            if let Err(error) = act(action) {
                lock(&self.failure).get_or_insert(error);
                return;
            }
        }
    }

    fn disturb_node(&self, node: &Mutex<Node>, action: Action) -> Result<()> {
        let counts = &self.books.counts;
        match action {
            Action::Kill { down_ms, .. } => {
                counts.kills.fetch_add(1, Relaxed);
                lock(node).kill(Duration::from_millis(down_ms))
            }
            Action::Stop { for_ms, .. } => {
                counts.stops.fetch_add(1, Relaxed);
                lock(node).hold(Duration::from_millis(for_ms))
            }
            _ => Ok(()),
        }
    }

    fn disturb_broker(&self, action: Action) -> Result<()> {
        let mut brokers = lock(&self.brokers);
        let (broker, down_ms) = match action {
            Action::RestartBroker { broker, down_ms } => (broker, down_ms),
            Action::RemoveMessage => {
                let place = self.books.ledger().last_acknowledged();
                return remove(&brokers[0], place.context("nothing was acknowledged yet")?);
            }
            _ => return Ok(()),
        };
        if self.schedule.brokers > 1 {
            // As an operator does: two of three at once would be an outage of another kind.
            brokers[broker].until_whole(self.schedule.brokers)?;
        }
        brokers[broker].kill()?;
        self.books.counts.broker_restarts.fetch_add(1, Relaxed);
        // The absence is the schedule's, not a wait for something.
        thread::sleep(Duration::from_millis(down_ms));
        brokers[broker].start_again()
    }

    /// All readers have a stream and the first message: from then on each of them must see all.
    fn begin(&self) -> Result<()> {
        let all = self.relays.len() as u64;
        let open = || match self.books.counts.readers.load(Relaxed) {
            some if some < all => Err(anyhow!("{some} of {all} readers have a stream")),
            _ => Ok(()),
        };
        eventually(PATIENCE * 2, LOOK, open).context("the run cannot begin")?;
        ensure!(self.publishers.publish_next(), "no node takes the first message");
        let behind = || self.behind().map_or(Ok(()), Err);
        eventually(PATIENCE * 2, LOOK, behind).map_err(|words| anyhow!("at the beginning: {words}"))
    }

    fn disturb(&self, action: Action, hands: &Hands<'_>) -> Result<()> {
        let away = Duration::from_millis;
        let sent = match action {
            Action::Move { client, node, away_ms } => {
                let order = Order::Move { node, away: away(away_ms) };
                hands.readers[client].send(order).is_ok()
            }
            Action::ForgetEvent { client } => hands.readers[client].send(Order::Forget).is_ok(),
            Action::Kill { node, .. } | Action::Stop { node, .. } => {
                hands.nodes[node].send(action).is_ok()
            }
            Action::RestartBroker { .. } | Action::RemoveMessage => {
                hands.brokers.send(action).is_ok()
            }
            Action::Cut { client, after_bytes } => {
                self.relays[client].cut(after_bytes);
                true
            }
            Action::SwallowEvent { client } => {
                self.relays[client].plant(Fault::Swallow);
                true
            }
            Action::RepeatEvent { client } => {
                self.relays[client].plant(Fault::Repeat);
                true
            }
        };
        if sent { Ok(()) } else { self.check() }
    }

    /// Waits for a time of the schedule, and says how it goes.
    fn wait_until(&self, start: Instant, at_ms: u64, progress: &mut Progress) -> Result<()> {
        let due = start + Duration::from_millis(at_ms);
        loop {
            self.check()?;
            let now = Instant::now();
            let Some(left) = due.checked_duration_since(now).filter(|it| !it.is_zero()) else {
                return Ok(());
            };
            let took = now - start;
            let next_line = PROGRESS.as_millis() - took.as_millis() % PROGRESS.as_millis();
            let next_line = Duration::from_millis(u64::try_from(next_line).unwrap_or(1));
            // The time of a step is the schedule's, not a wait for something.
            thread::sleep(left.min(next_line));
            if next_line <= left {
                let of = self.schedule.duration_ms / 1000;
                progress.say(&self.line(start, &format!("of {of} s")));
            }
        }
    }

    fn line(&self, start: Instant, words: &str) -> String {
        let counts = &self.books.counts;
        let get = |it: &std::sync::atomic::AtomicU64| it.load(Relaxed);
        let (moves, breaks) = (get(&counts.moves), get(&counts.breaks));
        let acknowledged = self.books.ledger().acknowledged();
        let at = start.elapsed().as_secs();
        format!("{at} s {words}: {acknowledged} messages, {moves} moves, {breaks} streams broken")
    }

    /// An error of a thread ends the run.
    fn check(&self) -> Result<()> {
        lock(&self.failure).take().map_or(Ok(()), Err)
    }

    /// The readers that have not reached the last message that was acknowledged, in words.
    fn behind(&self) -> Option<String> {
        let ledger = self.books.ledger();
        let last = ledger.last_acknowledged()?;
        let is_behind = |it: &usize| ledger.reached(*it).is_none_or(|place| place < last);
        let behind: Vec<usize> = (0..self.relays.len()).filter(is_behind).collect();
        let first = *behind.first()?;
        let at = ledger.reached(first).map_or("nowhere".to_owned(), |it| it.to_string());
        Some(format!(
            "{} readers have not caught up with place {last}; reader {first} is at {at}",
            behind.len()
        ))
    }

    /// Waits until each reader has had a message behind the last one of the publishers. A message that is lost shows
    /// when a later one comes, so there are later ones until then.
    fn drain(&self) -> Result<()> {
        let (last, orders) = {
            let last = self.books.ledger().last_acknowledged();
            let is_order =
                |it: &Action| matches!(it, Action::Move { .. } | Action::ForgetEvent { .. });
            (last, self.schedule.count(is_order) as u64)
        };
        let look = || -> Result<()> {
            let moves = self.books.counts.moves.load(Relaxed);
            let ledger = self.books.ledger();
            let has_all = |it: usize| ledger.reached(it) > last;
            let is_done = (0..self.relays.len()).all(has_all) && moves >= orders;
            drop(ledger);
            if is_done {
                return Ok(());
            }
            ensure!(self.publishers.publish_next(), "no node takes a message for {GIVE_UP:?}");
            let words = self.behind().unwrap_or_else(|| "a reader has not moved yet".to_owned());
            bail!("{words}; {moves} of {orders} moves are made")
        };
        eventually(PATIENCE * 4, MARKER, look).context("the readers do not catch up")
    }

    /// The judgement, once the readers have ended.
    fn outcome(self, took: Duration) -> Result<Outcome> {
        let unplanted: usize = self.relays.iter().map(Relay::unplanted).sum();
        ensure!(unplanted == 0, "{unplanted} planted faults have found no whole event");
        let cuts = self.relays.iter().map(Relay::cuts).sum();
        let mut odd = self.books.odd_answers();
        odd.extend(self.nodes.iter().filter_map(|it| lock(it).panic()));
        let mut ledger = self.books.ledger();
        if !self.schedule.gaps {
            for Kept { id, text } in lock(&self.brokers)[0].messages()? {
                match texts::number(&text) {
                    Some(number) => ledger.keep(number, &id),
                    None => odd.push(format!("the stream has {id}, which no publisher sent")),
                }
            }
        }
        let promise = if self.schedule.gaps { Promise::Honest } else { Promise::Whole };
        let judgement = ledger.judge(promise);
        drop(ledger);
        let counts = &self.books.counts;
        let figures = Figures {
            moves: counts.moves.load(Relaxed),
            kills: counts.kills.load(Relaxed),
            stops: counts.stops.load(Relaxed),
            broker_restarts: counts.broker_restarts.load(Relaxed),
            cuts,
            breaks: counts.breaks.load(Relaxed),
            silences: counts.silences.load(Relaxed),
            acknowledged: judgement.acknowledged,
            unacknowledged: judgement.unacknowledged,
            repeats: counts.repeats.load(Relaxed),
            refusals: counts.refusals.load(Relaxed),
            delivered: judgement.delivered,
            lost: judgement.lost.count,
            doubled: judgement.doubled.count,
            misordered: judgement.misordered.count,
            gaps: judgement.gaps.count,
            longest_absence_ms: counts.absence_ms.load(Relaxed),
            took_s: took.as_secs_f64(),
        };
        Ok(Outcome { judgement, figures, odd })
    }
}

/// Removes a message from the stream.
fn remove(broker: &Broker, place: u64) -> Result<()> {
    let answer = broker.ask("STREAM.MSG.DELETE.sse", &json!({ "seq": place }))?;
    ensure!(answer["success"] == true, "the broker removes nothing: {answer}");
    Ok(())
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of another thread ends the run anyway.
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
