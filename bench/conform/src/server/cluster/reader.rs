//! Readers: a stream at each node, and one reader that goes from node to node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wire::ledger::Sequence;
use wire::{Error, EventStream};

use super::texts::{Hearing, Texts};
use super::{Cluster, Fault, Node};
use crate::expect::miss;
use crate::server::room::Publisher;

/// A stream may be subscribed a moment after its head: so often it is spoken to before it counts as deaf.
const GREETINGS: usize = 5;
/// The pace of texts while a case does something else, and the most of them.
const PACE: Duration = Duration::from_millis(5);
const MOST: usize = 2000;
/// Texts that the nodes may have to keep for a reader that comes back: some keep no more than ten.
const AHEAD: usize = 8;

/// A stream at each node that lives.
pub(super) struct Listeners<'c> {
    pub(super) streams: Vec<Listener<'c>>,
    patience: Duration,
}

/// One of them.
pub(super) struct Listener<'c> {
    pub(super) node: &'c Node,
    pub(super) stream: EventStream,
    /// The types of events that it has by itself.
    pub(super) greetings: Vec<String>,
    /// Whether it had a text.
    pub(super) hears: bool,
}

impl<'c> Listeners<'c> {
    /// Streams at these nodes.
    pub(super) fn open(cluster: &Cluster, nodes: &[&'c Node]) -> Result<Listeners<'c>, Fault> {
        let listener = |node: &'c Node| {
            let stream = node.stream()?;
            Ok(Listener { node, stream, greetings: Vec::new(), hears: false })
        };
        let streams: Result<_, Fault> = nodes.iter().copied().map(listener).collect();
        Ok(Listeners { streams: streams?, patience: cluster.patience() })
    }

    /// The same, each known to hear what this publisher says.
    pub(super) fn hearing(
        cluster: &Cluster,
        nodes: &[&'c Node],
        publisher: &mut Publisher<'_>,
    ) -> Result<Listeners<'c>, Fault> {
        let mut listeners = Listeners::open(cluster, nodes)?;
        listeners.greet(publisher)?;
        match listeners.streams.iter().find(|it| !it.hears) {
            None => Ok(listeners),
            Some(deaf) => Err(Fault::Skip(format!(
                "{GREETINGS} texts were published, and the stream of {} had none of them (see S13.01)",
                deaf.node.name()
            ))),
        }
    }

    /// Speaks until each of them hears, a few times at most.
    pub(super) fn greet(&mut self, publisher: &mut Publisher<'_>) -> Result<(), Fault> {
        let texts = Texts::new("greeting");
        self.streams.iter_mut().for_each(|it| it.hears = false);
        let within = self.patience / u32::try_from(GREETINGS).unwrap_or(1);
        for number in 0..GREETINGS {
            publisher.say(&texts.text(number))?;
            for listener in self.streams.iter_mut().filter(|it| !it.hears) {
                let hearing = texts.hear(&mut listener.stream, within, |it| !it.is_empty())?;
                listener.greetings.extend(hearing.others.iter().map(|it| it.event.clone()));
                listener.hears = !hearing.texts.is_empty();
            }
            if self.streams.iter().all(|it| it.hears) {
                break;
            }
        }
        Ok(())
    }

    /// Hears on each of them until so many texts have come.
    pub(super) fn hear_all(
        &mut self,
        texts: &Texts,
        count: usize,
    ) -> Result<Vec<(&'c Node, Hearing)>, Fault> {
        let patience = self.patience;
        let hear =
            |it: &mut Listener<'c>| Ok((it.node, texts.hear_all(&mut it.stream, count, patience)?));
        self.streams.iter_mut().map(hear).collect()
    }
}

/// A reader that goes on at another node after the last id that it has.
pub(super) struct Reader<'t> {
    texts: &'t Texts,
    patience: Duration,
    stream: EventStream,
    greetings: Vec<String>,
    /// All texts, in the order in which they came.
    pub(super) read: Vec<usize>,
    /// The highest number of them, for a publisher beside it.
    pub(super) highest: Arc<AtomicUsize>,
    pub(super) last_id: String,
    /// The word of a gap, if there was one.
    gap: Option<String>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(texts: &'t Texts, listener: Listener<'_>, patience: Duration) -> Reader<'t> {
        let Listener { stream, greetings, .. } = listener;
        let (read, last_id, gap) = (Vec::new(), String::new(), None);
        Reader { texts, patience, stream, greetings, read, highest: Arc::default(), last_id, gap }
    }

    /// Reads so many texts, fewer where no more come.
    pub(super) fn read(&mut self, count: usize) -> Result<(), Fault> {
        self.read_within(self.patience, |texts, _| texts >= count)
    }

    /// Reads until this text has come.
    pub(super) fn read_to(&mut self, number: usize) -> Result<(), Fault> {
        match self.read.contains(&number) {
            true => Ok(()),
            false => self.read_within(self.patience, |_, last| last == Some(number)),
        }
    }

    /// Reads until the stream ends, or this time is over.
    pub(super) fn read_to_its_end(&mut self, within: Duration) -> Result<(), Fault> {
        self.read_within(within, |_, _| false)
    }

    fn read_within(
        &mut self,
        within: Duration,
        is_enough: impl Fn(usize, Option<usize>) -> bool,
    ) -> Result<(), Fault> {
        let hearing = self.texts.hear(&mut self.stream, within, |texts| {
            let last = texts.last().map(|it| it.number);
            self.highest.fetch_max(last.unwrap_or_default(), Ordering::Relaxed);
            is_enough(texts.len(), last)
        })?;
        if hearing.texts.iter().any(|it| it.id.is_empty()) {
            return Err(Fault::Skip("the events have no ids".to_owned()));
        }
        self.gap = self.gap.take().or_else(|| hearing.word_of_a_gap(&self.greetings));
        self.read.extend(hearing.numbers());
        if let Some(last) = hearing.texts.last() {
            self.last_id.clone_from(&last.id);
        }
        Ok(())
    }

    /// Goes on at this node.
    pub(super) fn go_to(&mut self, node: &Node) -> Result<(), Fault> {
        self.stream = node.resumed(&self.last_id).map_err(|error| match error {
            Error::NotAStream { .. } => Fault::from(error).follows("S13.07"),
            error => error.into(),
        })?;
        Ok(())
    }

    /// Holds if it has read each of these texts once, in order.
    pub(super) fn has_each_once(&self, first: usize, count: usize) -> Result<(), Fault> {
        let mut numbers = Sequence::default();
        for number in &self.read {
            // A sequence begins with 1; one from before the first is 0, and comes again.
            numbers.receive((number + 1).saturating_sub(first) as u64);
        }
        let all = (count - first) as u64;
        if numbers.is_whole() && numbers.highest() == all {
            return Ok(());
        }
        let is_short = numbers.is_whole() && numbers.highest() < all;
        numbers.end_at(all);
        let Sequence { gaps, duplicates, out_of_order, .. } = numbers;
        let at = self.read.iter().zip(first..).take_while(|(read, it)| *read == it).count();
        let from = at.saturating_sub(1);
        let read = &self.read[from..self.read.len().min(from + 6)];
        let gap = match &self.gap {
            Some(words) => format!("; a stream said: {words}"),
            None => String::new(),
        };
        let actual = format!(
            "{} texts: {gaps} lost, {duplicates} doubled, {out_of_order} out of order; from the {}. on they are {read:?}\
             {gap}",
            self.read.len(),
            from + 1,
        );
        let fault = miss(format!("the texts {first} to {} once each, in order", count - 1), actual);
        // Texts that are lacking at the end may only be late.
        Err(if is_short { fault.too_slow(self.patience) } else { fault })
    }

    /// The word of a gap, if there was one.
    pub(super) fn gap(&self) -> Option<&str> {
        self.gap.as_deref()
    }
}

