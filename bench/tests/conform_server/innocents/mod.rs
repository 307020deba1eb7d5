//! Servers that are right in odd ways are accused of nothing; each with one thing wrong is, of that alone.
//!
//! A case that fails an innocent server costs the suite its name, so a new oddity of a real server becomes
//! a row here. All rows run side by side, in this process: they wait, and compute little.

mod server;

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use client::arguments::Wanted;
use conform::server::{Selection, Target, check_each};
use conform::{CaseResult, Deviations, Profile, Verdict};

use self::server::{PLAIN, Says, Second, Unflushed, Ways, Wrong, start};

/// Short, because rows wait for it; what is slow in a row is so beside this.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The least number of cases that came to a judgement: a row of skips proves nothing.
const JUDGED: usize = 30;

/// Odd and right: name, ways, and the recommendations that may fail.
fn innocents() -> Vec<(&'static str, Ways, &'static [&'static str])> {
    let says = |says| Ways { says, ..PLAIN };
    let second = |second_stream| Ways { second_stream, ..PLAIN };
    let unflushed = |unflushed| Ways { unflushed: Some(unflushed), ..PLAIN };
    vec![
        ("plain", PLAIN, &[]),
        ("silent", says(Says::Nothing), &["S5.05"]),
        ("an event a minute", says(Says::Every(Duration::from_secs(60))), &["S5.05"]),
        // 7 s to a patience of 5 s.
        ("an event every 7 s", says(Says::Every(PATIENCE.mul_f64(1.4))), &[]),
        ("HTTP/1.0", Ways { is_http10: true, ..PLAIN }, &[]),
        ("the same on each path", Ways { any_path: true, ..PLAIN }, &[]),
        ("the same for each method", Ways { any_method: true, ..PLAIN }, &["S9.06"]),
        ("one stream, else 409", second(Second::Refused(409)), &[]),
        ("one stream, else 400", second(Second::Refused(400)), &[]),
        ("one stream, else 429", second(Second::Refused(429)), &[]),
        ("the newer stream ends the older", second(Second::Replaces), &[]),
        ("one worker", second(Second::Waits), &[]),
        ("two 100 Continue", Ways { continues: 2, ..PLAIN }, &[]),
        ("huge events", says(Says::Huge), &[]),
        // 3 s to a patience of 5 s.
        ("a late head", Ways { head_delay: PATIENCE.mul_f64(0.6), ..PLAIN }, &[]),
        // A handler of Node without flushHeaders: the head leaves with the first event, 1 to 4 s to a patience of 5 s.
        ("a head with the first event", unflushed(Unflushed::AtEvent), &["S9.01"]),
        ("the same, and HEAD has no answer", unflushed(Unflushed::Never), &["S9.02"]),
        ("the same, and HEAD is closed without one", unflushed(Unflushed::Closes), &["S9.02"]),
        (
            "takes what is long",
            Ways { target_limit: 128 * 1024, head_limit: 2 << 20, ..PLAIN },
            &[],
        ),
        ("501 for other methods", Ways { method_status: 501, post_status: 501, ..PLAIN }, &[]),
        ("POST only", Ways { post_only: true, ..PLAIN }, &[]),
        ("POST is taken, and refuses a body", Ways { post_status: 422, ..PLAIN }, &[]),
        ("POST is guarded", Ways { post_status: 403, ..PLAIN }, &[]),
        ("closes without a word", Ways { just_closes: true, ..PLAIN }, &[]),
        ("batches on purpose", says(Says::Batches), &[]),
        ("comments only", says(Says::Comments), &[]),
        ("ends whole", says(Says::ThreeAndEnd), &[]),
        ("points to resume from", says(Says::ResumePoints), &[]),
        ("an empty id with each event", says(Says::EmptyIds), &[]),
        (
            "one origin, always named",
            Ways { lines: "Access-Control-Allow-Origin: https://app.example\r\n", ..PLAIN },
            &[],
        ),
    ]
}

/// One thing wrong: the cases that say so, and no other.
fn guilty() -> Vec<(&'static str, Ways, &'static [&'static str])> {
    let wrong = |wrong| Ways { wrong, ..PLAIN };
    let framing = |framing| Ways { framing: Some(framing), ..PLAIN };
    vec![
        ("cut off without a last chunk", wrong(Wrong::CutsOff), &["S2.04"]),
        ("a heartbeat with an id", wrong(Wrong::HeartbeatId), &["S5.06"]),
        ("two events, one id", wrong(Wrong::SameIds), &["S3.10"]),
        ("get is GET", wrong(Wrong::FoldsMethods), &["S9.07"]),
        (
            "waits for the body without 100",
            Ways { post_status: 422, ..wrong(Wrong::NeverContinues) },
            &["S9.28"],
        ),
        ("cuts large heads off", wrong(Wrong::CutsLargeHeads), &["S9.21"]),
        ("431 for a long target", wrong(Wrong::TargetStatus), &["S9.22"]),
        ("answers within the stream", wrong(Wrong::AnswersWithin), &["S8.07"]),
        ("404 for POST", Ways { post_status: 404, ..PLAIN }, &["S9.04"]),
        ("a server error for POST", Ways { post_status: 500, ..PLAIN }, &["S9.04"]),
        (
            "HTTP/1.0 that promises to stay",
            Ways { is_http10: true, lines: "Connection: keep-alive\r\n", ..PLAIN },
            &["S2.01"],
        ),
        ("no framing at all", framing("Connection: keep-alive\r\n"), &["S2.01"]),
        (
            "chunked, said twice",
            framing("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            &["S2.01", "S2.07"],
        ),
        (
            "chunked, with a length",
            framing("Transfer-Encoding: chunked\r\nContent-Length: 7\r\n"),
            &["S2.01", "S2.07"],
        ),
        (
            "a coding that is none",
            framing("Transfer-Encoding: identity\r\nConnection: close\r\n"),
            &["S2.01", "S2.07"],
        ),
    ]
}

#[test]
fn no_innocent_server_is_accused_and_one_fault_is_one_finding() {
    let rows: Vec<_> = innocents()
        .into_iter()
        .map(|(name, ways, may)| (name, ways, may, false))
        .chain(guilty().into_iter().map(|(name, ways, must)| (name, ways, must, true)))
        .collect();
    // A part of a name in this variable chooses among them, for work on a row.
    let wanted = std::env::var("SSE_TEST_ROWS").unwrap_or_default();
    let rows: Vec<_> = rows.into_iter().filter(|(name, ..)| name.contains(&wanted)).collect();
    let wrong: Vec<String> = thread::scope(|scope| {
        let checks: Vec<_> = rows
            .iter()
            .map(|(name, ways, ids, is_guilty)| {
                scope.spawn(move || verdict(name, ways, ids, *is_guilty))
            })
            .collect();
        checks.into_iter().filter_map(|it| it.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Why a row is not as it should be.
fn verdict(name: &str, ways: &Ways, ids: &[&str], is_guilty: bool) -> Option<String> {
    let results = match check(ways) {
        Ok(results) => results,
        Err(words) => return Some(format!("{name}: {words}")),
    };
    let listed: BTreeSet<&str> = ids.iter().copied().collect();
    let is_wrong = |result: &CaseResult| match result.verdict {
        Verdict::Fail => !(is_guilty && listed.contains(result.id.as_str())),
        Verdict::NonStrict => !listed.contains(result.id.as_str()),
        Verdict::Blocked => !is_guilty,
        // A host that is too busy for a case says nothing of the server; a panic does of the suite.
        Verdict::Error => !result.actual.as_deref().unwrap_or_default().starts_with("not judged"),
        Verdict::Adapter => true,
        Verdict::Pass | Verdict::Info | Verdict::Skip => false,
    };
    let missing = ids
        .iter()
        .filter(|id| is_guilty && !results.iter().any(|it| it.id == **id && it.is_miss()));
    let judged =
        results.iter().filter(|it| matches!(it.verdict, Verdict::Pass | Verdict::Fail)).count();
    let mut words: Vec<String> = missing.map(|id| format!("  {id} is not found")).collect();
    words.extend(results.iter().filter(|it| is_wrong(it)).map(|result| {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let (expected, actual) = (of(&result.expected), of(&result.actual));
        format!("  {} {}: {expected} / {actual}", result.name(), result.verdict.word())
    }));
    if judged < JUDGED {
        words.push(format!("  {judged} cases are judged, not {JUDGED}"));
    }
    (!words.is_empty()).then(|| format!("{name}:\n{}", words.join("\n")))
}

fn check(ways: &Ways) -> Result<Vec<CaseResult>, String> {
    let server = start(ways.clone());
    // 200 connections for each row are more descriptors than a process may have.
    let selection = Selection::new(&[], &["S10.09".to_owned()])?.with_profile(Profile::Generic);
    let mut target = Target::url(&server.url(), PATIENCE)?;
    if ways.post_only {
        let (method, body) = ("POST".to_owned(), Some(b"{}".to_vec()));
        target = target.with_request(Wanted { method, body, ..Wanted::default() });
    }
    let target = target.probe(&[])?.with_its_concurrency()?;
    Ok(check_each(&target, &selection, &Deviations::default(), &|_| {}))
}
