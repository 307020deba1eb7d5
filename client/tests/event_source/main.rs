//! The event source against a scripted peer. Each test names the rule it holds to.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.

mod answers;
#[path = "../peer/mod.rs"]
mod peer;

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use client::event_source::Builder;
use client::{Error, EventSource, Limits, ParseError, Reason, State, Update};
use futures_util::StreamExt;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::net::TcpSocket;

use peer::{Answer, CHUNKED, DEADLINE, HEAD, Peer, Port, held, raw, status, stream};

/// A reconnection time that keeps the tests short.
const SOON: Duration = Duration::from_millis(50);

fn quick(peer: &Peer) -> Builder {
    EventSource::builder(&peer.url("/stream")).retry(SOON).max_backoff(SOON)
}

async fn next(source: &mut EventSource) -> Option<Result<Update, Error>> {
    tokio::time::timeout(DEADLINE, source.next()).await.expect("an update within the deadline")
}

/// All updates up to the end in short words, and the error at the end if there is one.
async fn run(source: EventSource) -> (Vec<String>, Option<Error>) {
    tokio::time::timeout(DEADLINE, run_to_end(source)).await.expect("the end within the deadline")
}

async fn run_to_end(mut source: EventSource) -> (Vec<String>, Option<Error>) {
    let mut seen = Vec::new();
    while let Some(update) = next(&mut source).await {
        seen.push(match update {
            Ok(Update::Open(_)) => "open".to_owned(),
            Ok(Update::Event(e)) => format!("{} {:?} {}", e.event, e.data, e.last_event_id),
            Ok(Update::Comment(text)) => format!(":{text}"),
            Ok(Update::Retry(delay)) => format!("retry {}", delay.as_millis()),
            Ok(Update::Reconnecting { reason, .. }) => match reason {
                Reason::Ended => "ended".to_owned(),
                Reason::Broken(_) => "broken".to_owned(),
                Reason::Unanswered(_) => "unanswered".to_owned(),
                Reason::NoAnswer(_) => "no answer".to_owned(),
                Reason::Silent(_) => "silent".to_owned(),
                Reason::Unavailable(status) => format!("unavailable {}", status.as_u16()),
                _ => unreachable!(),
            },
            Ok(Update::Closed) => "closed".to_owned(),
            Ok(_) => unreachable!(),
            Err(error) => {
                assert_eq!(source.state(), State::Closed);
                assert!(next(&mut source).await.is_none(), "nothing follows an error");
                return (seen, Some(error));
            }
        });
    }
    assert_eq!(source.state(), State::Closed);
    (seen, None)
}

/// The updates of a stream that ends with 204.
async fn updates(builder: Builder) -> Vec<String> {
    let (seen, error) = run(builder.build().unwrap()).await;
    assert!(error.is_none(), "{error:?} after {seen:?}");
    seen
}

