//! Category 8: credentials, and streams made at random.

use super::CASE;
use crate::Level;
use crate::client::context::{CaseContext, ClientSession, MARK};
use crate::client::driver::{Capability, Options};
use crate::client::reports::{ClientReport, Event};
use crate::client::scripted_server::chunk;
use crate::client::{Case, Fault};
use crate::expect::{ensure, equal, fact, miss, pass};

use Capability::Hd;

/// Streams that are damaged at random, and the clients that read them.
const MUTATED: u64 = 5000;
const READERS: u64 = 10;
/// Streams of the grammar, and the ways in which each is cut.
const GRAMMATICAL: usize = 200;
const CUTS: u64 = 5;
/// The same streams in every run: a failure repeats.
const SEED: u64 = 0x5e5e_2026;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C8.09",
        slug: "redirect-credentials",
        level: Level::Must,
        source: "Fetch, RFC 9110 15.4, CVE-2022-1650",
        needs: &[Hd],
        claim: "A redirection to another origin does not take Authorization and Cookie along.",
        sends: "A redirection to another port, after a request with credentials.",
        fix: "Remove Authorization and Cookie where scheme, host or port changes.",
        run: |context| {
            let secrets = [("Authorization", "Bearer secret"), ("Cookie", "session=secret")];
            let headers = secrets.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let there = context.server()?;
            let options = Options { headers, ..Options::default() };
            let mut kept_back = Vec::new();
            // Some clients follow one of them only; which they should is C7.09's claim.
            for status in ["302 Found", "307 Temporary Redirect"] {
                let (_session, mut answer) = context.asked_with(&options)?;
                let first = answer.request.clone();
                let sent = secrets.iter().map(|(name, _)| *name);
                let sent: Vec<_> = sent.filter(|name| first.header(name).is_some()).collect();
                if sent.is_empty() {
                    let words = "the first request has neither Authorization nor Cookie";
                    return Err(Fault::Skip(words.to_owned()));
                }
                answer.answer(&format!("{status}\r\nLocation: {}", there.url("/there")));
                drop(answer);
                let Some(second) = there.request(context.patience()) else { continue };
                for name in sent {
                    let shown = second.request.shown(name);
                    ensure(second.request.header(name).is_none(), format!("no {name}"), shown)?;
                    kept_back.push(format!("{name} ({status})"));
                }
            }
            if kept_back.is_empty() {
                return Err(Fault::Skip("neither 302 nor 307 was followed, see C7.09".to_owned()));
            }
            fact(format!("kept back: {}", kept_back.join(", ")))
        },
        ..CASE
    },
    Case {
        id: "C8.10",
        slug: "no-panic",
        level: Level::Must,
        source: "HTML 9.2.6: any bytes are a stream",
        after: &["C1.01", "C2.01", "C4.06"],
        claim: "Of 5000 damaged streams none crashes the client or makes it hang.",
        sends: "5000 streams, damaged at random with a fixed seed.",
        fix: "Treat every byte as possible; the dialogue shows what came last.",
        run: |context| {
            let readers: Vec<u64> = (0..READERS).collect();
            context.each(&readers, |reader| damaged(context, *reader))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C8.11",
        slug: "chunk-invariance",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "200 random streams give the same events however they are cut.",
        sends: "200 random streams, whole and in five random cuts.",
        fix: "Let no chunk's end be an end of anything.",
        run: |context| {
            let mut random = fastrand::Rng::with_seed(SEED);
            let streams: Vec<Vec<u8>> =
                (0..GRAMMATICAL).map(|_| grammatical(&mut random)).collect();
            let streams = streams.concat();
            let whole = read(context, &streams, 0)?;
            let cuts: Vec<u64> = (1..=CUTS).collect();
            context.each(&cuts, |seed| {
                let cut = read(context, &streams, *seed)?;
                equal(&format!("events of cut {seed}, as of the whole"), &cut, &whole)
            })?;
            ensure(whole.len() > GRAMMATICAL / 2, "events", format!("{} of them", whole.len()))?;
            fact(format!("{} events, {} bytes", whole.len(), streams.len()))
        },
        ..CASE
    },
];

