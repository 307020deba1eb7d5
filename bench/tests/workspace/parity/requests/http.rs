//! Requests whose meaning HTTP itself decides: hosts, framing, preflights, sizes.

use wire::Request;

use super::{Probe, Setup, Show, get, post, probe, request};

pub fn hosts() -> Vec<Probe> {
    let to = |host: &str| Request::new("GET", "/ticks?count=1").header("Host", host);
    let absolute = |host: &str, field: &str| {
        Request::new("GET", &format!("http://{host}/ticks?count=1")).header("Host", field)
    };
    let rebound = Request::new("POST", "/messages/rebound")
        .header("Host", "evil.example:8003")
        .header("Origin", "http://evil.example:8003")
        .body("x");
    let own = Request::new("POST", "http://HOST/messages/own")
        .header("Host", "127.0.0.1:1")
        .header("Origin", "http://HOST")
        .body("x");
    vec![
        probe("host-localhost", to("localhost"), 200),
        probe("host-localhost-with-port", to("LocalHost:8003"), 200),
        probe("host-ipv4", to("192.0.2.7"), 200),
        probe("host-ipv6", to("[2001:db8::7]:8003"), 200),
        probe("host-name", to("evil.example"), 421),
        probe("host-name-with-port", to("evil.example:8003"), 421),
        probe("host-like-address", to("127.0.0.1.evil.example"), 421),
        probe("host-rebound-post", rebound, 421),
        probe("host-allowed", to("App.Example:80"), 200).with(Setup::Host),
        probe("host-second-allowed", to("b.example"), 200).with(Setup::Host),
        probe("host-not-allowed", to("c.example"), 421).with(Setup::Host),
        probe("host-malformed", to("a b"), 400),
        probe("host-with-a-path", to("x/../y@z"), 400),
        probe("host-http10", to("evil.example").http10(), 421),
        probe("host-head", Request::new("HEAD", "/ticks").header("Host", "evil.example"), 421),
        probe("host-of-target-foreign", absolute("evil.example", "HOST"), 421),
        probe("host-of-target-wins", absolute("HOST", "evil.example"), 200),
        probe("host-of-target-is-own-origin", own, 201).show(Show::Keys),
    ]
}

/// Bodies whose framing two readers might understand in two ways, as a proxy and a server do.
pub fn framing() -> Vec<Probe> {
    let chunked = |name: &str, codings: &[&str], tail: &str, status| {
        let post = request("POST", "/messages/framing");
        let add = |post: Request, coding: &&str| post.header("Transfer-Encoding", coding);
        let probe = probe(name, codings.iter().fold(post, add), status);
        Probe { tail: tail.into(), show: Show::Status, ..probe }
    };
    let hello = "5\r\nhello\r\n0\r\n\r\n";
    vec![
        chunked("coding-chunked", &["Chunked"], hello, 201),
        chunked("coding-unknown-first", &["gzip, chunked"], hello, 501),
        chunked("coding-unknown-field", &["identity", "chunked"], hello, 501),
        chunked("coding-twice", &["chunked, chunked"], hello, 400),
        chunked("coding-in-two-fields", &["chunked", "chunked"], hello, 400),
        chunked("chunk-extension", &["chunked"], "5;a=b\r\nhello\r\n0\r\n\r\n", 201),
        chunked("chunk-extension-nul", &["chunked"], "5;a\0b\r\nhello\r\n0\r\n\r\n", 400),
        chunked("trailer", &["chunked"], "5\r\nhello\r\n0\r\na: b\r\n\r\n", 201),
        chunked("trailer-malformed", &["chunked"], "5\r\nhello\r\n0\r\nab\r\n\r\n", 400),
    ]
}

pub fn preflights() -> Vec<Probe> {
    let preflight = |path: &str, origin: &str| {
        request("OPTIONS", path)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization")
    };
    let app = "https://app.example";
    let asked = post("/messages/preflight", "x")
        .header("Origin", app)
        .header("Authorization", "Bearer secret");
    let token = |probe: Probe| probe.with(Setup::OriginAndToken);
    vec![
        probe("preflight", preflight("/messages/a", app), 204).with(Setup::Origin),
        probe("preflight-of-stream", preflight("/ticks?count=1", app), 204).with(Setup::Origin),
        token(probe("preflight-with-token", preflight("/messages/a", app), 204)),
        token(probe("preflight-then-post", asked, 201)).show(Show::Keys),
        probe("preflight-other-origin", preflight("/messages/a", "https://b.example"), 405)
            .with(Setup::Origin),
        probe("preflight-not-allowed", preflight("/messages/a", app), 405),
        probe("preflight-unknown-path", preflight("/nope", app), 404).with(Setup::Origin),
        probe("options-of-allowed-origin", request("OPTIONS", "/ticks").header("Origin", app), 405)
            .with(Setup::Origin),
    ]
}

pub fn http() -> Vec<Probe> {
    let long = |length: usize| {
        let target = "/ticks?count=1&x=";
        format!("{target}{}", "x".repeat(length - target.len()))
    };
    let filled = |lines: usize, bytes: usize| {
        let target = get("/ticks?count=1");
        (0..lines).fold(target, |it, n| it.header(&format!("X-Filler-{n}"), "x".repeat(bytes)))
    };
    vec![
        probe("no-host", Request::new("GET", "/ticks"), 400),
        probe("two-hosts", get("/ticks").header("Host", "other.example"), 400),
        probe("two-equal-hosts", get("/ticks").header("Host", "HOST"), 400),
        probe("http10", get("/ticks?count=2&interval_ms=0").http10(), 200),
        probe("http10-no-host", Request::new("GET", "/healthz").http10(), 200),
        probe("http10-problem", get("/nope").http10(), 404),
        probe("absolute-form", get("http://HOST/ticks?count=1"), 200),
        probe("target-longest", get(&long(8192)), 200),
        probe("target-too-long", get(&long(8193)), 414),
        probe("target-far-too-long", get(&long(100 * 1024)), 414).show(Show::Status),
        probe("headers-many", filled(60, 100), 200),
        probe("headers-large", filled(3, 9000), 200),
        probe("headers-too-large", filled(4, 9000), 431),
        probe("headers-one-too-large", filled(1, 40_000), 431),
        probe("headers-far-too-large", filled(1, 1 << 20), 431).show(Show::Status),
        probe("path-not-utf8", get("/messages/%ff"), 400),
    ]
}
