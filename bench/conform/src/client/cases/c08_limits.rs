//! Category 8: large, endless and many; what a client holds and how long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::CASE;
use super::c08_growth::worked;
use crate::client::context::{CaseContext, ClientSession, message, same_events};
use crate::client::driver::{Capability, Options};
use crate::client::reports::ClientReport;
use crate::client::scripted_server::{PendingRequest, WRITE_PATIENCE, chunk};
use crate::client::{Case, Fault};
use crate::expect::{ensure, fact, in_time, miss, pass};
use crate::{Cost, Level, Outcome};

use Capability::Lm;

/// How much an endless line or event goes on for, bytes.
const ENDLESS: usize = 200 * 1024 * 1024;
/// The most that a client may hold while it reads one that does not end, KiB.
const ENDLESS_KIB: u64 = 150 * 1024;
/// One write of a flood.
const WRITE_BYTES: usize = 64 * 1024;
/// Below the 64 KiB that several readers of lines have for a limit: a large line is C8.01's claim.
const LINE_BYTES: usize = 48 * 1024;
/// A client that takes longer for an endless text is not waited for, nor is one that takes nothing more of another
/// flood in this time. The server itself gives up a write sooner.
const FLOOD: Duration = Duration::from_secs(60);
/// How often to look how much a client has worked.
const WORK_LOOK: Duration = Duration::from_millis(100);
/// A client that took nothing for so long has stopped reading.
const STANDSTILL: Duration = Duration::from_secs(2);
const MIB: usize = 1024 * 1024;
const LIMIT_BYTES: usize = 1024;
const EVENTS: usize = 100_000;
const COMMENTS: usize = 1_000_000;
/// The most that the memory may grow by during a flood of comments, KiB.
const FLAT_KIB: u64 = 48 * 1024;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C8.01",
        slug: "big-event",
        level: Level::Should,
        source: "practice: images, models",
        cost: &[Cost::Alone],
        claim: "An event of 1, 5 or 10 MiB arrives, in one chunk and in many.",
        sends: "Events of 1, 5 and 10 MiB.",
        fix: "Let the buffer grow; a default limit below some MiB surprises.",
        run: |context| {
            for (mib, pieces) in [(1, WRITE_BYTES), (1, 16 * MIB), (5, 16 * MIB), (10, WRITE_BYTES)]
            {
                big_event(context, mib * MIB, pieces)?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "C8.02",
        slug: "endless-line",
        level: Level::Should,
        source: "practice: hostile servers",
        cost: &[Cost::Alone],
        claim: "A line of 200 MB without an end takes bounded memory, or is an error.",
        sends: "A line of 200 MB without an end.",
        fix: "Limit what is kept of a line, and fail past it.",
        run: |context| endless(context, b"data: ", &vec![b'x'; WRITE_BYTES]),
        ..CASE
    },
    Case {
        id: "C8.03",
        slug: "endless-event",
        level: Level::Should,
        source: "practice: hostile servers",
        cost: &[Cost::Alone],
        claim: "An event of 200 MB without an end takes bounded memory, or is an error.",
        sends: "Data lines of 200 MB without a blank line.",
        fix: "Limit what is kept of an event, and fail past it.",
        run: |context| {
            let line = [&b"data: "[..], &[b'x'; 1017], b"\n"].concat();
            endless(context, b"", &line.repeat(WRITE_BYTES / line.len()))
        },
        ..CASE
    },
    Case {
        id: "C8.04",
        slug: "limit-option",
        level: Level::Should,
        source: "practice: limits",
        needs: &[Lm],
        claim: "An event as large as the limit arrives; one byte more is an error.",
        sends: "Events of 1024 and of 1025 bytes, the limit being 1024.",
        fix: "Count the bytes of the data, and fail past the limit instead of cutting.",
        run: |context| {
            let limit = Some(LIMIT_BYTES as u64);
            let options = Options { max_event_bytes: limit, ..Options::default() };
            let (mut session, mut stream) = context.asked_with(&options)?;
            stream.open();
            let (fits, exceeds) = ("f".repeat(LIMIT_BYTES), "e".repeat(LIMIT_BYTES + 1));
            stream.chunk(format!("data: {fits}\n\n").as_bytes());
            session.until_data(&fits)?;
            stream.chunk(format!("data: {exceeds}\n\ndata: behind\n\n").as_bytes());
            session.until("an error", ClientSession::is_over)?;
            same_events(&session.events(), &[message(&fits, "")])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C8.05",
        slug: "linear-time",
        level: Level::Should,
        source: "practice: parsers that look again",
        cost: &[Cost::Alone],
        claim: "A line of 48 KiB in chunks of one byte takes less than two seconds of work.",
        sends: "A line of 48 KiB in chunks of one byte.",
        fix: "Do not look again at what was looked at; remember where the search stopped.",
        run: linear_time,
        ..CASE
    },
    Case {
        id: "C8.06",
        slug: "hundred-thousand",
        level: Level::Should,
        source: "practice: rates",
        cost: &[Cost::Alone],
        claim: "A hundred thousand events arrive, all and in order.",
        sends: "A hundred thousand events with ids.",
        fix: "Hand events out one by one, and lose none where the reader is slow.",
        run: hundred_thousand,
        ..CASE
    },
    Case {
        id: "C8.07",
        slug: "comment-flood",
        level: Level::Should,
        source: "practice: keep-alives",
        cost: &[Cost::Alone],
        claim: "A million comments leave nothing behind.",
        sends: "A million comments.",
        fix: "Keep nothing of a comment.",
        run: comment_flood,
        ..CASE
    },
    Case {
        id: "C8.08",
        slug: "slow-consumer",
        level: Level::Info,
        source: "practice: back-pressure",
        cost: &[Cost::Alone],
        claim: "How much a client reads while its user takes no events.",
        sends: "Events of 64 KiB without pause, while the client's user takes none.",
        fix: "Nothing has to change; a bounded queue lets TCP slow the server down.",
        run: slow_consumer,
        ..CASE
    },
];

/// Judged by the client's own CPU time, where that can be known: how long the host lets it wait for a core
/// says nothing about its parser.
fn linear_time(context: &CaseContext) -> Outcome {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    session.until_reading(&mut stream)?;
    let data = "x".repeat(LINE_BYTES);
    let line = format!("data: {data}\n\n");
    let chunks: Vec<u8> = line.bytes().flat_map(|byte| chunk(&[byte])).collect();
    let (began, cpu) = (Instant::now(), session.client.cpu());
    chunks.chunks(WRITE_BYTES).for_each(|it| stream.send(it));
    let sent = Instant::now();
    let (mut used_before, mut moved) = (None, sent);
    let is_it =
        |report: &ClientReport| matches!(report, ClientReport::Event(it) if it.data == data);
    loop {
        let seen = session.next_report(Instant::now() + WORK_LOOK)?;
        if seen.as_ref().is_some_and(|it| ClientSession::is_over(&it.report)) {
            return Err(miss("an event with the whole line", session.reported()));
        }
        let used = worked(&session, cpu);
        let is_there = seen.is_some_and(|it| is_it(&it.report));
        // The time used is judged at once: a quadratic client would go on for minutes.
        // Threads that work side by side use more than the time that it took.
        let used_alone = used.map(|used| used.min(began.elapsed()));
        if let Some(took) = used_alone.or_else(|| is_there.then(|| began.elapsed())) {
            let actual = format!("{:.1} s", took.as_secs_f64());
            in_time(took, context.ms(2000), "at most 2 s", actual)?;
            if is_there {
                return fact(format!("{:.0} ms", took.as_secs_f64() * 1e3));
            }
        }
        // While it works it gets the CPU time that it is allowed, however long that takes here.
        if used != used_before {
            (used_before, moved) = (used, Instant::now());
        }
        if moved.elapsed() > context.patience() || sent.elapsed() > FLOOD {
            let fault = miss("an event with the whole line", session.reported());
            return Err(fault.too_slow(context.patience()));
        }
    }
}

fn big_event(context: &CaseContext, bytes: usize, piece: usize) -> Result<(), Fault> {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    let data: String = (0..bytes).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let text = format!("data: {data}\n\n");
    let sending = thread::spawn(move || {
        text.as_bytes().chunks(piece).for_each(|it| stream.send(&chunk(it)));
        stream
    });
    let what = format!("an event of {bytes} bytes");
    let is_event = |report: &ClientReport| matches!(report, ClientReport::Event(_));
    let seen = session.until_within(context.patience() * 4, &what, |report| {
        is_event(report) || ClientSession::is_over(report)
    })?;
    let _stream = sending.join();
    match seen.report {
        ClientReport::Event(it) if it.data == data => Ok(()),
        ClientReport::Event(it) => Err(miss(what, format!("{} bytes, or others", it.data.len()))),
        report => Err(miss(what, report.shown())),
    }
}

/// Sends without end; the client errs, or holds little.
fn endless(context: &CaseContext, begin: &[u8], piece: &[u8]) -> Outcome {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    session.until_reading(&mut stream)?;
    let (before, cpu) = (session.client.peak_kib(), session.client.cpu());
    stream.send(&chunk(begin.get(..).filter(|it| !it.is_empty()).unwrap_or(b":\n")));
    let piece = chunk(piece);
    let (sent, deadline) = (Arc::new(AtomicU64::new(0)), Instant::now() + FLOOD);
    let count = Arc::clone(&sent);
    let sending = thread::spawn(move || {
        let mut left = ENDLESS;
        while left > 0 && !stream.is_broken() && Instant::now() < deadline {
            stream.send(&piece);
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            left = left.saturating_sub(piece.len());
        }
        (left == 0, stream)
    });
    let mut peak = before;
    let mut over = None;
    let (mut taken_before, mut moved) = (0, Instant::now());
    while Instant::now() < deadline && over.is_none() {
        let timed = session.next_report(Instant::now() + Duration::from_millis(20))?;
        over = timed.filter(|it| ClientSession::is_over(&it.report));
        peak = peak.max(session.client.peak_kib());
        let taken = sent.load(Ordering::Relaxed);
        if taken != taken_before {
            (taken_before, moved) = (taken, Instant::now());
        }
        if sending.is_finished() && over.is_none() {
            // The rest is on its way still; then there is nothing more to come.
            let later = Instant::now() + context.ms(500);
            over = session.next_report(later)?.filter(|it| ClientSession::is_over(&it.report));
            break;
        }
    }
    peak = peak.max(session.client.peak_kib());
    // Its sending ends with the connection, at the latest.
    let taken = sent.load(Ordering::Relaxed) as usize / MIB;
    let memory =
        peak.map_or("memory unknown".to_owned(), |it| format!("{} MiB at most", it / 1024));
    let is_bounded = peak.is_some_and(|it| it <= ENDLESS_KIB.max(before.unwrap_or_default() * 2));
    // A client that had a core for half of the time is as slow in each attempt, and one that works stands not still.
    let is_its_own = worked(&session, cpu).is_some_and(|used| used > FLOOD / 2);
    let is_moving = is_its_own || moved.elapsed() < STANDSTILL;
    if over.is_none() && Instant::now() >= deadline && is_moving && is_bounded {
        let words = format!("it took {taken} MiB in {FLOOD:?}, and was not at the end; {memory}");
        let slow = || Fault::Skip(format!("{words}; how slow it is, is judged by C8.12"));
        return Err(if is_its_own { slow() } else { Fault::Unjudged(words) });
    }
    let words = match &over {
        Some(it) => format!("{} after {taken} MiB; {memory}", it.report.shown()),
        None => format!("{taken} MiB taken without an error; {memory}"),
    };
    if over.is_none() && peak.is_none() {
        return Err(Fault::Skip(format!("{words}: what it holds cannot be seen")));
    }
    let crashed = session.client.ended.as_ref().is_some_and(|it| it.contains("signal"));
    let fine = !crashed && (over.is_some() || is_bounded);
    ensure(fine, "an error, or bounded memory", &words)?;
    fact(words)
}

fn hundred_thousand(context: &CaseContext) -> Outcome {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    session.until_reading(&mut stream)?;
    let began = Instant::now();
    let (_, _sending) = sent(stream, (0..EVENTS).map(|n| format!("id: {n}\ndata: {n}\n\n")));
    let mut next = 0;
    while next < EVENTS {
        // Not kept: a hundred thousand of them would be. How long all take is not the claim, so each has the
        // whole time.
        let Some(timed) = session.next_unkept(Instant::now() + FLOOD)? else { break };
        match &timed.report {
            ClientReport::Event(it) if it.data == next.to_string() && it.id == it.data => next += 1,
            ClientReport::Event(it) => {
                return Err(miss(format!("event {next}"), format!("{:?}", it.data)));
            }
            report if ClientSession::is_over(report) => {
                return Err(miss(format!("event {next}"), report.shown()));
            }
            _ => {}
        }
    }
    let words = format!("{next} of them, and no further one within {FLOOD:?}");
    let all = ensure(next == EVENTS, format!("{EVENTS} events"), words);
    all.map_err(|fault| fault.too_slow(WRITE_PATIENCE))?;
    fact(format!("{:.0} events a second", EVENTS as f64 / began.elapsed().as_secs_f64()))
}

fn comment_flood(context: &CaseContext) -> Outcome {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    stream.chunk(b"data: first\n\n");
    session.until_data("first")?;
    let before = session.client.peak_kib();
    let last = std::iter::once("data: last\n\n".to_owned());
    let texts = (0..COMMENTS).map(|_| ": keep-alive\n".to_owned()).chain(last);
    let (sent, _sending) = sent(stream, texts);
    let (mut taken_before, mut moved) = (0, Instant::now());
    loop {
        let report = session.next_unkept(Instant::now() + WORK_LOOK)?.map(|it| it.report);
        // How long it takes is not the claim: while bytes are taken or comments reported it goes on.
        let taken = sent.load(Ordering::Relaxed);
        if report.is_some() || taken != taken_before {
            (taken_before, moved) = (taken, Instant::now());
        }
        match report {
            Some(ClientReport::Event(it)) if it.data == "last" => break,
            Some(report) if ClientSession::is_over(&report) => {
                return Err(miss("the event behind the comments", report.shown()));
            }
            // The bytes that the kernel holds are read without a sign of it, and may be half of all.
            None if moved.elapsed() > FLOOD => {
                let words = format!("none, and nothing taken for {FLOOD:?}");
                return Err(miss("the event behind the comments", words).too_slow(WRITE_PATIENCE));
            }
            _ => {}
        }
    }
    let (Some(before), Some(after)) = (before, session.client.peak_kib()) else { return pass() };
    let words = format!("{before} KiB before, {after} KiB at most");
    ensure(after <= before + FLAT_KIB, format!("at most {FLAT_KIB} KiB more"), &words)?;
    fact(words)
}

fn slow_consumer(context: &CaseContext) -> Outcome {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    session.until_reading(&mut stream)?;
    let before = session.client.peak_kib();
    let count = Arc::new(AtomicU64::new(0));
    let taken = Arc::clone(&count);
    let event = chunk(format!("data: {}\n\n", "x".repeat(WRITE_BYTES)).as_bytes());
    thread::spawn(move || {
        while !stream.is_broken() {
            stream.send(&event);
            count.fetch_add(event.len() as u64, Ordering::Relaxed);
        }
    });
    // Nothing is taken from the client meanwhile.
    thread::sleep(context.ms(3000));
    let mib = taken.load(Ordering::Relaxed) / MIB as u64;
    let memory = match (before, session.client.peak_kib()) {
        (Some(before), Some(after)) => format!("memory from {before} to {after} KiB"),
        _ => "memory unknown".to_owned(),
    };
    fact(format!("{mib} MiB taken in 3 s; {memory}"))
}

/// Sends these texts in large writes, beside the case; the count of bytes that were taken goes up meanwhile.
fn sent(
    mut stream: PendingRequest,
    texts: impl Iterator<Item = String> + Send + 'static,
) -> (Arc<AtomicU64>, thread::JoinHandle<PendingRequest>) {
    let count = Arc::new(AtomicU64::new(0));
    let taken = Arc::clone(&count);
    let sending = thread::spawn(move || {
        let mut buffer = String::new();
        for text in texts {
            buffer.push_str(&text);
            if buffer.len() >= WRITE_BYTES {
                stream.send(&chunk(buffer.as_bytes()));
                taken.fetch_add(buffer.len() as u64, Ordering::Relaxed);
                buffer.clear();
            }
            if stream.is_broken() {
                break;
            }
        }
        stream.send(&chunk(buffer.as_bytes()));
        stream
    });
    (count, sending)
}
