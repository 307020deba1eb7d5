//! The requests of cases: the one that opens the stream is its user's.

use client::arguments::Wanted;
use wire::Request;

use super::Target;

impl Target {
    /// The same server; this request opens the stream, and its header lines are in every request.
    /// `Host` replaces the usual one.
    #[must_use]
    pub fn with_request(mut self, mut wanted: Wanted) -> Target {
        wanted.headers.retain(|(name, value)| {
            let is_host = name.eq_ignore_ascii_case("host");
            if is_host {
                self.host.clone_from(value);
            }
            !is_host
        });
        self.wanted = wanted;
        self
    }

    /// A request as a plain client would send it: `Host`, and `Accept` for event streams.
    ///
    /// For the stream under test it is the request that its user gave: method, header lines, body.
    pub fn get(&self, target: &str) -> Request {
        let request = self.request("GET", target);
        let is_named = |(name, _): &(String, String)| name.eq_ignore_ascii_case("accept");
        match self.wanted.headers.iter().any(is_named) {
            true => request,
            false => request.header("Accept", "text/event-stream"),
        }
    }

    /// A request with `Host` and the user's headers only.
    ///
    /// GET of the stream under test means the request that its user gave.
    pub fn request(&self, method: &str, target: &str) -> Request {
        let opens = method == "GET" && self.is_stream(target);
        let method = if opens { &self.wanted.method } else { method };
        let mut request = Request::new(method, target).header("Host", &self.host);
        for (name, value) in &self.wanted.headers {
            // A header field about a body belongs to a request that has one.
            if opens || !name.to_ascii_lowercase().starts_with("content-") {
                request = request.header(name, value);
            }
        }
        match &self.wanted.body {
            Some(body) if opens => request.body(body.clone()),
            _ => request,
        }
    }

    /// Whether the answer to this request should be the stream under test.
    pub(in crate::server) fn opens(&self, request: &Request) -> bool {
        request.method() == self.wanted.method && self.is_stream(request.target())
    }

    /// Whether this target is the stream under test, with any query and in any form.
    fn is_stream(&self, target: &str) -> bool {
        let resource = |it: &str| it.split('?').next().unwrap_or_default().to_owned();
        let target = target.strip_prefix(&self.absolute("")).unwrap_or(target);
        resource(target) == resource(&self.path)
    }

    /// A request written by hand, with those of the user's headers that it lacks after its request line.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let version = memchr::memmem::find(bytes, b" HTTP/1.");
        let Some(end) = version.and_then(|at| Some(at + memchr::memchr(b'\n', &bytes[at..])? + 1))
        else {
            return bytes.to_vec();
        };
        let has =
            |name: &str| memchr::memmem::find(bytes, format!("\n{name}: ").as_bytes()).is_some();
        let lines: String = self
            .wanted
            .headers
            .iter()
            .filter(|(name, _)| !has(name) && !name.to_ascii_lowercase().starts_with("content-"))
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        [&bytes[..end], lines.as_bytes(), &bytes[end..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn the_users_headers_are_in_every_request() {
        let headers = [("X-A".to_owned(), "1".to_owned()), ("host".to_owned(), "b".to_owned())];
        let wanted = Wanted { headers: headers.to_vec(), ..Wanted::default() };
        let target = Target::url("http://127.0.0.1:1/x", PATIENCE).unwrap().with_request(wanted);
        let expected = "GET /x HTTP/1.1\r\nHost: b\r\nX-A: 1\r\nAccept: text/event-stream\r\n\r\n";
        assert_eq!(target.get("/x").to_bytes(), expected.as_bytes());
        assert_eq!(target.raw(b"GET / HTTP/1.1\r\n\r\n"), b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\n");
        assert_eq!(target.raw(b"no request"), b"no request");
        let twice = target.get("/x").to_bytes();
        assert_eq!(target.raw(&twice), twice);
    }

    #[test]
    fn the_users_request_is_that_of_the_stream_and_of_nothing_else() {
        let headers = [("Content-Type", "a/b"), ("Accept", "*/*"), ("X-A", "1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let wanted = Wanted { method: "POST".to_owned(), headers, body: Some(b"{}".to_vec()) };
        let target = Target::url("http://h/x?q", PATIENCE).unwrap().with_request(wanted);
        let lines = "Host: h\r\nContent-Type: a/b\r\nAccept: */*\r\nX-A: 1\r\nContent-Length: 2";
        for stream in ["/x?q", "/x?q&a=b", "http://h/x"] {
            let expected = format!("POST {stream} HTTP/1.1\r\n{lines}\r\n\r\n{{}}");
            assert_eq!(target.get(stream).to_bytes(), expected.as_bytes());
        }
        let expected = b"GET /y HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nX-A: 1\r\n\r\n";
        assert_eq!(target.get("/y").to_bytes(), expected);
        assert!(target.request("HEAD", "/x").to_bytes().starts_with(b"HEAD /x HTTP/1.1\r\n"));
    }
}
