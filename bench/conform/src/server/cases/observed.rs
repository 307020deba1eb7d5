//! Category 5 on the stream as it is: what can be told of its timing without a word of ours in it.

use std::time::{Duration, Instant};

use wire::{Error, EventStream};

use crate::expect::{fact, miss, noted};
use crate::server::coded::Coded;
use crate::server::room::{Room, not_stayed, refused, word};
use crate::server::{Fault, Outcome, Target};

/// S5.01: a head this long before the first event was not held back for it.
const HEAD_AHEAD: Duration = Duration::from_millis(500);
/// Bytes that come within this time of each other left the server together, or as good as.
const TOGETHER: Duration = Duration::from_millis(20);
/// S5.01 asks so many times: a head that comes with the first event does so each time.
const HEADS: usize = 3;
/// S5.02 looks at events of so many moments, at so many at most, or at those within the patience.
const RHYTHM: usize = 6;
const EVENTS: usize = 1000;
/// S5.02: clumps less far apart are the rhythm of a busy stream.
const APART: Duration = Duration::from_millis(500);
/// S5.04: the events that the plain stream has while the other one has none.
const PLAIN_EVENTS: usize = 3;
/// S5.04: by so much a compressed event may be later.
const CODED_LATE: Duration = Duration::from_secs(1);
/// S5.05: HTML 9.2.7 advises a comment every 15 s or so; proxies cut after 30 s or 60 s.
const REST: Duration = Duration::from_secs(20);
/// S5.05: a silence longer than that by less than this may be a heartbeat of 20 s that was measured.
const REST_SLACK: Duration = Duration::from_secs(1);
/// S5.05 watches a rest longer than that, by a little, and a stream that speaks now and then no longer
/// than this.
const WATCH: Duration = Duration::from_secs(22);
const LONGEST_WATCH: Duration = Duration::from_secs(27);
/// S5.08: a rest is at least this part of the time that it watches.
const LEAST_REST: u32 = 4;
/// S5.05: a stream that spoke so often, at moments apart, does not rest.
const MOMENTS: usize = 5;

/// S5.01: if the first event comes later, the head was not waiting for it. A head that comes late and with
/// the first event is held back if the next event takes as long: else the server may just be slow to answer.
pub(super) fn early_head(target: &Target) -> Outcome {
    let _turn = target.room().map(Room::turn);
    let _silence = target.silence();
    if let Some(room) = target.room().filter(|_| target.has_head_with_an_event()) {
        return head_with_a_text(target, room);
    }
    let ahead_by = target.scaled(HEAD_AHEAD);
    let mut late = Vec::new();
    for _ in 0..HEADS {
        let asked = Instant::now();
        let mut stream = target.stream_by_itself().map_err(no_head)?;
        let head = asked.elapsed();
        // Nothing in this time is what is hoped for. A head that is late may have waited for a comment.
        let is_late = head >= ahead_by;
        let what = if is_late { "more" } else { "event" };
        let together = target.scaled(TOGETHER);
        let first = match is_late {
            true => piece_after(&mut stream)?,
            false => event_after(&mut stream)?,
        };
        let numbers = format!("head after {} ms, {what} {} ms later", ms(head), ms(first));
        if first >= ahead_by {
            target.log().watched(ahead_by);
            return fact(numbers);
        }
        if !is_late || first > together {
            if is_late && first <= together * 3 {
                // A host that is late by this has parted what came together.
                target.log().watched(together * 2);
            }
            let words = format!("the first event follows the head ({numbers})");
            return Err(Fault::Skip(words));
        }
        if target.is_queue() {
            let words = format!("the server may have been busy with another stream ({numbers})");
            return Err(Fault::Skip(words));
        }
        // An event may be several writes.
        let start = Instant::now();
        while piece_after(&mut stream)? <= together && start.elapsed() < target.patience() {}
        let second = start.elapsed();
        let is_as_late = head.abs_diff(second) < second / 4;
        let numbers = format!("{numbers}, the next one {} ms later", ms(second));
        if !is_as_late {
            // A host that is late by half of this explains the difference.
            target.log().watched(second / 4);
            return noted(format!("slow to answer, or held back: {numbers}"));
        }
        late.push(numbers);
    }
    let actual = format!("each time with the first event: {}", late.join("; "));
    Err(miss("the head at once", actual).too_slow(ahead_by))
}

/// The head is known to come with a text: how long without, how soon with one.
fn head_with_a_text(target: &Target, room: &Room) -> Outcome {
    let mut connection = target.connect()?;
    connection.send(&target.get(target.path()).to_bytes())?;
    let asked = Instant::now();
    match connection.read_head() {
        Err(Error::Timeout { .. }) => {}
        Ok(head) => {
            let words = format!("{} after {} ms this time", head.summary(), ms(asked.elapsed()));
            return Err(Fault::Skip(words));
        }
        Err(error) => return Err(error.into()),
    }
    let silence = asked.elapsed();
    let published = Instant::now();
    room.publisher(target).say(&word())?;
    let after = match connection.read_head() {
        Ok(_) => format!("it came {} ms after a text was published", ms(published.elapsed())),
        Err(error) => format!("after a text was published: {error}"),
    };
    let actual = format!("no head within {} ms of silence; {after}", ms(silence));
    Err(miss("the head at once", actual).too_slow(target.patience()))
}

