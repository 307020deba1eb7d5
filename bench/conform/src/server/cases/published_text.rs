//! Categories 4 and 10 in the author's own room: what becomes of a text that is published there.
//!
//! The author's code may do with a text what it likes: trim it, join its lines, leave some out. None of
//! that is a fault of its stream, so a failure needs its evidence on the wire: a part of the text that
//! was sent, and that a client does not get as data.

use crate::expect::{ensure, fact, miss, miss_should, pass};
use crate::server::grammar::{blocks, has, lines, show};
use crate::server::room::{Answer, Carried, Room, Session, read_into, word};
use crate::server::{Fault, Outcome, Target};

/// The line ends of an event stream (HTML, 9.2.5).
const LINE_ENDS: [&str; 3] = ["\n", "\r", "\r\n"];

/// S4.10 and S4.11: how often a stream is waited for on which bytes arrive.
const PATIENCES: usize = 4;
/// Fewer bytes than this in a patience may be comments alone.
const MOVING_BYTES: u64 = 4096;

/// S4.02: each line is data, whatever the author's code makes of the line ends.
pub(super) fn multi_line(target: &Target, room: &Room) -> Outcome {
    let words = [word(), word(), word()];
    let text = words.join(" x\n");
    let got = whole(&mut room.enter(target)?, &text, &words)?;
    if got == text { pass() } else { Err(changed(&text, &got)) }
}

/// S4.03.
pub(super) fn crlf(target: &Target, room: &Room) -> Outcome {
    unless_all_lines(target, room, crlf_alone(target, room))
}

fn crlf_alone(target: &Target, room: &Room) -> Outcome {
    let words = [word(), word()];
    let got = whole(&mut room.enter(target)?, &words.join("\r\n"), &words)?;
    let three = words.join("\n\n");
    if got == three {
        let expected = "two lines";
        return Err(miss_should(expected, format!("three, the second empty: {got:?}")));
    }
    if got == words.join("\n") || got == words.join("\r\n") {
        return pass();
    }
    Err(changed(&words.join("\r\n"), &got))
}

/// Where no line end is seen to at all, one fault would be found three times more: it is S4.02's.
fn unless_all_lines(target: &Target, room: &Room, outcome: Outcome) -> Outcome {
    let fault = match outcome {
        Err(fault @ Fault::Miss { .. }) => fault,
        outcome => return outcome,
    };
    let words = [word(), word()];
    let carried = room.enter(target)?.carry(&words.join("\n"), &[&words[0]])?;
    let is_raw = !carried.is_in_data(&words[1]) && carried.is_on_the_wire(&words[1]);
    Err(if is_raw { fault.follows("S4.02") } else { fault })
}

/// S4.04.
pub(super) fn cr(target: &Target, room: &Room) -> Outcome {
    unless_all_lines(target, room, cr_alone(target, room))
}

fn cr_alone(target: &Target, room: &Room) -> Outcome {
    let words = [word(), word()];
    let got = whole(&mut room.enter(target)?, &words.join("\r"), &words)?;
    fact(format!("nothing is lost: {got:?}"))
}

/// S4.05: of three newlines at the end an encoder loses one; code that trims or tidies, two or all.
pub(super) fn trailing_newline(target: &Target, room: &Room) -> Outcome {
    let word = word();
    let text = format!("{word}\n\n\n");
    let mut session = room.enter(target)?;
    let got = whole(&mut session, &text, std::slice::from_ref(&word))?;
    if got == text {
        return pass();
    }
    let is_one_lost = room.is_plain() && !room.is_by_command() && got == format!("{word}\n\n");
    if is_one_lost {
        return Err(miss_should(format!("{text:?}"), format!("{got:?}")));
    }
    Err(changed(&text, &got))
}

/// S4.06: a block without data is evidence; no block may be the author's wish.
pub(super) fn empty(target: &Target, room: &Room) -> Outcome {
    let mut session = room.enter(target)?;
    let carried = session.carry("", &[])?;
    if !room.is_plain() {
        return Err(Fault::Skip("the text is wrapped: the data are never empty".to_owned()));
    }
    if carried.events.iter().any(|event| room.text_of(event, "").is_some_and(|it| it.is_empty())) {
        return pass();
    }
    let blocks = blocks(&carried.raw);
    let field = |block: &Vec<&[u8]>, name: &[u8]| has(block, name);
    let dead = blocks
        .iter()
        .find(|block| !field(block, b"data") && (field(block, b"event") || field(block, b"id")));
    match dead {
        Some(block) => Err(miss_should("a data line, empty", show(block))),
        None => Err(Fault::Skip("the server does not publish an empty text".to_owned())),
    }
}

