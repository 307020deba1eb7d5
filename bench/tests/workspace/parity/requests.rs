//! The requests, good and bad, of every endpoint.
//!
//! In a request HOST stands for the server's address, EPOCH for the epoch of its ids, SECONDS and
//! TENTHS for a moment just past.

mod http;

use wire::Request;

/// One request and what all servers must make of it.
pub struct Probe {
    pub name: String,
    pub setup: Setup,
    /// Sent before, each on a connection that stays open.
    pub before: Vec<Request>,
    pub request: Request,
    /// Bytes after the request: a body that `Request` would not write.
    pub tail: Vec<u8>,
    pub status: u16,
    pub show: Show,
}

/// How much of the body is compared.
#[derive(Clone, Copy)]
pub enum Show {
    /// All of it.
    Whole,
    /// The first events of a stream that goes on.
    Events(usize),
    /// All of it but the digits.
    Keys,
    /// Nothing.
    Head,
    /// Nothing, nor the headers: so large that the frameworks refuse it on their own.
    Status,
}

/// How the servers are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setup {
    Plain,
    Conformance,
    Token,
    Origin,
    OriginAndToken,
    Host,
    OneStream,
}

impl Setup {
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Setup::Plain => &[],
            Setup::Conformance => &["--conformance"],
            Setup::Token => &["--publish-token", "secret"],
            Setup::Origin => &["--allow-origin", "https://app.example"],
            Setup::OriginAndToken => {
                &["--allow-origin", "https://app.example", "--publish-token", "secret"]
            }
            Setup::Host => &["--allow-host", "app.example,b.example"],
            Setup::OneStream => &["--max-streams", "1"],
        }
    }
}

/// A request with its Host.
fn request(method: &str, target: &str) -> Request {
    Request::new(method, target).header("Host", "HOST")
}

fn get(target: &str) -> Request {
    request("GET", target)
}

fn post(target: &str, body: impl Into<Vec<u8>>) -> Request {
    request("POST", target).body(body)
}

fn resume(target: &str, id: impl AsRef<[u8]>) -> Request {
    get(target).header("Last-Event-ID", id)
}

fn probe(name: &str, request: Request, status: u16) -> Probe {
    Probe {
        name: name.to_owned(),
        setup: Setup::Plain,
        before: Vec::new(),
        request,
        tail: Vec::new(),
        status,
        show: Show::Whole,
    }
}

impl Probe {
    fn with(self, setup: Setup) -> Probe {
        Probe { setup, ..self }
    }

    fn show(self, show: Show) -> Probe {
        Probe { show, ..self }
    }

    fn after(self, before: impl IntoIterator<Item = Request>) -> Probe {
        Probe { before: before.into_iter().collect(), ..self }
    }
}

/// All probes; the names are the names of the tests.
pub fn table() -> Vec<Probe> {
    let groups = [
        pages(),
        ticks(),
        bad_numbers(),
        last_event_ids(),
        time_tasks_simulation(),
        messages(),
        publishing(),
        scripts(),
        methods(),
        http::hosts(),
        http::framing(),
        http::preflights(),
        http::http(),
    ];
    groups.into_iter().flatten().collect()
}

fn pages() -> Vec<Probe> {
    let mut probes = vec![
        probe("page", get("/"), 200),
        probe("page-with-query", get("/?x=1"), 200),
        probe("healthz", get("/healthz"), 200),
        probe("healthz-ready", get("/healthz?ready"), 200),
        probe("metrics", get("/metrics"), 200).show(Show::Keys),
        probe("full", get("/ticks"), 503)
            .with(Setup::OneStream)
            .after([get("/ticks?interval_ms=60000")]),
        probe("origin-allowed", get("/ticks?count=1").header("Origin", "https://app.example"), 200)
            .with(Setup::Origin),
        probe("origin-other", get("/ticks?count=1").header("Origin", "https://b.example"), 200)
            .with(Setup::Origin),
        probe("origin-none", get("/ticks?count=1"), 200).with(Setup::Origin),
        probe("origin-on-problem", get("/none").header("Origin", "https://app.example"), 404)
            .with(Setup::Origin),
    ];
    let unknown = ["/nope", "/ticks/", "/TICKS", "//ticks", "/ticks/1", "/messages", "/messages/"];
    for (path, name) in unknown.into_iter().zip(1..) {
        probes.push(probe(&format!("unknown-path-{name}"), get(path), 404));
    }
    for path in ["/", "/ticks", "/time", "/tasks", "/messages/a", "/simulation", "/healthz"] {
        let name = format!("head-of{}", path.replace('/', "-"));
        probes.push(probe(&name, request("HEAD", path), 200));
    }
    probes.push(probe("head-of-metrics", request("HEAD", "/metrics"), 200));
    probes.push(probe("head-of-bad-value", request("HEAD", "/ticks?count=0"), 400));
    probes.push(probe("head-of-unknown-path", request("HEAD", "/nope"), 404));
    probes
}