#[tokio::test]
async fn the_first_request_is_what_the_standard_asks_for() {
    let peer = Peer::start([]);
    let url = peer.url("/a%20b?q=1&r=%2F#fragment");
    run(EventSource::new(&url).unwrap()).await;
    let request = peer.request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/a%20b?q=1&r=%2F"));
    assert_eq!(request.field("accept").unwrap(), b"text/event-stream");
    assert_eq!(request.field("accept-encoding").unwrap(), b"identity");
    assert_eq!(request.field("cache-control").unwrap(), b"no-cache");
    assert_eq!(request.field("host").unwrap(), peer.address.to_string().as_bytes());
    for absent in ["last-event-id", "content-length", "transfer-encoding", "connection"] {
        assert_eq!(request.field(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn the_end_of_a_stream_reconnects_and_resumes() {
    let peer = Peer::start([
        stream("id: 1\ndata: a\n\n:hi\n\nevent: e\ndata: b\n\nid: 2\ndata: lost"),
        stream("\u{feff}id: 3\ndata: c\n\n"),
        stream("id\n\n"),
    ]);
    let seen = updates(quick(&peer)).await;
    let expected = [
        "open",
        "message \"a\" 1",
        ":hi",
        "e \"b\" 1",
        "ended",
        "open",
        "message \"c\" 3",
        "ended",
        "open",
        "ended",
        "closed",
    ];
    assert_eq!(seen, expected);
    let ids: Vec<_> =
        (0..4).map(|_| peer.request().field("last-event-id").map(<[u8]>::to_vec)).collect();
    // The id of an incomplete block does not count, and an empty id takes the header away.
    assert_eq!(ids, [None, Some(b"1".to_vec()), Some(b"3".to_vec()), None]);
}

#[tokio::test]
async fn retry_is_waited_for_and_stays_in_force() {
    let peer = Peer::start([stream("retry: 400\n"), stream(""), stream("retry: x\n")]);
    let seen = updates(quick(&peer).retry(Duration::from_secs(60))).await;
    assert_eq!(seen[..2], ["open", "retry 400"]);
    let at: Vec<_> = (0..4).map(|_| peer.request().at).collect();
    for pair in at.windows(2) {
        let wait = pair[1] - pair[0];
        assert!(wait >= Duration::from_millis(400), "{wait:?}");
        assert!(wait < Duration::from_secs(10), "{wait:?}");
    }
}

#[tokio::test]
async fn a_cut_chunk_loses_no_event_and_no_id() {
    let peer = Peer::start([
        raw(CHUNKED.to_owned() + "20\r\nid: 1\ndata: a\n\nid: 2\nda"),
        raw(CHUNKED.to_owned() + "zz\r\n"),
    ]);
    let seen = updates(quick(&peer)).await;
    let expected = ["open", "message \"a\" 1", "broken", "open", "broken", "closed"];
    assert_eq!(seen, expected);
    let ids = [(); 3].map(|()| peer.request().field("last-event-id").map(<[u8]>::to_vec));
    assert_eq!(ids, [None, Some(b"1".to_vec()), Some(b"1".to_vec())]);
}

#[tokio::test]
async fn a_connection_without_an_answer_reconnects() {
    let peer = Peer::start([raw(""), raw("nonsense\r\n\r\n"), stream("data: a\n\n")]);
    let seen = updates(quick(&peer).last_event_id("7")).await;
    let expected = ["unanswered", "unanswered", "open", "message \"a\" 7", "ended", "closed"];
    assert_eq!(seen, expected);
    for _ in 0..4 {
        assert_eq!(peer.request().field("last-event-id").unwrap(), b"7");
    }
}

#[tokio::test]
async fn a_refused_connection_is_tried_until_the_server_is_up() {
    let port = Port::new();
    let mut source =
        EventSource::builder(&port.url()).retry(SOON).max_backoff(2 * SOON).build().unwrap();
    let mut longest = SOON;
    for _ in 0..3 {
        let update = next(&mut source).await.unwrap().unwrap();
        let Update::Reconnecting { reason, after } = update else { panic!("{update:?}") };
        assert!(reason.to_string().contains("refused"), "{reason}");
        assert!((SOON..=2 * SOON).contains(&after), "{after:?}");
        assert_eq!(source.state(), State::Connecting);
        longest = longest.max(after);
    }
    assert!(longest > SOON, "the wait grows");
    let peer = Peer::serve(port.listen(), [stream("data: a\n\n")]);
    let (seen, _) = run(source).await;
    assert_eq!(seen.iter().find(|it| *it != "unanswered").unwrap(), "open");
    peer.request();
}

#[tokio::test]
async fn ids_are_sent_as_the_bytes_they_are() {
    let peer = Peer::start([stream("id: …日 😀\n\n"), stream("id: a\x01b\n\n"), stream("")]);
    updates(quick(&peer)).await;
    let ids = [(); 4].map(|()| peer.request().field("last-event-id").map(<[u8]>::to_vec));
    // HTTP has no way to carry a control character: the id is left out, the stream goes on.
    assert_eq!(ids, [None, Some("…日 😀".into()), None, None]);
}

#[tokio::test]
async fn headers_and_body_are_sent_each_time() {
    let peer = Peer::start([stream("")]);
    let name = HeaderName::from_static("x-test");
    let accept = HeaderValue::from_static("text/event-stream, application/json");
    let builder = quick(&peer).post("question").repeat(true);
    let builder = builder.header(name, HeaderValue::from_static("1"));
    updates(builder.header(reqwest::header::ACCEPT, accept)).await;
    for _ in 0..2 {
        let request = peer.request();
        assert_eq!((request.method.as_str(), &request.body[..]), ("POST", &b"question"[..]));
        assert_eq!(request.field("x-test").unwrap(), b"1");
        assert_eq!(
            request.field("accept").unwrap(),
            b"text/event-stream, application/json",
            "the caller's field takes the place of ours"
        );
    }
}

/// Each end of a POST, and what follows; the peer has more answers than are asked for.
#[tokio::test]
async fn a_post_is_sent_once() {
    let question = |peer: &Peer| quick(peer).post("question").retry_unavailable(true);
    let post = |peer: &Peer| run(question(peer).build().unwrap());
    // For the mute only: what a timeout ends must not have an answer to come.
    let post_to_mute =
        |peer: &Peer| run(question(peer).read_timeout(Duration::from_millis(300)).build().unwrap());
    let is_asked_once = |peer: &Peer| {
        peer.request();
        assert!(peer.request_within(10 * SOON).is_none(), "a second request");
    };
    let peer = Peer::start([stream("data: x\n\ndata: [DONE]\n\n"), held("")]);
    let (seen, error) = post(&peer).await;
    assert_eq!(seen, ["open", "message \"x\" ", "message \"[DONE]\" ", "closed"]);
    assert!(error.is_none(), "{error:?}");
    is_asked_once(&peer);
    let mute: Answer = Box::new(|socket| {
        let _ = socket.read(&mut [0; 1]);
    });
    let cut = raw(CHUNKED.to_owned() + "20\r\ndata: x");
    let ends = [(cut, "broke"), (raw(""), "no answer"), (mute, "nothing"), (held(""), "nothing")];
    for (end, words) in ends {
        let peer = Peer::start([end, held("")]);
        let (_, error) =
            if words == "nothing" { post_to_mute(&peer).await } else { post(&peer).await };
        assert!(matches!(error, Some(Error::NotRepeated(_))), "{error:?}");
        let text = error.unwrap().to_string();
        assert!(text.contains(words) && text.ends_with("a POST is not sent again by itself"));
        is_asked_once(&peer);
    }
    let peer = Peer::start([status("503 X", "Retry-After: 0\r\n"), held("")]);
    let (_, error) = post(&peer).await;
    assert!(matches!(error, Some(Error::Status { .. })), "{error:?}");
    is_asked_once(&peer);
}

#[tokio::test]
async fn a_post_that_found_no_connection_is_tried_again() {
    let port = Port::new();
    let builder = EventSource::builder(&port.url()).retry(SOON).max_backoff(SOON);
    let mut source = builder.post("question").build().unwrap();
    for _ in 0..2 {
        let update = next(&mut source).await.unwrap().unwrap();
        let Update::Reconnecting { reason, .. } = update else { panic!("{update:?}") };
        assert!(matches!(reason, Reason::Unanswered(_)), "{reason}");
    }
    let peer = Peer::serve(port.listen(), [stream("data: a\n\n")]);
    let (seen, error) = run(source).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(seen[seen.len() - 3..], ["open", "message \"a\" ", "closed"]);
    assert_eq!(peer.request().body, b"question");
}

#[tokio::test]
async fn silence_reconnects_and_comments_are_not_silence() {
    let (say, said) = channel();
    let talkative: Answer = Box::new(move |socket| {
        socket.write_all(HEAD.as_bytes()).unwrap();
        while let Ok(line) = said.recv_timeout(DEADLINE) {
            socket.write_all(line).unwrap();
        }
        let _ = socket.read(&mut [0; 1]);
    });
    let (asked, mut is_asked) = tokio::sync::mpsc::channel(1);
    let mute: Answer = Box::new(move |socket| {
        asked.blocking_send(()).unwrap();
        let _ = socket.read(&mut [0; 1]);
    });
    let peer = Peer::start([talkative, mute]);
    // Longer than any wait of this test: it is over where the clock is moved, and nowhere else.
    let mut source = quick(&peer).read_timeout(Duration::from_secs(60)).build().unwrap();
    assert!(matches!(next(&mut source).await, Some(Ok(Update::Open(_)))));
    // Longer than the timeout in all, but never silent for that long.
    for _ in 0..3 {
        say.send(b":\n" as &[u8]).unwrap();
        let update = next(&mut source).await;
        assert!(matches!(update, Some(Ok(Update::Comment(_)))), "{update:?}");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(40)).await;
        tokio::time::resume();
    }
    say.send(b"data: a\n\n").unwrap();
    let update = next(&mut source).await;
    assert!(matches!(&update, Some(Ok(Update::Event(it))) if it.data == "a"), "{update:?}");
    drop(say);
    assert_silent(&mut source).await;
    // The next one is silent before its answer.
    tokio::select! {
        update = next(&mut source) => panic!("{update:?}"),
        () = async { is_asked.recv().await.unwrap() } => {}
    }
    assert_silent(&mut source).await;
    assert!(matches!(next(&mut source).await, Some(Ok(Update::Closed))));
}

/// The clock leaps to what is due next, and that is the end of the silence.
async fn assert_silent(source: &mut EventSource) {
    tokio::time::pause();
    let update = source.next().await;
    tokio::time::resume();
    let Some(Ok(Update::Reconnecting { reason, .. })) = update else { panic!("{update:?}") };
    assert!(matches!(reason, Reason::Silent(_)), "{reason}");
}

/// A process that was not scheduled for longer than the timeout finds both due: bytes, and the timer.
#[tokio::test]
async fn bytes_that_wait_in_the_socket_are_no_silence() {
    let (say, said) = channel();
    let (have, has_said) = channel();
    let late: Answer = Box::new(move |socket| {
        socket.write_all((HEAD.to_owned() + ": a\n\n").as_bytes()).unwrap();
        said.recv_timeout(DEADLINE).unwrap();
        socket.write_all(b"data: late\n\n").unwrap();
        peer::wait_until_received(socket);
        have.send(()).unwrap();
        let _ = socket.read(&mut [0; 1]);
    });
    let peer = Peer::start([late]);
    let timeout = Duration::from_secs(60);
    let mut source = quick(&peer).read_timeout(timeout).build().unwrap();
    while !matches!(next(&mut source).await, Some(Ok(Update::Comment(_)))) {}
    // This thread is the runtime's only one: it stands still until the bytes are there.
    say.send(()).unwrap();
    has_said.recv_timeout(DEADLINE).unwrap();
    tokio::time::pause();
    tokio::time::advance(2 * timeout).await;
    tokio::time::resume();
    let update = next(&mut source).await;
    assert!(matches!(&update, Some(Ok(Update::Event(it))) if it.data == "late"), "{update:?}");
}

#[tokio::test]
async fn events_come_before_the_stream_ends_and_states_follow() {
    let peer = Peer::start([held("data: a\r\r")]);
    let mut source = quick(&peer).build().unwrap();
    assert_eq!(source.state(), State::Connecting);
    let Some(Ok(Update::Open(head))) = next(&mut source).await else { panic!("open") };
    assert_eq!(head.headers["content-type"], "text/event-stream");
    assert_eq!(source.state(), State::Open);
    let Some(Ok(Update::Event(event))) = next(&mut source).await else { panic!("event") };
    assert_eq!(event.data, "a");
    source.close();
    assert_eq!(source.state(), State::Closed);
    assert!(next(&mut source).await.is_none());
}

#[tokio::test]
async fn close_drops_what_is_queued_and_the_connection() {
    let (gone, is_gone) = channel();
    let answer: Answer = Box::new(move |socket| {
        socket.write_all((HEAD.to_owned() + "data: a\n\ndata: b\n\n").as_bytes()).unwrap();
        let read = socket.read(&mut [0; 1]);
        gone.send(matches!(read, Ok(0) | Err(_))).unwrap();
    });
    let peer = Peer::start([answer]);
    let mut source = quick(&peer).build().unwrap();
    while !matches!(next(&mut source).await, Some(Ok(Update::Event(_)))) {}
    source.close();
    assert!(next(&mut source).await.is_none());
    let is_gone = tokio::task::spawn_blocking(move || is_gone.recv_timeout(DEADLINE));
    assert!(is_gone.await.unwrap().unwrap());
}

#[tokio::test]
async fn dropping_the_future_of_next_loses_nothing() {
    let events: String = (1..=50).map(|n| format!("id: {n}\ndata: {n}\n\n")).collect();
    let drip: Answer = Box::new(move |socket| {
        socket.set_nodelay(true).unwrap();
        socket.write_all(HEAD.as_bytes()).unwrap();
        for piece in events.as_bytes().chunks(5) {
            socket.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let peer = Peer::start([drip]);
    let mut source = quick(&peer).build().unwrap();
    let (mut ids, mut dropped) = (Vec::new(), 0);
    let start = Instant::now();
    while source.state() != State::Closed {
        assert!(start.elapsed() < DEADLINE);
        match tokio::time::timeout(Duration::from_micros(300), source.next()).await {
            Ok(Some(Ok(Update::Event(event)))) => ids.push(event.data.parse::<u32>().unwrap()),
            Ok(_) => {}
            Err(_) => dropped += 1,
        }
    }
    assert_eq!(ids, (1..=50).collect::<Vec<_>>());
    assert!(dropped > 0, "the test dropped futures");
}

#[tokio::test]
async fn an_event_past_the_limit_ends_for_good() {
    let too_long = || stream("data: 0123456789\n\ndata: 0123456789a\n\n");
    let peer = Peer::start([too_long(), too_long()]);
    let limits = Limits { max_event_bytes: 10 };
    let (seen, error) = run(quick(&peer).limits(limits).build().unwrap()).await;
    assert_eq!(seen, ["open", "message \"0123456789\" "]);
    let expected = ParseError::EventTooLarge { max_event_bytes: 10 };
    assert!(matches!(error, Some(Error::Parse(found)) if found == expected));
    // Another connection would meet the same event.
    peer.request();
    assert!(peer.request_within(10 * SOON).is_none());
}

#[tokio::test]
async fn retry_zero_does_not_spin() {
    let peer = Peer::start((0..5).map(|_| stream("retry: 0\n")));
    updates(quick(&peer)).await;
    let at: Vec<_> = (0..6).map(|_| peer.request().at).collect();
    assert!(at[5] - at[0] >= 5 * Duration::from_millis(50));
}

#[tokio::test]
async fn a_retry_of_years_is_an_hour() {
    let peer = Peer::start([stream("retry: 99999999999\ndata: a\n\n")]);
    let mut source = quick(&peer).build().unwrap();
    let after = loop {
        if let Update::Reconnecting { after, .. } = next(&mut source).await.unwrap().unwrap() {
            break after;
        }
    };
    assert_eq!((after, source.retry()), (Duration::from_secs(3600), Duration::from_secs(3600)));
}

#[tokio::test]
async fn empty_streams_are_asked_for_ever_more_slowly() {
    const MAX: Duration = Duration::from_millis(400);
    /// Of the script, the last one lasts.
    const STREAMS: usize = 12;
    // The waits are random, and this test's only: the generator belongs to the thread.
    fastrand::seed(7);
    let empty = || stream("retry: 0\n\n");
    let (end, ends) = channel();
    let lasting: Answer = Box::new(move |socket| {
        socket.write_all(HEAD.as_bytes()).unwrap();
        ends.recv_timeout(DEADLINE).unwrap();
    });
    let script = (0..8).map(|_| empty()).chain([stream("data: a\n\n"), empty(), empty(), lasting]);
    let peer = Peer::start(script);
    let mut source = EventSource::builder(&peer.url("/")).max_backoff(MAX).build().unwrap();
    let (mut waits, mut opened) = (Vec::new(), 0);
    while let Some(update) = next(&mut source).await {
        match update.unwrap() {
            Update::Reconnecting { after, .. } => waits.push(after),
            Update::Open(_) => {
                opened += 1;
                if opened == STREAMS {
                    // It lasts from when the client has opened it, not from when the peer has.
                    tokio::time::sleep(2 * SOON).await;
                    end.send(()).unwrap();
                }
            }
            _ => {}
        }
    }
    // The least wait stands for `retry: 0`; seven of up to 200 or 400 ms are not all near it.
    assert_eq!(waits[0], SOON, "the first end may be the server's restart");
    assert!(waits[1..8].iter().any(|wait| *wait > 2 * SOON), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= MAX), "{waits:?}");
    assert_eq!(waits[8..10], [SOON, SOON], "an event starts it over");
    assert_eq!(waits[11], SOON, "a stream that lasted, too");
}

#[tokio::test]
async fn one_end_of_a_connection_is_one_request() {
    let reset: Answer = Box::new(|socket| {
        socket.write_all((CHUNKED.to_owned() + "1f\r\ndata: h").as_bytes()).unwrap();
        TcpSocket::from_std_stream(socket.try_clone().unwrap()).set_zero_linger().unwrap();
    });
    // The last chunk and FIN come together.
    for (end, word) in [(reset, "broke"), (stream("data: a\n\n"), "ended")] {
        let next_one = || held("data: next\n\n");
        let peer = Peer::start([end, next_one(), next_one()]);
        let mut source = quick(&peer).build().unwrap();
        loop {
            match next(&mut source).await.unwrap().unwrap() {
                Update::Event(event) if event.data == "next" => break,
                Update::Reconnecting { reason, .. } => {
                    assert!(reason.to_string().contains(word), "{reason}");
                }
                _ => {}
            }
        }
        let more = tokio::time::timeout(5 * SOON, source.next()).await;
        assert!(more.is_err(), "{more:?}");
        (0..2).for_each(|_| drop(peer.request()));
        assert!(peer.request_so_far().is_none(), "{word}: a third request");
    }
}

#[tokio::test]
async fn types_that_are_named_as_the_states_are_types() {
    let body = "event: error\ndata: boom\n\nevent: open\ndata: o\n\n\
                event: close\ndata: c\n\ndata: next\n\n";
    let peer = Peer::start([held(body)]);
    let mut source = quick(&peer).build().unwrap();
    assert!(matches!(next(&mut source).await, Some(Ok(Update::Open(_)))));
    for (kind, data) in [("error", "boom"), ("open", "o"), ("close", "c"), ("message", "next")] {
        let update = next(&mut source).await;
        let Some(Ok(Update::Event(event))) = update else { panic!("{update:?}") };
        assert_eq!((&event.event[..], &event.data[..]), (kind, data));
        assert_eq!(source.state(), State::Open);
    }
    peer.request();
    assert!(peer.request_so_far().is_none());
}

#[tokio::test]
async fn an_hour_of_silence_is_no_end() {
    let (say, said) = channel();
    let late: Answer = Box::new(move |socket| {
        socket.write_all((HEAD.to_owned() + ": a\n\n").as_bytes()).unwrap();
        said.recv_timeout(DEADLINE).unwrap();
        socket.write_all(b"data: late\n\n").unwrap();
        let _ = socket.read(&mut [0; 1]);
    });
    let peer = Peer::start([late]);
    let mut source = EventSource::new(&peer.url("/")).unwrap();
    while !matches!(next(&mut source).await, Some(Ok(Update::Comment(_)))) {}
    // The clock of the runtime leaps to whatever is due next: any limit of ours, or the hour.
    tokio::time::pause();
    let silence = tokio::time::timeout(Duration::from_secs(3600), source.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    tokio::time::resume();
    say.send(()).unwrap();
    let update = next(&mut source).await;
    assert!(matches!(&update, Some(Ok(Update::Event(it))) if it.data == "late"), "{update:?}");
}