/// S4.07: of three spaces an encoder loses one; code that trims or tidies, two or all.
pub(super) fn leading_space(target: &Target, room: &Room) -> Outcome {
    let word = word();
    let text = format!("   {word}");
    let got = whole(&mut room.enter(target)?, &text, std::slice::from_ref(&word))?;
    if got == text {
        return pass();
    }
    if room.is_plain() && got == format!("  {word}") {
        return Err(miss_should(format!("{text:?}"), format!("{got:?}")));
    }
    Err(changed(&text, &got))
}

/// S4.08.
pub(super) fn colon_first(target: &Target, room: &Room) -> Outcome {
    for start in [":", "data: "] {
        let word = word();
        arrives(target, room, &format!("{start}{word}"), &word)?;
    }
    pass()
}

/// S4.09, without the control characters that an author may filter out.
pub(super) fn unicode(target: &Target, room: &Room) -> Outcome {
    let words = [word(), word()];
    let odd = "😀 \u{2028} \u{2029} \u{85} \u{feff} é";
    let text = format!("{} {odd} {}", words[0], words[1]);
    let got = whole(&mut room.enter(target)?, &text, &words)?;
    if got == text {
        return pass();
    }
    let has_new_line = got.contains(['\n', '\r']);
    let is_replaced = !room.is_by_command() && got.contains(['?', '\u{fffd}']);
    if has_new_line || is_replaced {
        return Err(miss_should(format!("{text:?}"), format!("{got:?}")));
    }
    Err(changed(&text, &got))
}

/// S4.10 and S4.11: a text of many bytes or lines arrives whole, or the stream says nothing of it.
pub(super) fn large(target: &Target, room: &Room, filler: &str) -> Outcome {
    let words = [word(), word()];
    let text = format!("{}{filler}{}", words[0], words[1]);
    let mut session = room.enter(target)?.prompt()?;
    session.stream.forget_raw();
    session.publisher.say(&text)?;
    let end = word();
    session.publisher.say(&end)?;
    let mut events = Vec::new();
    let mut found = Ok(());
    for _ in 0..PATIENCES {
        let before = session.stream.received();
        let end = std::slice::from_ref(&end);
        found = read_into(&mut events, &mut session.stream, end, target.patience());
        let is_moving = session.stream.received() >= before + MOVING_BYTES;
        // A host that gives the server little of a core makes it slow, which is no fault while bytes come.
        if !(is_moving && matches!(found, Err(wire::Error::Timeout { .. }))) {
            break;
        }
    }
    if let Err(error) = found {
        let is_slow = matches!(error, wire::Error::Timeout { .. });
        if !is_slow && !error.is_end() {
            return Err(error.into());
        }
        let expected = "the text, and the next one";
        let fault = miss_should(expected, format!("after {} bytes: {error}", text.len()));
        if !is_slow {
            return Err(fault);
        }
        // A room may lose a text on purpose, for instance to a reader that has just left. So the stream is at
        // fault only if it has fallen silent, or has begun the text and not ended it in time.
        let before = session.stream.received();
        let hears = session.publisher.greeted_behind(&mut events, &mut session.stream)?.is_some();
        let goes_on = hears || session.stream.received() >= before + MOVING_BYTES;
        let is_whole = events.iter().any(|event| event.data.contains(&words[1]));
        let has_begun = memchr::memmem::find(session.stream.raw(), words[0].as_bytes()).is_some();
        if !goes_on || (has_begun && !is_whole) {
            return Err(fault.too_slow(target.patience()));
        }
    }
    let got = events.iter().find_map(|it| room.text_of(it, &words[0]));
    match got {
        Some(got) if got == text => pass(),
        Some(got) => Err(Fault::Skip(format!(
            "the server's own code may shorten such a text: {} of {} bytes",
            got.len(),
            text.len()
        ))),
        None => Err(Fault::Skip("the server does not publish such a text".to_owned())),
    }
}

/// S4.13: an encoder loses one space of each line; code that tidies, all or most.
pub(super) fn pretty_json(target: &Target, room: &Room) -> Outcome {
    unless_all_lines(target, room, pretty_json_alone(target, room))
}

fn pretty_json_alone(target: &Target, room: &Room) -> Outcome {
    let word = word();
    let text = format!("{{\n  \"{word}\": [\n    1,\n    2\n  ]\n}}");
    let got = whole(&mut room.enter(target)?, &text, std::slice::from_ref(&word))?;
    if got == text {
        return pass();
    }
    let shorter = |line: &str| line.strip_prefix(' ').unwrap_or(line).to_owned();
    let cut: Vec<_> = text.lines().map(shorter).collect();
    let got_lines: Vec<_> = got.lines().map(str::to_owned).collect();
    if room.is_plain() && got_lines == cut {
        return Err(miss_should(format!("{text:?}"), format!("{got:?}")));
    }
    Err(changed(&text, &got))
}