fn ticks() -> Vec<Probe> {
    vec![
        probe("ticks", get("/ticks?interval_ms=10"), 200).show(Show::Events(3)),
        probe("ticks-count", get("/ticks?interval_ms=0&count=500"), 200),
        probe("ticks-count-encoded", get("/ticks?interval_ms=0&count=%32"), 200),
        probe("ticks-pad", get("/ticks?interval_ms=0&count=2&pad=7"), 200),
        probe("ticks-pad-most", get("/ticks?interval_ms=0&count=2&pad=65536"), 200),
        probe("ticks-stamp", get("/ticks?interval_ms=0&count=1&stamp=1&pad=2"), 200)
            .show(Show::Keys),
        probe("ticks-align", get("/ticks?interval_ms=20&count=2&align=1"), 200),
        probe("ticks-unknown-parameter", get("/ticks?count=1&colour=%ff&x&=1&&"), 200),
        probe("ticks-resumed", resume("/ticks?interval_ms=0&count=2", "41"), 200),
        probe("ticks-resumed-by-query", get("/ticks?count=1&last_event_id=41"), 200),
        probe("ticks-header-wins", resume("/ticks?count=1&last_event_id=41", "7"), 200),
        probe("ticks-empty-id", resume("/ticks?count=1", ""), 200),
        probe("ticks-empty-id-and-query", resume("/ticks?count=1&last_event_id=41", ""), 200),
        probe("ticks-garbage-id", resume("/ticks?interval_ms=0&count=2", "garbage"), 200),
        probe("ticks-negative-id", resume("/ticks?interval_ms=0&count=2", "-1"), 200),
        probe("ticks-largest-id", resume("/ticks?count=1", "9007199254740992"), 200),
        probe("ticks-id-too-large", resume("/ticks?count=1", "9007199254740993"), 200),
    ]
}

fn bad_numbers() -> Vec<Probe> {
    let queries = [
        ("ticks", "interval_ms=60001"),
        ("ticks", "interval_ms=-1"),
        ("ticks", "interval_ms=%2B1"),
        ("ticks", "interval_ms=1.5"),
        ("ticks", "interval_ms=abc"),
        ("ticks", "interval_ms="),
        ("ticks", "interval_ms"),
        ("ticks", "interval_ms=1&interval_ms=1"),
        ("ticks", "interval_ms=%ff"),
        ("ticks", "interval_ms=99999999999999999999999999"),
        ("ticks", "count=0"),
        ("ticks", "count=1000001"),
        ("ticks", "count=1&count=2"),
        ("ticks", "pad=65537"),
        ("ticks", "pad=x%0d%0aX-Injected:1"),
        ("ticks", "stamp=yes"),
        ("ticks", "stamp=2"),
        ("ticks", "align=-"),
        ("ticks", "last_event_id=1&last_event_id=2"),
        ("ticks", "last_event_id=%ff"),
        ("tasks", "step_ms=60001"),
        ("tasks", "step_ms=abc"),
    ];
    let bad = queries.into_iter().zip(1..).map(|((path, query), number)| {
        let parameter = query.split('=').next().unwrap_or_default();
        probe(&format!("bad-{number:02}-{parameter}"), get(&format!("/{path}?{query}")), 400)
    });
    bad.collect()
}

fn last_event_ids() -> Vec<Probe> {
    let mut probes = Vec::new();
    for path in ["/ticks?count=1", "/time", "/tasks?step_ms=0", "/messages/ids", "/simulation"] {
        let name =
            |what: &str| format!("{what}-{}", path[1..].split(['?', '/']).next().unwrap_or(""));
        probes.push(probe(&name("id-too-long"), resume(path, "9".repeat(257)), 400));
        probes
            .push(probe(&name("id-longest"), resume(path, "x".repeat(256)), 200).show(Show::Head));
        probes.push(probe(&name("id-not-utf8"), resume(path, b"1\xff"), 400));
    }
    let long = format!("/ticks?last_event_id={}", "9".repeat(257));
    probes.push(probe("id-too-long-by-query", get(&long), 400));
    probes.push(probe("id-utf8", resume("/ticks?count=1", "✓"), 200));
    probes
}

