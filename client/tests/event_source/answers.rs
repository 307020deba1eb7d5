//! Each answer that HTTP knows, and what comes of it.

use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime};

use client::{Error, Update};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};

use super::peer::{Answer, CHUNKED, HEAD, Peer, raw, status, stream};
use super::{next, quick, run, updates};

#[tokio::test]
async fn no_content_ends_for_good() {
    let peer = Peer::start([]);
    assert_eq!(updates(quick(&peer)).await, ["closed"]);
    peer.request();
    assert!(peer.request_so_far().is_none());
}

#[tokio::test]
async fn other_statuses_fail_for_good() {
    for line in ["205 X", "206 X", "299 X", "304 X", "400 X", "404 X", "500 X", "503 X"] {
        let peer = Peer::start([status(line, "Content-Type: text/event-stream\r\n")]);
        let (seen, error) = run(quick(&peer).build().unwrap()).await;
        assert!(seen.is_empty(), "{line}: {seen:?}");
        let Some(Error::Status { status, .. }) = error else { panic!("{line}: {error:?}") };
        assert_eq!(status.as_str(), &line[..3]);
    }
}

#[tokio::test]
async fn other_types_fail_for_good() {
    for kind in ["text/plain", "text/event-streams", "application/json", ""] {
        let line = format!("Content-Type: {kind}\r\n");
        let answer = format!("HTTP/1.1 200 OK\r\n{line}Connection: close\r\n\r\ndata: a\n\n");
        let peer = Peer::start([raw(answer)]);
        let (seen, error) = run(quick(&peer).build().unwrap()).await;
        assert!(seen.is_empty(), "{kind}: {seen:?}");
        assert!(matches!(error, Some(Error::ContentType { .. })), "{kind}: {error:?}");
    }
    let peer = Peer::start([raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: a\n\n")]);
    let (_, error) = run(quick(&peer).build().unwrap()).await;
    assert!(error.unwrap().to_string().ends_with("its Content-Type is missing"));
}

#[tokio::test]
async fn parameters_and_case_of_the_type_do_not_matter() {
    for kind in ["Text/Event-Stream", "text/event-stream;charset=windows-1252"] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
        let peer = Peer::start([raw(head + "data: é\n\n")]);
        assert_eq!(updates(quick(&peer)).await[..2], ["open", "message \"é\" "]);
    }
}

#[tokio::test]
async fn redirects_are_followed_and_the_original_url_is_used_again() {
    for code in [301, 302, 303, 307, 308] {
        let peer = Peer::start([
            status(&format!("{code} Moved"), "Location: /elsewhere?a=b\r\n"),
            stream("id: 1\ndata: a\n\n"),
            stream("data: b\n\n"),
        ]);
        let mut source = quick(&peer).build().unwrap();
        let Some(Ok(Update::Open(head))) = next(&mut source).await else { panic!("open") };
        assert_eq!(head.url.as_str(), peer.url("/elsewhere?a=b"));
        assert_eq!(source.url().as_str(), peer.url("/stream"));
        let (seen, _) = run(source).await;
        let expected = ["message \"a\" 1", "ended", "open", "message \"b\" 1", "ended", "closed"];
        assert_eq!(seen, expected);
        let targets: Vec<_> = (0..3).map(|_| peer.request().target).collect();
        assert_eq!(targets, ["/stream", "/elsewhere?a=b", "/stream"], "{code}");
    }
}

#[tokio::test]
async fn redirects_without_end_or_location_fail() {
    let circle = || (0..40).map(|_| status("302 Found", "Location: /stream\r\n"));
    let peer = Peer::start(circle());
    let (seen, error) = run(quick(&peer).build().unwrap()).await;
    assert!(seen.is_empty());
    assert!(matches!(error, Some(Error::Request(_))), "{error:?}");
    let mut requests = 0;
    while peer.request_so_far().is_some() {
        requests += 1;
    }
    assert_eq!(requests, 1 + client::event_source::MAX_REDIRECTS);

    let peer = Peer::start([status("302 Found", "")]);
    let (_, error) = run(quick(&peer).build().unwrap()).await;
    assert!(matches!(error, Some(Error::Status { .. })), "{error:?}");
}

#[tokio::test]
async fn a_redirect_to_another_origin_loses_the_credentials() {
    let other = Peer::start([]);
    let peer = Peer::start([status("307 X", &format!("Location: {}\r\n", other.url("/x")))]);
    updates(quick(&peer).header(AUTHORIZATION, HeaderValue::from_static("Bearer secret"))).await;
    assert_eq!(peer.request().field("authorization").unwrap(), b"Bearer secret");
    assert_eq!(other.request().field("authorization"), None);
}

#[tokio::test]
async fn a_redirect_within_the_origin_keeps_the_request() {
    for code in [307, 308] {
        let peer = Peer::start([
            stream("id: 7\ndata: a\n\n"),
            status(&format!("{code} X"), "Location: /b\r\n"),
            stream("data: b\n\n"),
        ]);
        let builder = quick(&peer)
            .post("question")
            .repeat(true)
            .header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
            .header(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
        updates(builder).await;
        let requests = [(); 4].map(|()| peer.request());
        let targets: Vec<_> = requests.iter().map(|it| &it.target[..]).collect();
        assert_eq!(targets, ["/stream", "/stream", "/b", "/stream"], "{code}");
        for request in &requests[1..3] {
            assert_eq!((&request.method[..], &request.body[..]), ("POST", &b"question"[..]));
            for (name, value) in [
                ("accept", "text/event-stream"),
                ("accept-encoding", "identity"),
                ("authorization", "Bearer secret"),
                ("content-type", "text/plain"),
                ("last-event-id", "7"),
            ] {
                assert_eq!(request.field(name), Some(value.as_bytes()), "{code}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_coding_is_an_error_that_names_it() {
    let coded = |field: &str| {
        let head = CHUNKED.replace("Transfer-Encoding", &format!("{field}\r\nTransfer-Encoding"));
        raw(head + "9\r\ndata: a\n\n\r\n0\r\n\r\n")
    };
    for (field, found) in [
        ("Content-Encoding: gzip", "gzip"),
        ("Content-Encoding: identity, BR", "BR"),
        ("Content-Encoding: deflate\r\nContent-Encoding: zstd", "deflate, zstd"),
        ("Transfer-Encoding: gzip", "gzip"),
    ] {
        let peer = Peer::start([coded(field)]);
        let (seen, error) = run(quick(&peer).build().unwrap()).await;
        assert!(seen.is_empty(), "{field}: {seen:?}");
        assert!(matches!(error, Some(Error::Coding { .. })), "{field}: {error:?}");
        let text = error.unwrap().to_string();
        assert!(text.contains(&format!("coded as {found},")), "{text}");
    }
    for none in ["Content-Encoding: identity", "Content-Encoding: None", "Content-Encoding:"] {
        let peer = Peer::start([coded(none)]);
        assert_eq!(updates(quick(&peer)).await[..2], ["open", "message \"a\" "], "{none}");
    }
}

#[tokio::test]
async fn the_words_of_a_refusal_are_in_the_error() {
    let refused = async |fields: &str, body: &str| {
        let length = body.len();
        let head = format!("HTTP/1.1 401 X\r\n{fields}\r\nContent-Length: {length}\r\n\r\n");
        let peer = Peer::start([raw(head + body)]);
        let (_, error) = run(quick(&peer).build().unwrap()).await;
        let Some(Error::Status { ref words, .. }) = error else { panic!("{error:?}") };
        (words.clone(), error.unwrap().to_string())
    };
    let json = r#"{"error":{"message":"No auth credentials found"}}"#;
    for kind in ["application/json", "application/problem+json; charset=utf-8", "Text/Plain"] {
        let (words, shown) = refused(&format!("Content-Type: {kind}"), json).await;
        assert_eq!(words, json, "{kind}");
        assert!(shown.ends_with(&format!("answered 401 Unauthorized: {json}")), "{shown}");
    }
    let (words, shown) = refused("Content-Type: text/plain", " two\r\n lines\x1b[2J\u{9b}\n").await;
    assert_eq!(words, "two\r\n lines\x1b[2J\u{9b}");
    assert!(shown.ends_with(": two lines\u{fffd}[2J\u{fffd}"), "{shown}");
    let (words, _) = refused("Content-Type: text/plain", &"€".repeat(1000)).await;
    assert_eq!(words, "€".repeat(341), "1 KiB, of whole characters");
    for no_words in [
        "Content-Type: application/octet-stream",
        "X-Type: none",
        "Content-Type: text/plain\r\nContent-Encoding: gzip",
    ] {
        let (words, shown) = refused(no_words, "data").await;
        assert_eq!(words, "", "{no_words}");
        assert!(shown.ends_with("answered 401 Unauthorized"), "{shown}");
    }
}

#[tokio::test]
async fn words_of_a_refusal_that_do_not_end_are_not_waited_for() {
    let head = "HTTP/1.1 401 X\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
    let stalled: Answer = Box::new(move |socket| {
        socket.write_all((head.to_owned() + "no token").as_bytes()).unwrap();
        let _ = socket.read(&mut [0; 1]);
    });
    let endless: Answer = Box::new(move |socket| {
        let _ = socket.write_all(head.as_bytes());
        while socket.write_all(&[b'x'; 100]).is_ok() {}
    });
    for (answer, begin) in [(stalled, "no token"), (endless, "xxx")] {
        let peer = Peer::start([answer]);
        let (_, error) = run(quick(&peer).build().unwrap()).await;
        let Some(Error::Status { words, .. }) = error else { panic!("{error:?}") };
        assert!(words.starts_with(begin) && words.len() <= 1024, "{words}");
    }
}

#[tokio::test]
async fn unavailable_is_waited_out_only_if_asked() {
    let peer = Peer::start([
        status("503 X", "Retry-After: 1\r\n"),
        status("429 X", ""),
        status("404 X", "Retry-After: 1\r\n"),
    ]);
    let (seen, error) = run(quick(&peer).retry_unavailable(true).build().unwrap()).await;
    assert_eq!(seen, ["unavailable 503", "unavailable 429"]);
    assert!(matches!(error, Some(Error::Status { .. })), "{error:?}");
    let (first, second) = (peer.request().at, peer.request().at);
    assert!(second - first >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_date_in_retry_after_is_waited_for_and_only_if_asked() {
    // Before the date is made: a lower bound must not lose what lies between.
    let start = Instant::now();
    let until = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    let away = || status("503 X", &format!("Retry-After: {until}\r\n"));
    let peer = Peer::start([away()]);
    assert_eq!(updates(quick(&peer).retry_unavailable(true)).await, ["unavailable 503", "closed"]);
    // A date has whole seconds, and some time has gone since it was made.
    peer.request();
    assert!(peer.request().at - start >= Duration::from_millis(1900));
    for fields in [format!("Retry-After: {until}\r\n"), "Retry-After: 0\r\n".to_owned()] {
        let peer = Peer::start([status("503 X", &fields)]);
        let (seen, error) = run(quick(&peer).build().unwrap()).await;
        assert!(seen.is_empty() && matches!(error, Some(Error::Status { .. })), "{error:?}");
        peer.request();
        assert!(peer.request_so_far().is_none());
    }
}

#[tokio::test]
async fn informational_responses_are_passed_over() {
    let head = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_owned() + HEAD;
    let peer = Peer::start([raw(head + "data: a\n\n")]);
    assert_eq!(updates(quick(&peer)).await[..2], ["open", "message \"a\" "]);
}

#[tokio::test]
async fn interim_answers_without_end_are_no_answer() {
    let flood: Answer = Box::new(|socket| {
        while socket.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let peer = Peer::start([flood]);
    let seen = updates(quick(&peer).answer_timeout(Duration::from_millis(300))).await;
    // On a busy machine 204 may come too late as well, and the peer gives no other answer after it.
    let (last, before) = seen.split_last().unwrap();
    assert_eq!((before[0].as_str(), last.as_str()), ("no answer", "closed"), "{seen:?}");
    assert!(before.iter().all(|it| it == "no answer"), "{seen:?}");
}