/// Why a stream was not opened: a head that does not come is a failure here, and another answer is the
/// subject of S1.01 and S1.02.
pub(super) fn no_head(error: Error) -> Fault {
    match error {
        Error::Timeout { patience, .. } | Error::LateHead { patience, is_busy: false } => {
            miss("the head at once", error.to_string()).too_slow(patience)
        }
        Error::NotAStream { .. } => Fault::Skip(format!("no stream: {error}")),
        error => error.into(),
    }
}

/// How long the next event takes: the patience if it does not come.
fn event_after(stream: &mut EventStream) -> Result<Duration, Fault> {
    time_until(stream, EventStream::next_event)
}

/// The same for anything, a comment too.
fn piece_after(stream: &mut EventStream) -> Result<Duration, Fault> {
    time_until(stream, EventStream::next_piece)
}

fn time_until<T>(
    stream: &mut EventStream,
    next: impl Fn(&mut EventStream) -> wire::Result<Option<T>>,
) -> Result<Duration, Fault> {
    let start = Instant::now();
    match next(stream) {
        Ok(Some(_)) => Ok(start.elapsed()),
        Ok(None) => Err(Fault::Skip("the stream ended".to_owned())),
        Err(Error::Timeout { patience, .. }) => Ok(patience),
        Err(error) => Err(not_stayed(error)),
    }
}

fn ms(time: Duration) -> u128 {
    time.as_millis()
}

/// S5.02: whether events come one by one or in clumps. A purpose cannot be seen.
pub(super) fn rhythm(target: &Target) -> Outcome {
    let mut stream = target.stream()?;
    let start = Instant::now();
    let mut moments: Vec<(Duration, usize)> = Vec::new();
    let mut events = 0;
    while events < EVENTS && moments.len() < RHYTHM {
        stream.set_patience(target.patience().saturating_sub(start.elapsed()));
        match stream.next_event() {
            Ok(Some(_)) => {}
            Ok(None) | Err(Error::Timeout { .. }) => break,
            Err(error) => return Err(not_stayed(error)),
        }
        events += 1;
        let at = start.elapsed();
        match moments.last_mut() {
            Some((last, count)) if at.saturating_sub(*last) <= target.scaled(TOGETHER) => {
                (*last, *count) = (at, *count + 1);
            }
            _ => moments.push((at, 1)),
        }
    }
    // The first events of a stream may be its past.
    let later = moments.get(1..).unwrap_or_default();
    if later.len() < 2 {
        return Err(Fault::Skip(format!(
            "{events} events at {} moments show no rhythm; --publish tests it with texts of its own",
            moments.len()
        )));
    }
    let gaps: Vec<_> = moments.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0)).collect();
    let shortest = gaps.iter().min().copied().unwrap_or_default();
    let counts: Vec<_> = later.iter().map(|(_, count)| count.to_string()).collect();
    let numbers = format!(
        "{} events at a time, at least {} ms apart",
        counts.join(", "),
        shortest.as_millis()
    );
    let is_clumped = later.iter().all(|(_, count)| *count > 1) && shortest >= target.scaled(APART);
    noted(match is_clumped {
        true => format!(
            "in clumps: {numbers}; on purpose, or a layer holds events back (--publish tells)"
        ),
        false => format!("one by one: {numbers}"),
    })
}

/// S5.04: the same stream without and with gzip. The compressed one fails only if it has nothing while
/// the plain one speaks beside it, and had nothing alone before.
pub(super) fn gzip(target: &Target) -> Outcome {
    let asked = Instant::now();
    let mut plain = target.stream()?;
    events_of(&mut plain, PLAIN_EVENTS)?;
    let took = asked.elapsed();
    drop(plain);
    let limit = took + target.scaled(CODED_LATE);
    let asked = Instant::now();
    let mut alone = Coded::open(target).map_err(refused)?;
    let coding = if alone.is_compressed() { "gzip" } else { "not compressed" };
    if alone.event_with("", limit).map_err(not_stayed)? {
        return fact(format!(
            "the first event after {} ms ({coding})",
            asked.elapsed().as_millis()
        ));
    }
    if !alone.is_compressed() {
        return Err(Fault::Skip("not compressed, and no event came in this time".to_owned()));
    }
    let (received, decoded) = (alone.received, alone.decoded);
    drop(alone);
    // The source may have paused. So once more, beside a stream that speaks.
    let mut coded = Coded::open(target).map_err(refused)?;
    let mut plain = target.stream().map_err(refused)?;
    let asked = Instant::now();
    events_of(&mut plain, PLAIN_EVENTS)?;
    let beside = asked.elapsed();
    if coded.event_with("", target.scaled(CODED_LATE)).map_err(not_stayed)? {
        return Err(Fault::Skip("the stream paused: it cannot be compared".to_owned()));
    }
    let actual = format!(
        "none: {received} bytes of gzip in {} ms, from which {decoded} bytes can be decoded; without \
         gzip {PLAIN_EVENTS} events in {} ms, and once more beside it in {} ms",
        limit.as_millis(),
        took.as_millis(),
        beside.as_millis()
    );
    let expected = "an event that can be decoded, as soon as without gzip";
    Err(miss(expected, actual).too_slow(target.scaled(CODED_LATE)))
}