/// S10.03: a reader of the room gets what a writer has forged.
pub(super) fn injection(target: &Target, room: &Room) -> Outcome {
    let mut refused = 0;
    for line_end in LINE_ENDS {
        let words = [word(), word()];
        let forged =
            ["event: injected", "id: injected", &format!("data: {}", words[1])].join(line_end);
        let text = format!("{}{line_end}{forged}", words[0]);
        let mut session = room.enter(target)?;
        let carried = match session.carry(&text, &[&words[0]]) {
            Ok(carried) => carried,
            // To refuse is right. A stream that ends is the subject of S10.06.
            Err(Fault::Skip(_)) => {
                refused += 1;
                continue;
            }
            Err(fault) => return Err(fault),
        };
        let is_forged = |line: &&[u8]| [&b"event: injected"[..], b"id: injected"].contains(line);
        let line = lines(&carried.raw).0.into_iter().find(is_forged);
        let event = carried.events.iter().find(|it| it.event == "injected" || it.id == "injected");
        let actual = format!(
            "{} for the text {text:?}; the bytes: {}",
            match event {
                Some(event) =>
                    format!("an event of type {:?} with the id {:?}", event.event, event.id),
                None => "a line of its own".to_owned(),
            },
            carried.shown()
        );
        ensure(line.is_none() && event.is_none(), "the text as data, or a refusal", actual)?;
    }
    if refused == LINE_ENDS.len() {
        return Err(Fault::Skip("no text with a line end comes through".to_owned()));
    }
    pass()
}

/// S10.06: after each hostile text the room goes on.
pub(super) fn hostile(target: &Target, room: &Room) -> Outcome {
    let mut session = room.enter(target)?;
    let texts = LINE_ENDS.iter().chain(&["\0", "\u{2028}", "\u{feff}", "\n\n"]);
    let mut taken = 0;
    // A room with a history says them again, so each part has a word by which it is known.
    let name = word();
    for text in texts.map(|it| format!("a {name}{it}event: {name}{it}data: b {name}{it}")) {
        match session.publisher.publish(&text) {
            Ok(Answer::Taken) => taken += 1,
            Ok(Answer::Refused { status: Some(status), words }) if status >= 500 => {
                return Err(miss("no server error", format!("{words} for the text {text:?}")));
            }
            Ok(Answer::Gone(words)) => {
                return Err(miss("an answer", format!("{words} for the text {text:?}")));
            }
            Ok(Answer::Late(words)) => {
                let fault = miss("an answer", format!("{words} for the text {text:?}"));
                return Err(fault.too_slow(target.patience()));
            }
            Ok(Answer::Refused { .. }) | Err(Fault::Skip(_)) => continue,
            Err(fault) => return Err(fault),
        }
        goes_on(&mut session, &text).map_err(|fault| fault.too_slow(target.patience()))?;
    }
    if taken == 0 {
        return Err(Fault::Skip("no such text was taken".to_owned()));
    }
    fact(format!("{taken} texts were taken"))
}

fn goes_on(session: &mut Session<'_>, text: &str) -> Result<(), Fault> {
    match session.publisher.greet(&mut session.stream) {
        Ok(_) => Ok(()),
        Err(Fault::Skip(words)) => {
            Err(miss("a stream that goes on", format!("{words}, after the text {text:?}")))
        }
        Err(fault) => Err(fault),
    }
}

/// The text, of one line, arrives as it is.
fn arrives(target: &Target, room: &Room, text: &str, word: &str) -> Outcome {
    let got = whole(&mut room.enter(target)?, text, &[word.to_owned()])?;
    if got == text { pass() } else { Err(changed(text, &got)) }
}

/// The text that came of this one, with all these words of it in one event.
fn whole(session: &mut Session<'_>, text: &str, words: &[String]) -> Result<String, Fault> {
    let names: Vec<_> = words.iter().map(String::as_str).collect();
    let carried = session.carry(text, &names)?;
    for name in &names {
        if !carried.is_in_data(name) {
            return Err(gone(&carried, text, name));
        }
    }
    let event = carried.events.iter().find(|event| event.data.contains(names[0]));
    let event = event.filter(|event| names.iter().all(|name| event.data.contains(name)));
    let event = event.ok_or_else(|| {
        Fault::Skip("the server's own code makes several events of such a text".to_owned())
    })?;
    session.room().text_of(event, names[0]).ok_or_else(|| {
        Fault::Skip(format!("the text cannot be told from what is around it: {:.80}", event.data))
    })
}

/// A part of the text that is in no event's data.
fn gone(carried: &Carried, text: &str, word: &str) -> Fault {
    if carried.is_on_the_wire(word) {
        let actual = format!("{word} of {text:?} is sent, but in no data: {}", carried.shown());
        return miss_should("every part of the text as data", actual);
    }
    Fault::Skip(format!("the server's own code leaves out a part of such a text: {text:?}"))
}

fn changed(text: &str, got: &str) -> Fault {
    Fault::Skip(format!("the server's own code may change such a text: {text:?} became {got:?}"))
}
