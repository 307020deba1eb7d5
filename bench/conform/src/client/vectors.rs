//! The cases that are data: `client/vectors/`, played over a connection.
//!
//! Each stream is played whole, in chunks of 1, 2, 3 and 7 bytes, and for some cases cut at every
//! place. A process for each would be slow, so all that may are played behind one another on one
//! connection: a stream may if two of it in a row give its events twice.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::context::{CaseContext, ClientSession, event, same_events};
use super::driver::Options;
use super::expect::{equal, miss, pass};
use super::reports::{ClientReport, Event};
use super::{Fault, Outcome};

/// The files, which parsers in Rust and JavaScript are tested with too.
const FILES: &[&str] = &[
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../client/vectors/lines.json")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../client/vectors/fields.json")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../client/vectors/encoding.json")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../client/vectors/dispatch.json")),
];

/// Sizes of chunks beside the whole.
const SIZES: &[usize] = &[1, 2, 3, 7];
/// A longer stream is played whole and in pieces of this size: the small ones would be thousands.
const LONG: usize = 600;
/// Beyond this many bytes a stream that needs a connection for each cut is not cut any more: what
/// such a stream is about stands at its beginning.
const LONE_CUTS: usize = 8;

/// How long a look for a report and for a request takes.
const LOOK: Duration = Duration::from_millis(10);

/// A stream and what it says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Vector {
    pub(super) name: String,
    case: String,
    stream: Text,
    events: Vec<Expected>,
    #[serde(default)]
    comments: Vec<Text>,
}

#[derive(Clone, Debug, Deserialize)]
struct Expected {
    event: String,
    data: Text,
    id: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Pieces(Vec<Piece>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Hex { hex: String },
    Repeat { repeat: String, times: usize },
}

/// One stream in one cut.
struct Play {
    cut: String,
    chunks: Vec<Vec<u8>>,
}

/// The vectors of a case.
pub(super) fn of_case(case: &str) -> Vec<&'static Vector> {
    static ALL: OnceLock<Vec<Vector>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        #[derive(Deserialize)]
        struct File {
            vectors: Vec<Vector>,
        }
        let files = FILES.iter().map(|text| serde_json::from_str::<File>(text));
        files.flat_map(|file| file.expect("a test reads them all").vectors).collect()
    });
    all.iter().filter(|vector| vector.case == case).collect()
}

/// The streams of a case, each with its name, as a person would write them.
pub(crate) fn streams_of(case: &str) -> Vec<(&'static str, String)> {
    of_case(case).into_iter().map(|it| (it.name.as_str(), it.shown())).collect()
}

/// How the vectors of a case are played.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// Each stream also in two pieces, cut at every place.
    every_cut: bool,
    /// U+FFFD may stand once or several times in a row.
    any_replacements: bool,
}

/// Plays all vectors of the case at hand.
pub(super) fn run(context: &CaseContext) -> Outcome {
    play_all(context, Manner::default())
}

/// The same, and each stream also in two pieces, cut at every place.
pub(super) fn run_at_every_cut(context: &CaseContext) -> Outcome {
    play_all(context, Manner { every_cut: true, ..Manner::default() })
}

/// The same as [`run`], where it does not matter how many U+FFFD malformed bytes become.
pub(super) fn run_with_any_replacements(context: &CaseContext) -> Outcome {
    play_all(context, Manner { any_replacements: true, ..Manner::default() })
}

fn play_all(context: &CaseContext, manner: Manner) -> Outcome {
    let vectors = of_case(context.case());
    context.each(&vectors, |vector| played(context, vector, manner))?;
    pass()
}

/// The comments that the vectors of the case at hand hold, if they are reported.
pub(super) fn run_comments(context: &CaseContext) -> Outcome {
    for vector in of_case(context.case()) {
        let (mut session, mut stream) = context.asked()?;
        stream.open();
        stream.chunk(&vector.stream.bytes());
        session.events_to_mark(&mut stream)?;
        let comments: Vec<_> = session
            .reports
            .iter()
            .filter_map(|it| match &it.report {
                ClientReport::Comment(text) => Some(text.clone()),
                _ => None,
            })
            .collect();
        let expected: Vec<_> = vector.comments.iter().map(Text::text).collect();
        equal(&format!("{}: comments", vector.name), &comments, &expected)?;
    }
    pass()
}