/// Publishes texts from this number on, at a pace, as long as the body runs with the reader; what came of it, and
/// the number behind the last text.
pub(super) fn beside_publisher<'t, T>(
    mut publisher: Publisher<'_>,
    first: usize,
    reader: Reader<'t>,
    body: impl FnOnce(Reader<'t>) -> Result<T, Fault>,
) -> Result<(T, usize), Fault> {
    let is_over = AtomicBool::new(false);
    let (texts, highest) = (reader.texts, Arc::clone(&reader.highest));
    let (done, published) = thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let (start, mut number) = (Instant::now(), first);
            while !is_over.load(Ordering::Relaxed) && number < first + MOST {
                // A reader that this host holds up must not lose what the nodes no longer keep.
                if number > highest.load(Ordering::Relaxed) + AHEAD {
                    thread::sleep(PACE);
                    continue;
                }
                publisher.say(&texts.text(number))?;
                number += 1;
                // The pace is the case's input, not a wait for something to have happened.
                let due = start + PACE * u32::try_from(number - first).unwrap_or(u32::MAX);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok::<_, Fault>(number)
        });
        let done = body(reader);
        is_over.store(true, Ordering::Relaxed);
        (done, publishing.join().expect("nothing here panics"))
    });
    Ok((done?, published?))
}
