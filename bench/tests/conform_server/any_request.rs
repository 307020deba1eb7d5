//! `conform server` asks as its user wants it: over TLS, with POST and a body, within a budget.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::bounded::{self, Said};
use crate::chat::{BODY, Chat, PATH, TOKEN, authority};
use crate::target::serve_events;

/// A command that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(240);

fn conform(url: &str, arguments: &[&str]) -> Said {
    let arguments = [&["server", url, "--patience-ms", "2000"], arguments].concat();
    bounded::conform(&arguments, DEADLINE)
}

fn ask(chat: &Chat, arguments: &[&str]) -> Said {
    conform(&chat.url(), &[&["-d", BODY, "-H", TOKEN], arguments].concat())
}

/// The number in `… N requests were sent`.
fn sent(said: &Said) -> usize {
    let line = said.stdout.lines().find_map(|it| it.strip_suffix(" requests were sent"));
    let number = line.and_then(|it| it.rsplit(' ').next());
    number.unwrap_or_else(|| panic!("{}", said.all())).parse().unwrap()
}

#[test]
fn a_stream_that_answers_a_post_is_judged_by_that_post() {
    let chat = Chat::start();
    let only = "S1,S2,S3.01,S3.03,S6,S9.01,S9.04,S9.05,S9.10,S9.20,S9.23,S9.25";
    let said = ask(&chat, &["--i-own-this-server", "--only", only]);
    let passed = said.verdicts("pass");
    for id in ["S1.01", "S1.02", "S1.04", "S2.07", "S9.20", "S9.23"] {
        assert!(passed.contains(&id), "{id}: {}", said.all());
    }
    for id in ["S9.01", "S9.04", "S9.05", "S9.25"] {
        assert_eq!(said.actual(id), "it is about GET, and this stream answers POST");
    }
    let requests = chat.requests();
    let of_stream: Vec<_> =
        requests.iter().filter(|it| it.target.ends_with(PATH) && it.method == "POST").collect();
    assert!(of_stream.len() > 20, "{}", of_stream.len());
    for request in &of_stream {
        assert_eq!(request.body, BODY.as_bytes(), "{request:?}");
        assert_eq!(request.shown("authorization"), "authorization: Bearer s3cret");
        assert_eq!(request.shown("content-type"), "content-type: application/json");
    }
    // A report may be shown to others.
    assert!(said.stdout.contains("Authorization: (not shown)"), "{}", said.all());
    assert!(!said.all().contains("s3cret"), "{}", said.all());
    let resumed = of_stream.iter().filter(|it| it.header("last-event-id").is_some());
    assert!(resumed.count() > 0, "a reconnection is the same request");
}

#[test]
fn a_budget_bounds_the_requests_and_the_rest_is_skipped() {
    let chat = Chat::start();
    let said = ask(&chat, &["--only", "S1.01"]);
    assert!(said.stdout.contains("at most 40 requests will be sent"), "{}", said.all());
    assert_eq!(sent(&said), chat.requests().len(), "{}", said.all());
    let chat = Chat::start();
    let said = ask(&chat, &["--max-requests", "5", "--only", "S1,S2,S9.23"]);
    assert_eq!(sent(&said), 5, "{}", said.all());
    assert!(chat.requests().len() <= 5, "{}", chat.requests().len());
    assert!(said.verdicts("pass").contains(&"S1.01"), "{}", said.all());
    let spent = "the 5 requests that may be sent are spent (--max-requests)";
    assert_eq!(said.actual("S9.23"), spent, "{}", said.all());
    for verdict in ["fail", "blocked", "error", "non-strict"] {
        assert_eq!(said.verdicts(verdict), Vec::<&str>::new(), "{verdict}: {}", said.all());
    }
}