fn time_tasks_simulation() -> Vec<Probe> {
    vec![
        probe("time-head", get("/time"), 200).show(Show::Head),
        probe("time-resumed", resume("/time", "SECONDS"), 200).show(Show::Events(2)),
        probe("time-garbage-id", resume("/time", "x"), 200).show(Show::Head),
        probe("tasks", get("/tasks?step_ms=0"), 200),
        probe("tasks-resumed", resume("/tasks?step_ms=0", "10"), 200),
        probe("tasks-resumed-before-close", resume("/tasks?step_ms=0", "24"), 200),
        probe("tasks-done", resume("/tasks", "25"), 204),
        probe("tasks-more-than-done", resume("/tasks", "99"), 204),
        probe("tasks-garbage-id", resume("/tasks?step_ms=0", "x"), 200),
        probe("simulation-resumed", resume("/simulation", "TENTHS"), 200).show(Show::Events(3)),
        probe("simulation-head", get("/simulation"), 200).show(Show::Head),
        probe("simulation-garbage-id", resume("/simulation", "x"), 200).show(Show::Head),
    ]
}

fn messages() -> Vec<Probe> {
    let publish = |topic: &str| {
        let path = format!("/messages/{topic}");
        [post(&path, "one"), post(&path, "two\nlines"), post(&path, " three ")]
    };
    let longest = format!("/messages/{}", "x".repeat(64));
    let too_long = format!("/messages/{}", "x".repeat(65));
    let mut probes = vec![
        probe("messages-head", get("/messages/a"), 200).show(Show::Head),
        probe("messages-longest-topic", get(&longest), 200).show(Show::Head),
        probe("messages-too-long-topic", get(&too_long), 400),
        probe("messages-resumed", resume("/messages/r1", "EPOCH-1"), 200)
            .after(publish("r1"))
            .show(Show::Events(2)),
        probe("messages-resumed-by-query", get("/messages/r2?last_event_id=EPOCH-2"), 200)
            .after(publish("r2"))
            .show(Show::Events(1)),
        probe("messages-encoded-topic", resume("/messages/r%33", "EPOCH-1"), 200)
            .after(publish("r3"))
            .show(Show::Events(2)),
        probe("messages-other-epoch", resume("/messages/r4", "00000000-2"), 200)
            .after(publish("r4"))
            .show(Show::Events(4)),
        probe("messages-garbage-id", resume("/messages/r5", "garbage"), 200)
            .after(publish("r5"))
            .show(Show::Events(4)),
        probe("messages-future-id", resume("/messages/r6", "EPOCH-99"), 200)
            .after(publish("r6"))
            .show(Show::Events(4)),
    ];
    let topics = ["a%20b", "a%2Fb", "%C3%A9", "a+b", "a%00", "a%0d%0ab", "%ff", "a:b", "%2e%2e%2f"];
    for (topic, number) in topics.into_iter().zip(1..) {
        let path = format!("/messages/{topic}");
        probes.push(probe(&format!("bad-topic-{number}"), get(&path), 400));
        probes.push(probe(&format!("bad-topic-{number}-post"), post(&path, "x"), 400));
    }
    probes.push(probe("topic-with-slash", get("/messages/a/b"), 404));
    probes
}

