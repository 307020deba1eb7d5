//! A head that does not come, and one that comes late because the server is busy: one finding, or none.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use conform::server::{Selection, Target, check_each};
use conform::{Profile, Verdict};

use crate::bounded;
use crate::target::{self, Hostile, read_request};

const PATIENCE: Duration = Duration::from_millis(800);
/// A server that writes so seldom notices so late that its client has left.
const SELDOM: Duration = Duration::from_millis(500);

fn is_for_stream(request: &str) -> bool {
    request.starts_with("GET /events ")
}

fn not_found(socket: &mut TcpStream) {
    let _ = socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_head_that_never_comes_is_one_finding_and_the_rest_is_judged() {
    let holds = Hostile::start(|mut socket, _| {
        if is_for_stream(&read_request(&mut socket)) {
            let _ = socket.read_to_end(&mut Vec::new());
        } else {
            not_found(&mut socket);
        }
    });
    let only = ["--only", "S1,S2.01,S5.01,S5.02,S6.02,S9.06,S9.08,S9.09"];
    let url = holds.url();
    let args = [&["server", url.as_str(), "--patience-ms", "400"][..], &only].concat();
    let said = bounded::conform(&args, Duration::from_secs(60));
    assert_eq!(said.verdicts("fail"), [""; 0], "{}", said.all());
    assert_eq!(said.verdicts("non-strict"), ["S5.01", "S9.06"], "{}", said.all());
    assert!(said.verdicts("pass").contains(&"S9.09"), "{}", said.all());
    for id in ["S1.01", "S1.11", "S2.01", "S5.02", "S6.02"] {
        assert!(said.verdicts("blocked").contains(&id), "{id}: {}", said.all());
        assert!(said.actual(id).contains("because of S5.01"), "{id}: {}", said.all());
    }
    // A recommendation failed; but a run in which no stream opened is no success.
    assert_eq!(said.code, Some(1), "{}", said.all());
    assert!(said.stdout.contains("no response head within 400 ms"), "{}", said.stdout);
}

/// Serves one connection at a time, and notices at its next events that a client has left.
fn single_threaded() -> Hostile {
    let worker = Mutex::new(());
    Hostile::start(move |mut socket, _| {
        let _worker = worker.lock();
        let request = read_request(&mut socket);
        if !is_for_stream(&request) {
            return not_found(&mut socket);
        }
        let _ = socket.write_all(target::STREAM_HEAD.as_bytes());
        for number in 1.. {
            let event = format!("id: {number}\ndata: tick {number}\n\n");
            if write!(socket, "{:x}\r\n{event}\r\n", event.len()).is_err() {
                return;
            }
            thread::sleep(SELDOM);
        }
    })
}

#[test]
fn a_server_of_one_thread_is_not_accused_of_the_heads_that_wait_for_it() {
    let server = single_threaded();
    let target = Target::url(&server.url(), PATIENCE).unwrap().probe(&[]).unwrap();
    let target = target.with_its_concurrency().unwrap();
    assert!(target.one_at_a_time().unwrap().contains("no second request while a stream is open"));
    let only = ["S1.04", "S1.11", "S5.01", "S6.01", "S6.02"].map(str::to_owned);
    let selection = Selection::new(&only, &[]).unwrap();
    let results = check_each(&target, &selection, &conform::Deviations::default(), &|_| {});
    let wrong: Vec<_> = results
        .iter()
        .filter(|it| !matches!(it.verdict, Verdict::Pass | Verdict::Info | Verdict::Skip))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let judged = results.iter().filter(|it| it.verdict == Verdict::Pass);
    assert!(judged.count() >= 2, "{results:#?}");
}

/// Answers the stream as any client asks for it, and a path that it does not have. Any other request gets no answer,
/// and its connection stays open.
fn tarpit() -> Hostile {
    let plain = OnceLock::new();
    Hostile::start(move |mut socket, number| {
        let request = read_request(&mut socket);
        if is_for_stream(&request) && plain.get_or_init(|| request.clone()) == &request {
            return target::stream(socket, number, &request);
        }
        if request.starts_with("GET /conformance-no-such-path HTTP/1.1\r\n") {
            return not_found(&mut socket);
        }
        let _ = socket.set_read_timeout(None);
        let _ = socket.read_to_end(&mut Vec::new());
    })
}

/// No standard says within which time a request is answered, so silence breaks none.
#[test]
fn no_requirement_fails_for_the_lack_of_an_answer_alone() {
    let server = tarpit();
    let target = Target::url(&server.url(), PATIENCE).unwrap().probe(&[]).unwrap();
    let skipped = ["S10.09".to_owned()];
    let selection = Selection::new(&[], &skipped).unwrap().with_profile(Profile::Generic);
    let results = check_each(&target, &selection, &conform::Deviations::default(), &|_| {});
    let wrong: Vec<_> = results
        .iter()
        .filter(|it| !matches!(it.verdict, Verdict::Pass | Verdict::Info | Verdict::Skip))
        .filter(|it| it.verdict != Verdict::NonStrict)
        .map(|it| (it.id.as_str(), it.verdict, it.actual.as_deref()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let silent = |id: &str| results.iter().find(|it| it.id == id).unwrap().verdict;
    assert_eq!((silent("S9.10"), silent("S9.02")), (Verdict::NonStrict, Verdict::NonStrict));
    assert_eq!(silent("S9.01"), Verdict::Skip);
}