#[test]
fn a_server_that_asks_for_patience_gets_it_or_is_left_alone() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    let only = ["--only", "S1,S2.01,S2.07,S9.23"];
    let verdicts = |said: &Said| {
        ["pass", "fail", "non-strict", "info", "skip"].map(|it| said.verdicts(it).join(" "))
    };
    let plain = ask(&Chat::start(), &only);
    // Fewer than the tries of a case.
    let chat = Chat::refusing(move |number| matches!(number, 3 | 12).then_some(busy));
    let said = ask(&chat, &only);
    assert_eq!(verdicts(&said), verdicts(&plain), "{}", said.all());
    assert!(chat.requests().len() > 15);

    let full = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let chat = Chat::refusing(move |number| (number > 6).then_some(full));
    let said = ask(&chat, &only);
    let reason = "the server wants no request for a while (429)";
    assert_eq!(said.actual("S9.23"), reason, "{}", said.all());
    assert!(said.stdout.contains("429, Retry-After: 3600"), "{}", said.all());
    assert_eq!(said.verdicts("fail"), Vec::<&str>::new(), "{}", said.all());
    assert!(chat.requests().len() < 15, "{}", chat.requests().len());
}

#[test]
fn https_is_judged_as_http_is() {
    let chat = Chat::start();
    let (authority, file) = authority("judged");
    let secured = authority.relay(&["localhost"], chat.address);
    let url = format!("https://localhost:{}{PATH}", secured.port());
    let file = file.to_str().unwrap();
    let ask_secured = |more: &[&str]| {
        let only = ["-d", BODY, "-H", TOKEN, "--only", "S1,S2.01,S2.07,S9.10,S9.20,S9.23"];
        conform(&url, &[&only[..], more].concat())
    };
    let plain = ask(&chat, &["--only", "S1,S2.01,S2.07,S9.10,S9.20,S9.23"]);
    let verdicts =
        |said: &Said| ["pass", "fail", "non-strict", "skip"].map(|it| said.verdicts(it).join(" "));
    for trust in [&["--cacert", file][..], &["--insecure"]] {
        let said = ask_secured(trust);
        assert_eq!(verdicts(&said), verdicts(&plain), "{}", said.all());
        // The one about Host: the server takes a request without it.
        let is = if trust.len() == 2 { "verified for localhost" } else { "not verified" };
        assert!(said.stdout.contains(is) && said.stdout.contains("TLS 1.3"), "{}", said.all());
        assert!(said.stdout.contains("> POST /v1/chat/completions HTTP/1.1"), "{}", said.all());
        assert!(said.stdout.contains("openssl s_client"), "{}", said.all());
    }
    for wrong in [&[][..], &["--cacert", file, "--server-name", "other.example"]] {
        let said = ask_secured(wrong);
        assert_eq!((said.code, said.stderr.lines().count()), (Some(2), 1), "{}", said.all());
        assert!(said.stderr.contains("--cacert FILE"), "{}", said.stderr);
        assert!(said.stderr.trim_end().ends_with("--insecure"), "{}", said.stderr);
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn another_host_is_told_the_bound_and_gets_nothing_hostile() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            seen.fetch_add(1, SeqCst);
            thread::spawn(move || serve_events(socket, 0));
        }
    });
    // An address that stands for any of this host, and that is not known as loopback.
    let url = format!("http://0.0.0.0:{port}/events");
    let only = "S1,S8.07,S9.11,S9.21,S10.09";
    let said = conform(&url, &["--profile", "generic", "--only", only]);
    assert!(said.stdout.contains("at most 300 requests will be sent"), "{}", said.all());
    assert!(said.stdout.contains("hostile cases are left out"), "{}", said.all());
    let reason = "not sent to other hosts without --i-own-this-server";
    for id in ["S8.07", "S9.11", "S9.21", "S10.09"] {
        assert!(said.actual(id).contains(reason), "{id}: {}", said.all());
    }
    assert_eq!(said.verdicts("pass").len(), 9, "{}", said.all());
    assert!((10..=300).contains(&count.load(SeqCst)));
}
