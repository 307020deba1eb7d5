//! Categories 5 and 6 in the author's own room: when texts arrive that are published there, and in which
//! order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wire::{Error, Event, EventStream};

use crate::expect::{ensure, equal, fact, in_time, miss, miss_should, noted, within_plain};
use crate::host;
use crate::server::coded::Coded;
use crate::server::room::{Room, not_stayed, read_until, refused, word};
use crate::server::{Fault, Outcome, Target};

/// S5.02: the texts, and the time between two of them: more on a busy host, up to the widest.
const TEXTS: usize = 5;
const APART: Duration = Duration::from_millis(500);
const WIDEST_APART: Duration = Duration::from_secs(2);
/// Events that come within this time of each other come together.
const TOGETHER: Duration = Duration::from_millis(30);
/// S5.03: the texts without a pause, fewer where each is a process.
const BURST_TEXTS: usize = 100;
const BURST_CALLS: usize = 20;
const BURST: Duration = Duration::from_secs(2);
/// S5.04: the texts, one of which has to come through.
const CODED_TEXTS: usize = 3;
/// S6.03: how often it reconnects, and the pace of its texts.
const RECONNECTS: usize = 8;
const SEAM_PACE: Duration = Duration::from_millis(5);
const SEAM_TEXTS: usize = 400;
/// S6.03: texts that a room may have to keep for a reader that comes back: some keep no more than ten.
const SEAM_AHEAD: usize = 8;

/// S5.02: texts that are published apart from each other arrive apart. A constant delay is not held
/// against the server, nor is one event for several texts: that is on purpose.
pub(super) fn apart(target: &Target, room: &Room) -> Outcome {
    // A text that waits for the next one must not look like a host that was late.
    let pace = target.scaled(host::widened(APART, WIDEST_APART));
    if let Some(words) = room.held() {
        return Err(miss("each text before the next one is published", words).too_slow(pace));
    }
    let mut session = room.enter(target)?;
    let words: Vec<String> = (0..TEXTS).map(|_| word()).collect();
    let (mut published, mut arrived) = (Vec::new(), vec![None; TEXTS]);
    let start = Instant::now();
    for text in &words {
        let from = start.elapsed();
        session.publisher.say(text)?;
        published.push((from, start.elapsed()));
        listen(&mut session.stream, &words, &mut arrived, start, pace)?;
    }
    // A text that is still missing may be held until something else comes.
    if arrived.contains(&None) {
        listen(&mut session.stream, &words, &mut arrived, start, target.patience())?;
    }
    judge_arrivals(&published, &arrived, pace, target)
}

/// When a text arrived, and in the how many-th event.
type Arrival = Option<(Duration, usize)>;