fn publishing() -> Vec<Probe> {
    let largest = 65536;
    let chunked = |size: usize| {
        let head = request("POST", "/messages/chunked").header("Transfer-Encoding", "chunked");
        let body = vec![b'x'; size];
        let chunks = body
            .chunks(8192)
            .map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        (head, [chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat())
    };
    let (fits, fitting_tail) = chunked(largest);
    let (exceeds, exceeding_tail) = chunked(largest + 1);
    let (far_exceeds, far_exceeding_tail) = chunked(16 * largest);
    let with_tail = |probe: Probe, tail: Vec<u8>| Probe { tail, show: Show::Keys, ..probe };
    let from = |origin: &str| post("/messages/origin", "x").header("Origin", origin);
    let token = |name: &str, value: Option<&str>, status: u16| {
        let request = post("/messages/token", "x");
        let request = match value {
            Some(value) => request.header("Authorization", value),
            None => request,
        };
        probe(name, request, status).with(Setup::Token).show(Show::Keys)
    };
    vec![
        probe("post", post("/messages/post", "hello"), 201),
        probe("post-encoded-topic", post("/messages/post%2De", "hello"), 201),
        probe("post-utf8", post("/messages/utf8", "naïve ✓"), 201),
        probe("post-empty", post("/messages/empty", ""), 201),
        // To ignore it is a server's right, but not the body's length.
        probe(
            "post-upgrade-websocket",
            post("/messages/upgrade", "hello")
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket"),
            201,
        ),
        probe("post-largest", post("/messages/large", vec![b'x'; largest]), 201),
        // Nothing of the body is sent: an announced length is enough.
        probe(
            "post-announced-too-large",
            request("POST", "/messages/large").header("Content-Length", "65537"),
            413,
        ),
        probe(
            "post-announced-far-too-large",
            request("POST", "/messages/large").header("Content-Length", "18446744073709551613"),
            413,
        ),
        probe("post-too-large", post("/messages/large", vec![b'x'; largest + 1]), 413),
        probe("post-far-too-large", post("/messages/large", vec![b'x'; 16 * largest]), 413),
        with_tail(probe("post-chunked-largest", fits, 201), fitting_tail),
        with_tail(probe("post-chunked-too-large", exceeds, 413), exceeding_tail),
        with_tail(probe("post-chunked-far-too-large", far_exceeds, 413), far_exceeding_tail),
        probe(
            "post-form-with-method",
            post("/messages/form", "_method=put")
                .header("Content-Type", "application/x-www-form-urlencoded"),
            201,
        ),
        probe("post-not-utf8", post("/messages/bytes", b"ab\xffcd".to_vec()), 400),
        probe("post-cross-site", from("https://evil.example"), 403),
        probe("post-cross-site-null", from("null"), 403),
        probe("post-same-site", from("http://HOST"), 201).show(Show::Keys),
        probe("post-allowed-origin", from("https://app.example"), 201)
            .with(Setup::Origin)
            .show(Show::Keys),
        probe("post-other-origin", from("https://evil.example"), 403).with(Setup::Origin),
        token("post-token", Some("Bearer secret"), 201),
        token("post-token-scheme-case", Some("bearer secret"), 201),
        token("post-token-missing", None, 401),
        token("post-token-wrong", Some("Bearer secre"), 403),
        token("post-token-empty", Some("Bearer "), 401).show(Show::Head),
        token("post-token-other-scheme", Some("Basic secret"), 401),
    ]
}

fn scripts() -> Vec<Probe> {
    // base64url of [], [{"data":"a\nb"}], {}, [{"data":"x","times":67108865}]
    let events = |name: &str, events: &str, status| {
        probe(name, get(&format!("/script?events={events}")), status).with(Setup::Conformance)
    };
    vec![
        events("script-empty", "W10", 200),
        events("script", "W3siZGF0YSI6ImFcbmIifV0", 200),
        events("script-not-base64", "*", 400),
        events("script-padded", "W10=", 400),
        events("script-no-list", "e30", 400),
        events("script-too-large", "W3siZGF0YSI6IngiLCJ0aW1lcyI6NjcxMDg4NjV9XQ", 400),
        probe("script-missing", get("/script"), 400).with(Setup::Conformance),
        probe("script-post", request("POST", "/script"), 405).with(Setup::Conformance),
        probe("script-off", get("/script?events=W10"), 404),
        probe("script-off-post", request("POST", "/script"), 404),
    ]
}

fn methods() -> Vec<Probe> {
    let mut probes = Vec::new();
    for path in ["/", "/ticks", "/time", "/tasks", "/simulation", "/healthz", "/metrics"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "FOO"] {
            let name = format!("{}{}", method.to_lowercase(), path.replace('/', "-"));
            probes.push(probe(&name, request(method, path), 405));
        }
    }
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "FOO", "get"] {
        let name = format!("method-{method}-messages");
        probes.push(probe(&name, request(method, "/messages/a"), 405));
    }
    probes.push(probe("method-get-ticks", request("get", "/ticks"), 405));
    probes.push(probe("method-patch-ticks", request("PATCH", "/ticks"), 405));
    probes.push(probe("method-trace-ticks", request("TRACE", "/ticks"), 405));
    probes.push(probe("method-foo-unknown-path", request("FOO", "/nope"), 404));
    probes.push(probe("method-post-unknown-path", post("/nope", "x"), 404));
    probes
}
