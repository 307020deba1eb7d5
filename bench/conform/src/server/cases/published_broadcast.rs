//! Category 7 in the author's own room: on which streams texts arrive that are published there.

use std::thread;
use std::time::{Duration, Instant};

use wire::{Error, EventStream};

use super::published_flow::{lenient, order_on};
use crate::expect::{ensure, equal, fact, in_time, miss, miss_should, noted};
use crate::server::grammar::has_own_word;
use crate::server::room::{
    Answer, GREETINGS, Joined, Publisher, Room, Session, not_stayed, read_until, refused, word,
};
use crate::server::{Fault, Outcome, Target};

/// S7.01: the texts on two streams, and how many may be missing before the rest is left out.
const TEXTS_TO_TWO: usize = 20;
const MOST_MISSING: usize = 3;
/// S7.01: the texts that a stream has to be without before it counts as deaf.
const TEXTS_TO_DEAF: usize = 8;
/// S7.04.
const PUBLISHERS: usize = 4;
const TEXTS_EACH: usize = 10;
/// S7.05: the streams, and how long they may take to open.
const STREAMS: usize = 1000;
const OPENING: Duration = Duration::from_secs(8);
/// The streams that are enough where opening takes longer.
const LEAST_STREAMS: usize = 200;
const TEXTS_TO_ALL: usize = 5;
/// The least time for what a stream has already, and how many streams are named that lack a text.
const LOOK: Duration = Duration::from_millis(2);
const SHOWN: usize = 5;
/// S7.06: the bytes of a text, how many there are beside a reader that does not read, and without.
const LARGE_BYTES: usize = 48 * 1024;
const NEIGHBOUR_LIMIT: Duration = Duration::from_millis(500);
const WITHOUT: usize = 20;