fn played(context: &CaseContext, vector: &Vector, manner: Manner) -> Result<(), Fault> {
    let stream = vector.stream.bytes();
    let expected = vector.events();
    let options = Options { event_types: types(&stream), ..Options::default() };
    let is_lone = !repeats(&stream, &expected);
    let plays = plays(&stream, manner.every_cut, is_lone);
    let name = |play: &Play| format!("{} ({})", vector.name, play.cut);
    let named = |play: &Play, fault: Fault| fault.within(&format!("{}: ", name(play)), "");
    let same = |mut events: Vec<Event>, expected: &[Event]| {
        if manner.any_replacements {
            events.iter_mut().for_each(join_replacements);
        }
        same_events(&events, expected)
    };
    let alone = |play: &Play| {
        let outcome = play_alone(context, &options, play, &name(play));
        outcome.and_then(|it| same(it, &expected)).map_err(|fault| named(play, fault))
    };
    if is_lone {
        return context.each(&plays, alone);
    }
    let (mut session, mut pending) = context.asked_with(&options)?;
    pending.note(&vector.name);
    pending.open();
    for play in &plays {
        play.chunks.iter().for_each(|chunk| pending.chunk(chunk));
    }
    let events = session.events_to_mark(&mut pending);
    let all: Vec<Event> = plays.iter().flat_map(|_| expected.clone()).collect();
    let Err(fault) = events.and_then(|it| same(it, &all)) else { return Ok(()) };
    if !matches!(fault, Fault::Miss { .. }) {
        return Err(fault);
    }
    // Which cut was it? One after the other, the first that fails by itself says it best.
    for play in &plays {
        alone(play)?;
    }
    let all = Play { cut: "all cuts behind one another".to_owned(), chunks: Vec::new() };
    Err(named(&all, fault))
}

/// Plays a stream on a separate connection, which then ends; the events.
fn play_alone(
    context: &CaseContext,
    options: &Options,
    play: &Play,
    name: &str,
) -> Result<Vec<Event>, Fault> {
    let (mut session, mut pending) = context.asked_with(options)?;
    pending.note(name);
    pending.open();
    play.chunks.iter().for_each(|chunk| pending.chunk(chunk));
    pending.end();
    events_at_end(&mut session)
}

/// The events of a stream that has ended: when the client says that it is over, or asks again.
pub(super) fn events_at_end(session: &mut ClientSession<'_>) -> Result<Vec<Event>, Fault> {
    let deadline = Instant::now() + session.context.patience();
    loop {
        let timed = session.next_report(Instant::now() + LOOK)?;
        if timed.is_some_and(|it| ClientSession::is_over(&it.report)) {
            return Ok(session.events());
        }
        if let Some(mut again) = session.server.request(Duration::ZERO) {
            again.open();
            return session.events_to_mark(&mut again);
        }
        if Instant::now() >= deadline {
            let fault = miss("the end of the stream noticed", session.reported());
            return Err(fault.too_slow(session.context.patience()));
        }
    }
}

/// Several U+FFFD in a row become one.
fn join_replacements(event: &mut Event) {
    for text in [&mut event.event, &mut event.data, &mut event.id] {
        while text.contains("\u{fffd}\u{fffd}") {
            *text = text.replace("\u{fffd}\u{fffd}", "\u{fffd}");
        }
    }
}

/// Whether a stream may be played again behind itself: it leaves nothing behind.
fn repeats(stream: &[u8], expected: &[Event]) -> bool {
    let mut parser = client::Parser::new();
    parser.push(&stream.repeat(3));
    parser.push(b"data: end\n\n");
    let mut events = Vec::new();
    while let Ok(Some(item)) = parser.next_item() {
        if let client::Item::Event(it) = item {
            events.push(event(it.event, it.data, it.last_event_id));
        }
    }
    let last = events.pop();
    last.is_some_and(|it| it.data == "end" && it.event == "message")
        && events == [expected; 3].concat()
}

fn plays(stream: &[u8], every_cut: bool, is_lone: bool) -> Vec<Play> {
    if stream.is_empty() {
        return vec![Play { cut: "nothing".to_owned(), chunks: Vec::new() }];
    }
    let mut plays = vec![Play { cut: "whole".to_owned(), chunks: vec![stream.to_vec()] }];
    let sizes = if stream.len() > LONG { &[LONG][..] } else { SIZES };
    for size in sizes {
        let chunks = stream.chunks(*size).map(<[u8]>::to_vec).collect();
        plays.push(Play { cut: format!("chunks of {size}"), chunks });
    }
    let cuts = if is_lone { stream.len().min(LONE_CUTS) } else { stream.len() };
    for at in 1..if every_cut { cuts } else { 0 } {
        let (first, second) = stream.split_at(at);
        plays.push(Play {
            cut: format!("cut at {at}"),
            chunks: vec![first.to_vec(), second.to_vec()],
        });
    }
    plays
}