/// So many events, or a skip: a stream that rests cannot be compared.
fn events_of(stream: &mut EventStream, count: usize) -> Result<(), Fault> {
    match stream.take(count) {
        Ok(_) => Ok(()),
        Err(Error::Timeout { patience, .. }) => Err(Fault::Skip(format!(
            "fewer than {count} events within {} ms; --publish tests it with texts of its own",
            patience.as_millis()
        ))),
        Err(error) if error.is_end() => {
            Err(Fault::Skip(format!("the stream ended before it had said {count} events")))
        }
        Err(error) => Err(error.into()),
    }
}

/// S5.08: a stream that is cut off while it rests has lost its client's next event. An end that is whole may be
/// meant. That it still delivers is seen by anything that it says late.
pub(super) fn long_idle(target: &Target, idle: Duration) -> Outcome {
    let mut stream = target.stream()?;
    let start = Instant::now();
    let (mut last_event, mut last_byte) = (Duration::ZERO, Duration::ZERO);
    let end = loop {
        let now = start.elapsed();
        if now >= idle {
            break Ok(true);
        }
        stream.set_patience(idle - now);
        match stream.next_piece() {
            Ok(Some(_)) => last_byte = start.elapsed(),
            Ok(None) => break Ok(false),
            Err(Error::Timeout { .. }) => break Ok(true),
            Err(error) if error.is_end() => break Err(error),
            Err(error) => return Err(error.into()),
        }
        while stream.has_event() {
            stream.next_event()?;
            last_event = last_byte;
        }
    };
    let at = start.elapsed();
    let rest = at.saturating_sub(last_event);
    if rest < idle / LEAST_REST {
        let words = format!("the stream did not rest: its last event was {} ms ago", ms(rest));
        return Err(Fault::Skip(words));
    }
    let numbers = format!("after {} ms, {} ms after its last event", ms(at), ms(rest));
    match end {
        Err(error) => Err(miss("a stream that stays open", format!("{error}, {numbers}"))),
        Ok(false) => noted(format!("it ended whole {numbers}")),
        Ok(true) if rest < idle / 2 => Err(Fault::Skip(format!("it rested too little: {numbers}"))),
        Ok(true) if last_byte < idle / 2 => noted(format!("open and silent {numbers}")),
        Ok(true) => fact(format!("open, and a comment came, {numbers}")),
    }
}

/// S5.05: a stream that rests for 20 s has to say something meanwhile; one that never rests says nothing
/// about it.
pub(super) fn heartbeat(target: &Target) -> Outcome {
    let _turn = target.room().map(Room::turn);
    let mut stream = target.stream()?;
    let _silence = target.silence();
    let (limit, longest_watch) = (target.scaled(REST), target.scaled(LONGEST_WATCH));
    // The kernel's timers are late by up to a tenth, so the clock decides, whatever ended the silence.
    let too_long = limit + target.scaled(REST_SLACK);
    let start = Instant::now();
    let (mut longest, mut last_event, mut moments) = (Duration::ZERO, Duration::ZERO, 0);
    loop {
        // A rest is seen to its end, and a little longer than it may be silent.
        let end = (last_event + target.scaled(WATCH)).min(longest_watch);
        let before = start.elapsed();
        if before >= end {
            break;
        }
        stream.set_patience((end - before).min(too_long));
        let piece = stream.next_piece();
        let now = start.elapsed();
        longest = longest.max(now - before);
        match piece {
            Ok(Some(_)) | Err(Error::Timeout { .. }) if now - before > too_long => {
                let actual = format!("silence for {} ms", (now - before).as_millis());
                let fault = miss("a comment, or anything, within 20 s of rest", actual);
                return Err(fault.too_slow(limit / 4));
            }
            Ok(Some(_)) if stream.has_event() => {
                while stream.has_event() {
                    stream.next_event()?;
                }
                moments += usize::from(now - last_event > target.scaled(APART));
                last_event = now;
            }
            Ok(Some(_)) | Err(Error::Timeout { .. }) => {}
            Ok(None) => return Err(Fault::Skip("the stream ended before it rested".to_owned())),
            Err(error) => return Err(not_stayed(error)),
        }
        if moments >= MOMENTS && now < limit / 2 {
            break;
        }
    }
    if start.elapsed().saturating_sub(last_event) < too_long {
        return Err(Fault::Skip(format!(
            "the stream never rested for {} s; give the URL of one that does",
            limit.as_secs()
        )));
    }
    fact(format!("at rest, silent for {} ms at most", longest.as_millis()))
}