/// S7.01: each of two streams has each text, in the same order. The next text is published when the one
/// before has come, so that a room that leaves out what is replaced has no reason to. A queue, in which each
/// text goes to one reader, is another kind of room.
pub(super) fn two_equal(target: &Target, room: &Room) -> Outcome {
    let Joined { mut session, hears } = room.join(target)?;
    let mut other = target.stream().map_err(refused)?;
    let publisher = &mut session.publisher;
    match (hears, publisher.greeted(&mut other)?.is_some()) {
        (true, true) => {}
        (true, false) => return Err(deaf(target, publisher, &mut other, &mut session.stream)),
        (false, true) => return Err(deaf(target, publisher, &mut session.stream, &mut other)),
        // Lost for everyone: a filter or a limit does that on purpose.
        (false, false) => {
            return noted(format!(
                "{} texts were taken, and neither of two open streams had one, though the first text of the \
                 run came: a filter, a limit, a moderator, or they are lost",
                GREETINGS * 2
            ));
        }
    }
    let mut session = session.prompt()?;
    let words: Vec<String> = (0..TEXTS_TO_TWO).map(|_| word()).collect();
    // Each waits for both streams: a room that passes on only the newest of several texts is right, too.
    let hears = |stream: &mut EventStream, text: &str| match read_until(
        stream,
        text,
        target.patience() / 2,
    ) {
        Ok(_) => Ok(true),
        Err(Error::Timeout { .. }) => {
            target.log().waited_in_vain(target.patience() / 2);
            Ok(false)
        }
        Err(error) => Err(not_stayed(error)),
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for (n, text) in words.iter().enumerate() {
        session.publisher.say(text)?;
        one.extend(hears(&mut session.stream, text)?.then_some(n));
        two.extend(hears(&mut other, text)?.then_some(n));
        if n >= one.len().min(two.len()) + MOST_MISSING {
            break;
        }
    }
    let is_shared = one.iter().any(|n| two.contains(n));
    if !is_shared && !one.is_empty() && !two.is_empty() {
        let words = "each text goes to one of the streams: a queue, not a room";
        return Err(Fault::Skip(words.to_owned()));
    }
    let all: Vec<_> = (0..words.len()).collect();
    if one == two && one != all {
        // Lost for everyone: a filter or a limit does that on purpose.
        return noted(format!("{} texts on both streams, the same ones: {one:?}", one.len()));
    }
    equal("the texts on one stream", &one, &all).map_err(lenient)?;
    equal("the texts on the other stream", &two, &all).map_err(lenient)?;
    fact(format!("{} texts on both", words.len()))
}

/// S7.01 where one stream has no text at all that another has.
fn deaf(
    target: &Target,
    publisher: &mut Publisher<'_>,
    stream: &mut EventStream,
    other: &mut EventStream,
) -> Fault {
    let words: Vec<String> = (0..TEXTS_TO_DEAF).map(|_| word()).collect();
    let within = target.patience() / 2;
    for text in &words {
        let heard =
            publisher.say(text).and_then(|()| read_until(other, text, within).map_err(Fault::from));
        if heard.is_err() {
            return Fault::Skip("no stream has each text: they are lost for everyone".to_owned());
        }
    }
    if let Err(fault) = order_on(target, stream, &words, within) {
        return fault;
    }
    let count = words.len();
    if has_own_word(stream.raw()) {
        return Fault::Skip(format!("of two streams one had all of {count} texts, the other some"));
    }
    let actual =
        format!("all of {count} texts on one stream, and none on another that is open as well");
    miss_should("each text on each open stream", actual).too_slow(within)
}

/// S7.04: what each of several publishers says arrives in the order in which it said it.
pub(super) fn publisher_order(target: &Target, room: &Room) -> Outcome {
    let mut session = room.enter(target)?.prompt()?;
    let name = word();
    let name = name.as_str();
    let words: Vec<Vec<String>> = (0..PUBLISHERS)
        .map(|p| (0..TEXTS_EACH).map(|n| format!("{name}-{p}-{n}.")).collect())
        .collect();
    thread::scope(|scope| {
        let publishers: Vec<_> = words
            .iter()
            .map(|texts| {
                scope.spawn(|| {
                    let mut publisher = room.publisher(target);
                    texts.iter().try_for_each(|text| publisher.say(text))
                })
            })
            .collect();
        publishers.into_iter().try_for_each(|it| it.join().expect("nothing here panics"))
    })?;
    let all: Vec<_> = words.iter().flatten().cloned().collect();
    let seen = order_on(target, &mut session.stream, &all, target.patience())?;
    if seen.len() < all.len() {
        let words = format!("{} of {} texts came: their order says little", seen.len(), all.len());
        return Err(Fault::Skip(words));
    }
    for (p, texts) in words.iter().enumerate() {
        let of_one = seen.iter().filter(|at| *at / TEXTS_EACH == p).map(|at| at % TEXTS_EACH);
        let numbers: Vec<_> = of_one.collect();
        ensure(
            numbers.is_sorted_by(|one, next| one < next),
            format!("the texts of publisher {p} in order: 0 to {}", texts.len() - 1),
            format!("{numbers:?}"),
        )
        .map_err(lenient)?;
    }
    fact(format!("{} texts of {PUBLISHERS} publishers", seen.len()))
}

/// S7.05.
pub(super) fn thousand(target: &Target, room: &Room) -> Outcome {
    let _ = fleet::raise_fd_limit();
    let mut session = room.enter(target)?;
    let start = Instant::now();
    let mut streams = Vec::new();
    while streams.len() < STREAMS {
        match target.stream() {
            Ok(stream) if start.elapsed() < target.scaled(OPENING) => streams.push(stream),
            Ok(_) if streams.len() >= LEAST_STREAMS => break,
            Ok(_) => {
                let words =
                    format!("{} streams took {} s", streams.len(), start.elapsed().as_secs());
                return Err(Fault::Skip(words));
            }
            Err(error) => {
                let words = format!("{} streams are served, and then: {error}", streams.len());
                return Err(Fault::Skip(words));
            }
        }
    }
    // A server may subscribe a reader after it has sent the head. A stream that hears nothing at all is found below.
    let mut deaf: Vec<_> = streams.iter_mut().collect();
    for _ in 0..GREETINGS {
        let greeting = word();
        session.publisher.say(&greeting)?;
        let due = Instant::now() + target.patience();
        deaf.retain_mut(|stream| {
            let left = due.saturating_duration_since(Instant::now()).max(LOOK);
            read_until(stream, &greeting, left).is_err()
        });
        if deaf.is_empty() {
            break;
        }
    }
    let words: Vec<String> = (0..TEXTS_TO_ALL).map(|_| word()).collect();
    words.iter().try_for_each(|word| session.publisher.say(word))?;
    let start = Instant::now();
    // All wait for the same texts, so one time is enough for all.
    let due = start + target.patience() * 4;
    let seen: Vec<Result<Vec<usize>, String>> = streams
        .iter_mut()
        .map(|stream| {
            let left = due.saturating_duration_since(Instant::now()).max(LOOK);
            order_on(target, stream, &words, left).map_err(|fault| match fault {
                Fault::Miss { actual, .. } | Fault::Follows { seen: actual, .. } => actual,
                fault => format!("{fault:?}"),
            })
        })
        .collect();
    everywhere(&seen, words.len()).map_err(|fault| fault.too_slow(target.patience() * 4))?;
    fact(format!(
        "{TEXTS_TO_ALL} texts on {} streams within {} ms",
        streams.len(),
        start.elapsed().as_millis()
    ))
}

/// Each stream has all texts in order; else which of them do not, and what they have.
fn everywhere(seen: &[Result<Vec<usize>, String>], texts: usize) -> Result<(), Fault> {
    let all: Vec<_> = (0..texts).collect();
    let is_whole = |it: &Result<Vec<usize>, String>| matches!(it, Ok(seen) if *seen == all);
    let lacking: Vec<_> = seen.iter().enumerate().filter(|(_, it)| !is_whole(it)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    if lacking.len() == seen.len() && seen.windows(2).all(|pair| pair[0] == pair[1]) {
        let words = format!("all streams had the same: {:?}; a filter or a limit", seen[0]);
        return Err(Fault::Skip(words));
    }
    let shown = lacking.iter().take(SHOWN).map(|(n, it)| match it {
        Ok(seen) => format!("stream {n} had {seen:?}"),
        Err(words) => format!("stream {n}: {words}"),
    });
    let shown: Vec<_> = shown.collect();
    let more = lacking.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let whole = seen.len() - lacking.len();
    let actual = format!("{whole} of {} streams had all; {}{more}", seen.len(), shown.join("; "));
    Err(miss_should(format!("the texts {all:?} on each stream"), actual))
}

/// S7.06: a reader that does not read holds up no other.
pub(super) fn slow_neighbour(target: &Target, room: &Room, bytes: usize) -> Outcome {
    let mut session = room.enter(target)?;
    let slowest = |session: &mut Session<'_>, count: usize| -> Result<Duration, Fault> {
        (0..count).try_fold(Duration::ZERO, |slowest, _| Ok(slowest.max(deliver(session)?)))
    };
    let without = slowest(&mut session, WITHOUT)?;
    let request = target.get(target.path());
    let narrow = || EventStream::open(target.connect_narrow()?, &request);
    let _unread = target.asking(&request, narrow).map_err(refused)?;
    let beside = slowest(&mut session, bytes / LARGE_BYTES)?;
    let limit = (without * 3).max(target.scaled(NEIGHBOUR_LIMIT));
    let ms = |time: Duration| time.as_millis();
    let numbers = format!("at most {} ms beside it, {} ms before", ms(beside), ms(without));
    in_time(beside, limit, format!("each within {} ms", ms(limit)), &numbers)?;
    fact(numbers)
}

/// How long a large text takes to its reader.
fn deliver(session: &mut Session<'_>) -> Result<Duration, Fault> {
    let name = word();
    let text = format!("{name}{}", "x".repeat(LARGE_BYTES));
    let start = Instant::now();
    let patience = Duration::from_secs(5);
    match session.publisher.publish(&text)? {
        Answer::Taken => {}
        // A publisher that waits for the slowest reader.
        Answer::Late(words) => return Err(miss("the text is published", words).too_slow(patience)),
        Answer::Refused { words, .. } | Answer::Gone(words) => {
            return Err(Fault::Skip(format!("the server does not take such a text: {words}")));
        }
    }
    read_until(&mut session.stream, &name, patience).map_err(|error| match error {
        Error::Timeout { .. } => miss("the text", error.to_string()).too_slow(patience),
        error => error.into(),
    })?;
    Ok(start.elapsed())
}