/// The values of lines that begin with `event`: what a client may have to listen to.
pub(super) fn types(stream: &[u8]) -> Vec<String> {
    let mut types = Vec::new();
    for line in stream.split(|byte| matches!(byte, b'\r' | b'\n')) {
        // The first line may stand behind a byte order mark.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let Some(value) = line.strip_prefix(b"event:") else { continue };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value)).into_owned();
        if !value.is_empty() && value != "message" && !types.contains(&value) {
            types.push(value);
        }
    }
    types
}

impl Vector {
    /// The bytes of the stream as a person would write them; of a long one the beginning.
    pub(super) fn shown(&self) -> String {
        const BYTES: usize = 160;
        let stream = self.stream.bytes();
        let rest = stream.len().saturating_sub(BYTES);
        let more = if rest > 0 { format!("… and {rest} bytes more") } else { String::new() };
        format!("{}{more}", stream[..stream.len() - rest].escape_ascii())
    }

    fn events(&self) -> Vec<Event> {
        let of = |it: &Expected| event(&it.event, &it.data.text(), &it.id);
        self.events.iter().map(of).collect()
    }
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        let pieces = match self {
            Text::Whole(text) => return text.clone().into_bytes(),
            Text::Pieces(pieces) => pieces,
        };
        let bytes = pieces.iter().flat_map(|piece| match piece {
            Piece::Text(text) => text.clone().into_bytes(),
            Piece::Repeat { repeat, times } => repeat.repeat(*times).into_bytes(),
            Piece::Hex { hex } => {
                let digits = (0..hex.len() / 2).map(|at| hex.get(2 * at..2 * at + 2));
                let byte = |it: Option<&str>| it.and_then(|it| u8::from_str_radix(it, 16).ok());
                digits.map(|it| byte(it).expect("a test reads them all")).collect()
            }
        });
        bytes.collect()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vector_belongs_to_a_case_and_every_file_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../client/vectors");
        let files = std::fs::read_dir(folder).unwrap().filter(|entry| {
            entry.as_ref().unwrap().path().extension().is_some_and(|it| it == "json")
        });
        assert_eq!(files.count(), FILES.len());
        for case in super::super::cases() {
            for vector in of_case(case.id) {
                // The suite expects the result of our parser.
                let mut parser = client::Parser::new();
                parser.push(&vector.stream.bytes());
                let mut events = Vec::new();
                while let Ok(Some(item)) = parser.next_item() {
                    if let client::Item::Event(it) = item {
                        events.push(event(it.event, it.data, it.last_event_id));
                    }
                }
                assert_eq!(events, vector.events(), "{}", vector.name);
            }
        }
        let known = |vector: &Vector| super::super::cases().any(|case| case.id == vector.case);
        let all: Vec<Vector> = FILES
            .iter()
            .flat_map(|text| {
                #[derive(Deserialize)]
                struct File {
                    vectors: Vec<Vector>,
                }
                serde_json::from_str::<File>(text).unwrap().vectors
            })
            .collect();
        assert!(all.iter().all(known));
    }

    #[test]
    fn streams_that_leave_something_behind_are_played_alone() {
        let a = [super::super::context::message("a", "")];
        assert!(repeats(b"data: a\n\n", &a));
        assert!(repeats(b"data: a\r\r", &a));
        assert!(!repeats(b"\xef\xbb\xbfdata: a\n\n", &a));
        assert!(!repeats(b"data: a", &[]));
        assert!(!repeats(
            b"data: a\n\nid: 1\ndata: b\n\n",
            &[super::super::context::message("a", ""), super::super::context::message("b", "1"),]
        ));
    }

    #[test]
    fn cuts_put_together_are_the_stream() {
        let stream = b"data: a\n\n";
        let plays = plays(stream, true, false);
        assert_eq!(plays.len(), 1 + SIZES.len() + stream.len() - 1);
        assert!(plays.iter().all(|play| play.chunks.concat() == stream));
        assert_eq!(
            types(b"event: a\nevent:b\revent\nevent: \nevent:  c\nxevent: d"),
            ["a", "b", " c"]
        );
    }
}