/// Sends a tenth of the damaged streams; an event behind them still arrives.
fn damaged(context: &CaseContext, reader: u64) -> Result<(), Fault> {
    let mut random = fastrand::Rng::with_seed(SEED + reader);
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    for _ in 0..MUTATED / READERS {
        let mut bytes = grammatical(&mut random);
        mutate(&mut bytes, &mut random);
        // The rest of a block ends here.
        bytes.extend(b"\n\n");
        let at = random.usize(1..bytes.len());
        stream.send(&chunk(&bytes[..at]));
        stream.send(&chunk(&bytes[at..]));
    }
    stream.send(&chunk(format!("data: {MARK}\n\n").as_bytes()));
    // One that gives up and says so neither crashes nor hangs; that it should not is another case.
    let mark = |report: &ClientReport| match report {
        ClientReport::Event(it) => it.data == MARK,
        report => ClientSession::is_over(report),
    };
    let what = "an event behind the damaged streams";
    match session.until_within(context.patience() * 2, what, mark)?.report {
        ClientReport::Exit(how) => Err(miss(what, format!("it ended: {how}"))),
        _ => Ok(()),
    }
}

/// The events of these bytes, cut at random; not at all for seed 0.
fn read(
    context: &CaseContext,
    bytes: &[u8],
    seed: u64,
) -> Result<Vec<(String, String, String)>, Fault> {
    let options =
        Options { event_types: crate::client::vectors::types(bytes), ..Options::default() };
    let (mut session, mut stream) = context.asked_with(&options)?;
    stream.open();
    let mut random = fastrand::Rng::with_seed(SEED ^ seed);
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = if seed == 0 { rest.len() } else { random.usize(1..40).min(rest.len()) };
        let (piece, behind) = rest.split_at(size);
        if seed == 0 {
            stream.send(&chunk(piece));
        } else {
            stream.chunk(piece);
        }
        rest = behind;
    }
    let events = session.events_to_mark(&mut stream)?;
    Ok(events.into_iter().map(|Event { event, data, id, .. }| (event, data, id)).collect())
}

/// A stream of one to four blocks, as the grammar allows them.
fn grammatical(random: &mut fastrand::Rng) -> Vec<u8> {
    const NAMES: &[&str] =
        &["data", "data", "data", "event", "id", "retry", "", "unknown", " data", "Data"];
    const VALUES: &[&str] = &[
        "",
        "a",
        " two  spaces ",
        "7",
        "é€😀",
        "a:b",
        ":",
        "\t",
        "\u{feff}",
        "longer than most of the others are",
    ];
    const ENDS: &[&str] = &["\n", "\r\n", "\r"];
    let mut text = String::new();
    for _ in 0..random.usize(1..=4) {
        for _ in 0..random.usize(1..=5) {
            let end = ENDS[random.usize(..ENDS.len())];
            let name = NAMES[random.usize(..NAMES.len())];
            let value = VALUES[random.usize(..VALUES.len())];
            let colon = ["", ":", ": ", ": ", ": "][random.usize(..5)];
            let value = if colon.is_empty() { "" } else { value };
            text += &format!("{name}{colon}{value}{end}");
        }
        text += ENDS[random.usize(..2)];
    }
    // A line that ended with CR is not to swallow an LF of the next stream.
    text += "\n\n";
    text.into_bytes()
}

/// Damages bytes in one to eight places.
fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..=8) {
        let at = random.usize(..bytes.len());
        match random.u8(..6) {
            0 => bytes[at] = random.u8(..),
            1 => bytes.insert(at, random.u8(..)),
            2 if bytes.len() > 2 => {
                bytes.remove(at);
            }
            3 => bytes.truncate(at.max(2)),
            4 => {
                let piece = bytes[at..].to_vec();
                bytes.extend(piece);
            }
            _ => bytes[at] ^= 1 << random.u8(..8),
        }
    }
}