/// Reads for this long, and notes which texts arrive.
fn listen(
    stream: &mut EventStream,
    words: &[String],
    arrived: &mut [Arrival],
    start: Instant,
    length: Duration,
) -> Result<(), Fault> {
    let due = Instant::now() + length;
    let mut number = arrived.iter().flatten().map(|(_, number)| number + 1).max().unwrap_or(0);
    loop {
        stream.set_patience(due.saturating_duration_since(Instant::now()));
        match stream.next_event() {
            Ok(Some(event)) => {
                for (word, arrival) in words.iter().zip(arrived.iter_mut()) {
                    if event.data.contains(word.as_str()) {
                        arrival.get_or_insert((start.elapsed(), number));
                    }
                }
                number += 1;
            }
            Ok(None) => return Err(Fault::Skip("the stream ended".to_owned())),
            Err(Error::Timeout { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // The rest of the pace is the case's input: the next text is due then, not before.
    }
}

/// `published` is when the publishing of each text began and ended.
fn judge_arrivals(
    published: &[(Duration, Duration)],
    arrived: &[Arrival],
    pace: Duration,
    target: &Target,
) -> Outcome {
    let late = |((from, _), arrival): (&(Duration, Duration), &Arrival)| {
        arrival.map(|(at, _)| at.saturating_sub(*from))
    };
    let delays: Vec<_> = published.iter().zip(arrived).map(late).collect();
    let word = |delay: &Option<Duration>| match delay {
        Some(delay) => format!("{} ms", delay.as_millis()),
        None => "never".to_owned(),
    };
    let words: Vec<_> = delays.iter().map(word).collect();
    let numbers =
        format!("published {} ms apart, they arrived after {}", pace.as_millis(), words.join(", "));
    if delays.iter().all(|delay| delay.is_some_and(|delay| delay < pace)) {
        let slowest = delays.iter().flatten().max().copied().unwrap_or_default();
        within_plain(slowest, target.scaled(APART))?;
        return fact(numbers);
    }
    let known: Vec<_> = arrived.iter().flatten().collect();
    if known.windows(2).any(|pair| pair[0].1 == pair[1].1) {
        return noted(format!("several texts come in one event, on purpose: {numbers}"));
    }
    let is_close = |pair: &&[&(Duration, usize)]| pair[1].0.saturating_sub(pair[0].0) < TOGETHER;
    let together = known.windows(2).filter(is_close).count();
    // A text that comes when the next one is published waits for it; the last one has none.
    let waits = |(arrival, next): &(&Arrival, &(Duration, Duration))| {
        arrival.is_some_and(|(at, _)| at >= next.0 && at < next.1 + TOGETHER)
    };
    let waiting = arrived.iter().zip(&published[1..]).filter(waits).count();
    if together >= 2 || waiting + 1 >= published.len() || known.is_empty() {
        return Err(miss("each text before the next one is published", numbers).too_slow(pace));
    }
    // On a host that is late by this, a text that waits for the next one looks the same.
    target.log().watched(target.scaled(TOGETHER) * 2);
    noted(format!("late, but each by itself: {numbers}"))
}

/// S5.03: texts without a pause arrive in order and soon.
pub(super) fn burst(target: &Target, room: &Room) -> Outcome {
    let mut session = room.enter(target)?.prompt()?;
    let words = texts(room);
    words.iter().try_for_each(|word| session.publisher.say(word))?;
    let start = Instant::now();
    let limit = target.scaled(BURST).max(target.patience());
    let mut seen = order_on(target, &mut session.stream, &words, limit)?;
    if seen.len() < words.len() {
        // Late, or never: a limit or a filter leaves out what it likes.
        let left: Vec<_> = words[seen.last().map_or(0, |n| n + 1)..].to_vec();
        let later = order_on(target, &mut session.stream, &left, target.patience())?;
        let before = words.len() - left.len();
        seen.extend(later.iter().map(|n| n + before));
    }
    let took = start.elapsed();
    in_order(&words, &seen)?;
    let limit = target.scaled(BURST);
    let numbers = format!(
        "{} texts, the last one {} ms after it was published",
        words.len(),
        took.as_millis()
    );
    in_time(took, limit, format!("all within {} ms", limit.as_millis()), &numbers)?;
    fact(numbers)
}

/// S5.04: a text that comes through at once comes through at once for a client that takes gzip.
pub(super) fn gzip(target: &Target, room: &Room) -> Outcome {
    let mut session = room.enter(target)?;
    let mut coded = Coded::open(target).map_err(refused)?;
    let mut soonest = Duration::MAX;
    for _ in 0..CODED_TEXTS {
        let text = word();
        let asked = Instant::now();
        session.publisher.say(&text)?;
        read_until(&mut session.stream, &text, target.patience())
            .map_err(|error| Fault::Skip(format!("without gzip, too: {error}")))?;
        soonest = soonest.min(asked.elapsed());
        if coded.event_with(&text, target.patience() / 2).map_err(not_stayed)? {
            let coding = if coded.is_compressed() { "gzip" } else { "not compressed" };
            return fact(format!("after {} ms ({coding})", asked.elapsed().as_millis()));
        }
    }
    let actual = format!(
        "none of {CODED_TEXTS} texts: {} bytes, from which {} bytes can be decoded; without gzip the \
         first was there after {} ms",
        coded.received,
        coded.decoded,
        soonest.as_millis()
    );
    let expected = "the text, as soon as without gzip";
    Err(miss(expected, actual).too_slow(target.patience() / 2))
}

/// S5.08: a room that was quiet for long still delivers.
pub(super) fn long_idle(target: &Target, room: &Room, idle: Duration) -> Outcome {
    // The turn is given back meanwhile: other cases speak. Their texts break no silence of this one's.
    let mut session = room.enter(target)?;
    if !session.stream.watch_on(idle)? {
        return Err(miss("a stream that stays open", "it ended"));
    }
    let text = word();
    session.publisher.say(&text)?;
    let found = read_until(&mut session.stream, &text, target.patience());
    found.map_err(|error| Fault::instead_of("the text that was published then", &error))?;
    fact(format!("{} ms before the text", idle.as_millis()))
}

/// S6.03: reconnecting while texts are published loses none and repeats none. Only where S6.01 has seen
/// that the stream resumes.
pub(super) fn seam(target: &Target, room: &Room) -> Outcome {
    super::resumed::no_repetition(target)
        .map_err(|_| Fault::Skip("the stream does not resume (S6.01, S6.02)".to_owned()))?;
    let mut session = room.enter(target)?.prompt()?;
    let name = word();
    let text = |number: usize| format!("{name}-{number}.");
    session.publisher.say(&text(0))?;
    let first = read_until(&mut session.stream, &text(0), target.patience())?;
    let mut id = first.last().map(|event| event.id.clone()).unwrap_or_default();
    if id.is_empty() {
        return Err(Fault::Skip("the events have no ids".to_owned()));
    }
    let (done, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
    let read = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_until(room, target, &text, &done, &taken));
        let read = (0..RECONNECTS).try_fold(Vec::new(), |mut numbers, round| {
            let request = target.get(target.path()).header("Last-Event-ID", &id);
            let mut stream = target.open(&request).map_err(refused)?;
            for _ in 0..=round % 4 {
                let found = read_until(&mut stream, &name, target.patience());
                let event = found.map_err(Fault::from)?.pop();
                let event = event.ok_or_else(|| Fault::Harness("no event".to_owned()))?;
                let number = number_in(&event, &name);
                taken.fetch_max(number.unwrap_or_default(), Ordering::Relaxed);
                numbers.push(number);
                id = event.id;
            }
            Ok::<_, Fault>(numbers)
        });
        done.store(true, Ordering::Relaxed);
        publisher.join().expect("the publisher has nothing that panics")?;
        read
    })?;
    let expected: Vec<_> = (1..=read.len()).map(Some).collect();
    ensure(read == expected, format!("1 to {}", read.len()), format!("{read:?}"))
        .map_err(lenient)?;
    fact(format!("{} texts read over {RECONNECTS} connections", read.len()))
}

fn publish_until(
    room: &Room,
    target: &Target,
    text: &(dyn Fn(usize) -> String + Sync),
    done: &AtomicBool,
    taken: &AtomicUsize,
) -> Result<(), Fault> {
    let mut publisher = room.publisher(target);
    let start = Instant::now();
    for number in 1..=SEAM_TEXTS {
        let is_done = || done.load(Ordering::Relaxed);
        // A reader that this host holds up must not lose what the room no longer keeps.
        while !is_done() && number > taken.load(Ordering::Relaxed) + SEAM_AHEAD {
            thread::sleep(SEAM_PACE);
        }
        if is_done() {
            break;
        }
        publisher.say(&text(number))?;
        // The pace is the case's input, not a wait for something to have happened.
        let due = start + SEAM_PACE * u32::try_from(number).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// The number in the text `name-7.`, wherever it is in the data.
pub(super) fn number_in(event: &Event, name: &str) -> Option<usize> {
    let (_, rest) = event.data.split_once(name)?;
    rest.strip_prefix('-')?.split_once('.')?.0.parse().ok()
}

/// One-word texts for a burst.
fn texts(room: &Room) -> Vec<String> {
    let count = if room.is_by_command() { BURST_CALLS } else { BURST_TEXTS };
    (0..count).map(|_| word()).collect()
}

/// Which of these texts the stream has, in its order, until it has all or the time is over.
pub(super) fn order_on(
    target: &Target,
    stream: &mut EventStream,
    words: &[String],
    within: Duration,
) -> Result<Vec<usize>, Fault> {
    let due = Instant::now() + within;
    let mut seen = Vec::new();
    while seen.len() < words.len() {
        stream.set_patience(due.saturating_duration_since(Instant::now()));
        match stream.next_event() {
            Ok(Some(event)) => {
                let at = |(n, word): (usize, &String)| Some((event.data.find(word.as_str())?, n));
                let mut found: Vec<_> = words.iter().enumerate().filter_map(at).collect();
                found.sort_unstable();
                seen.extend(found.into_iter().map(|(_, n)| n));
            }
            Ok(None) => return Err(miss("a stream that stays open", "it ended")),
            Err(Error::Timeout { .. }) => {
                target.log().waited_in_vain(within);
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    stream.set_patience(within);
    Ok(seen)
}

/// All texts, in order. A room that leaves out some, or what a later text replaces, may do so on purpose.
fn in_order(words: &[String], seen: &[usize]) -> Result<(), Fault> {
    if seen.is_sorted() && seen.len() < words.len() {
        let words = format!(
            "{} of {} texts came, in order: a limit or a filter, on purpose, or a queue that drops",
            seen.len(),
            words.len()
        );
        return Err(Fault::Skip(words));
    }
    let all: Vec<_> = (0..words.len()).collect();
    equal("the numbers of the texts", seen, all.as_slice()).map_err(lenient)
}

/// A failure of a recommendation: the room is not of our contract.
pub(super) fn lenient(fault: Fault) -> Fault {
    match fault {
        Fault::Miss { expected, actual, .. } => miss_should(expected, actual),
        fault => fault,
    }
}
