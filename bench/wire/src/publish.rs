//! How a text gets into a stream through the code of the server's author: by a request or by a command.
//!
//! `conform server` and `load` have the same options for it, and the same placeholders.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Location, Request, Tls, Trust};

/// Characters that a query or a form need not escape (RFC 3986, 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Bytes of what a command complains about: one line is shown.
const COMPLAINT_BYTES: u64 = 4096;
/// How long after its end a command's complaint may take to arrive.
const COMPLAINT_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks whether a command has ended.
const LOOK: Duration = Duration::from_millis(2);

/// The options.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Publishing")]
pub struct PublishArgs {
    /// Publish by a request to this URL, as the server's own clients do; {url} is the text as part
    /// of a query
    #[arg(long, group = "publisher", value_name = "URL")]
    pub publish: Option<String>,
    /// Or publish by this command: split into words as a shell does, and run without a shell.
    /// {text} or {json} in a word is the text; without them it goes to the command's stdin
    #[arg(long, group = "publisher", conflicts_with = "publish", value_name = "COMMAND")]
    pub publish_cmd: Option<String>,
    /// The method of the request
    #[arg(long, default_value = "POST", requires = "publish", value_name = "METHOD")]
    pub publish_method: String,
    /// A header line of the request; may be given several times. Content-Type is by default that of
    /// JSON if the body has {json}, of a form if it has {url}, else text/plain
    #[arg(long = "publish-header", requires = "publish", value_name = "NAME: VALUE",
          value_parser = header)]
    pub publish_headers: Vec<(String, String)>,
    /// The body of the request: {text} is the text as it is, {json} as a JSON string with its
    /// quotes, {url} percent-encoded; {number}, {scheduled_ns} and {scheduled_ms} say which message
    /// it is and when it was due
    #[arg(long, default_value = "{text}", requires = "publish", value_name = "TEXT")]
    pub publish_body: String,
}

/// A text that is published.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    /// The text for the readers.
    pub text: &'m str,
    /// Its number, from 1.
    pub number: u64,
    /// When it was due, Unix nanoseconds.
    pub scheduled_ns: u64,
}

/// The way to publish, checked.
#[derive(Clone, Debug)]
pub enum Publication {
    /// A request.
    Request {
        /// `host:port` to dial.
        address: String,
        /// For https.
        tls: Option<Tls>,
        /// The value of `Host`.
        host: String,
        /// Path and query, with placeholders.
        target: String,
        /// The method.
        method: String,
        /// Further header lines.
        headers: Vec<(String, String)>,
        /// The body, with placeholders.
        body: String,
    },
    /// A command.
    Command {
        /// The program and its arguments, with placeholders.
        words: Vec<String>,
    },
}

/// A command that is ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// The content of its stdin, if that is where the text goes.
    pub stdin: Option<String>,
}

/// Why a call did not publish.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The system cannot hand the text to a command in this way.
    #[error("the text cannot be an argument ({0}); let the command read it from stdin")]
    Unpassable(String),
    /// The command failed.
    #[error("{0}")]
    Failed(String),
}

impl PublishArgs {
    /// A POST of this body, with its placeholders, to this URL.
    pub fn post(url: String, body: &str) -> PublishArgs {
        PublishArgs {
            publish: Some(url),
            publish_method: "POST".to_owned(),
            publish_body: body.to_owned(),
            ..PublishArgs::default()
        }
    }

    /// The way that the options describe; `None` without one.
    ///
    /// # Errors
    /// One line that says what to write instead.
    pub fn publication(&self, trust: &Trust) -> Result<Option<Publication>, String> {
        if let Some(command) = &self.publish_cmd {
            let words = shlex::split(command).filter(|words| !words.is_empty());
            let words = words.ok_or_else(|| {
                format!("--publish-cmd {command:?} is no command; is a quote not closed?")
            })?;
            return Ok(Some(Publication::Command { words }));
        }
        let Some(url) = &self.publish else { return Ok(None) };
        let location = Location::parse(url)?;
        let tls = location.is_tls.then(|| Tls::new(location.name(), trust)).transpose()?;
        let Location { address, host, target, .. } = location;
        let mut headers = self.publish_headers.clone();
        let given = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let given = given.map(|(_, value)| value.to_ascii_lowercase());
        let body = self.publish_body.clone();
        let is_form = given.as_ref().is_some_and(|it| it.contains("x-www-form-urlencoded"));
        let is_json = body.starts_with(['{', '[']) && !body.starts_with("{text}");
        if body.contains("{text}") && is_json {
            return Err("write {json}, without quotes, in a --publish-body of JSON".to_owned());
        }
        if body.contains("{text}") && is_form {
            return Err("write {url} in a --publish-body that is a form".to_owned());
        }
        if given.is_none() && !body.is_empty() {
            let content_type = match () {
                () if body.contains("{json}") => "application/json",
                () if body.contains("{url}") => "application/x-www-form-urlencoded",
                () => "text/plain; charset=utf-8",
            };
            headers.push(("Content-Type".to_owned(), content_type.to_owned()));
        }
        let method = self.publish_method.clone();
        Ok(Some(Publication::Request { address, tls, host, target, method, headers, body }))
    }
}

impl Publication {
    /// The same request to another server of the same kind; a command knows by itself where to publish.
    #[must_use]
    pub fn at(&self, addr: SocketAddr) -> Publication {
        let mut at = self.clone();
        if let Publication::Request { address, host, .. } = &mut at {
            (*address, *host) = (addr.to_string(), addr.to_string());
        }
        at
    }

    /// The request for a message; `None` if it is published by a command.
    pub fn request(&self, message: Message<'_>) -> Option<Request> {
        let Publication::Request { host, target, method, headers, body, .. } = self else {
            return None;
        };
        let target = fill(target, message, true);
        let request = Request::new(method, &target).header("Host", host);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        // A GET, too, may be what publishes; then there is seldom a body.
        let has_body = !(body.is_empty() || (method == "GET" && body == "{text}"));
        Some(if has_body { request.body(fill(body, message, false)) } else { request })
    }

    /// The call for a message; `None` if it is published by a request.
    pub fn call(&self, message: Message<'_>) -> Option<Call> {
        let Publication::Command { words } = self else { return None };
        let filled: Vec<_> = words.iter().map(|word| fill(word, message, false)).collect();
        let stdin = (filled == *words).then(|| message.text.to_owned());
        Some(Call { words: filled, stdin })
    }

    /// The way in a few words: `POST http://host/path`, or the command.
    pub fn words(&self) -> String {
        match self {
            Publication::Request { tls, host, target, method, .. } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                format!("{method} {scheme}://{host}{target}")
            }
            Publication::Command { words } => words.join(" "),
        }
    }
}

impl Call {
    /// Runs the command to its end, which must be a success within this time.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn run(&self, patience: Duration) -> Result<(), CallError> {
        let [program, arguments @ ..] = self.words.as_slice() else {
            return Err(CallError::Failed("an empty command".to_owned()));
        };
        if self.words.iter().any(|word| word.contains('\0')) {
            return Err(CallError::Unpassable("it has a NUL".to_owned()));
        }
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(program);
        command.args(arguments).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::ArgumentListTooLong => CallError::Unpassable(error.to_string()),
            _ => CallError::Failed(format!("{program}: {error}")),
        })?;
        // Both threads own what they need: a command that leaves children behind must not hold us.
        if let (Some(mut input), Some(text)) = (child.stdin.take(), self.stdin.clone()) {
            // A command that does not read closes it: only that it ends well counts.
            thread::spawn(move || input.write_all(text.as_bytes()));
        }
        let complaint = child.stderr.take().map(last_line);
        let ended = wait(&mut child, patience);
        let complaint = complaint.and_then(|it| it.recv_timeout(COMPLAINT_PATIENCE).ok());
        let complaint = complaint.unwrap_or_default();
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(CallError::Failed(format!("{program}: {status} {complaint}"))),
            Err(words) => Err(CallError::Failed(format!("{program}: {words}"))),
        }
    }
}

/// The last line that a command complains with, once it has ended.
fn last_line(complaints: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let _ = complaints.take(COMPLAINT_BYTES).read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        sender.send(text.trim().lines().last().unwrap_or_default().to_owned())
    });
    receiver
}

/// Waits for the end of a command, and kills it when the time is over.
fn wait(child: &mut Child, patience: Duration) -> Result<ExitStatus, String> {
    let due = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < due => thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("not at its end within {} ms", patience.as_millis()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The template with its placeholders replaced, in one pass: a text may look like one.
fn fill(template: &str, message: Message<'_>, in_url: bool) -> String {
    let escaped = || utf8_percent_encode(message.text, ESCAPED).to_string();
    let value = |name: &str| match name {
        // Older names for the same, of the load generator.
        "text" | "stamp" if in_url => Some(escaped()),
        "text" | "stamp" => Some(message.text.to_owned()),
        "json" => serde_json::to_string(message.text).ok(),
        "url" => Some(escaped()),
        "number" | "n" => Some(message.number.to_string()),
        "scheduled_ns" => Some(message.scheduled_ns.to_string()),
        "scheduled_ms" => Some((message.scheduled_ns / 1_000_000).to_string()),
        _ => None,
    };
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let filled = after.split_once('}').and_then(|(name, after)| Some((value(name)?, after)));
        rest = match filled {
            Some((value, after)) => {
                out.push_str(&value);
                after
            }
            None => {
                out.push('{');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'Name: value'")?;
    let is_fine = |it: &str| !it.bytes().any(|byte| byte.is_ascii_control());
    if name.trim().is_empty() || !is_fine(name) || !is_fine(value) {
        return Err("write it as 'Name: value', without control characters".to_owned());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Message<'static> =
        Message { text: "a \"b\"\n{json}", number: 7, scheduled_ns: 5_000_000 };

    #[test]
    fn placeholders_are_replaced_once_and_other_braces_stay() {
        let filled = |template: &str| fill(template, MESSAGE, false);
        assert_eq!(filled("<{text}>"), "<a \"b\"\n{json}>");
        assert_eq!(filled(r#"{"t":{json},"n":{n}}"#), r#"{"t":"a \"b\"\n{json}","n":7}"#);
        assert_eq!(
            filled("{url} {number} {scheduled_ms} {other} {"),
            "a%20%22b%22%0A%7Bjson%7D 7 5 {other} {"
        );
        assert_eq!(fill("/say?t={text}", MESSAGE, true), "/say?t=a%20%22b%22%0A%7Bjson%7D");
    }

    fn args(body: &str, headers: &[(&str, &str)]) -> PublishArgs {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        PublishArgs {
            publish: Some("http://127.0.0.1:1/room?x".to_owned()),
            publish_method: "POST".to_owned(),
            publish_headers: headers.iter().map(owned).collect(),
            publish_body: body.to_owned(),
            publish_cmd: None,
        }
    }

    #[test]
    fn a_request_says_what_its_body_is() {
        let text = |body: &str, headers: &[(&str, &str)]| {
            let way = args(body, headers).publication(&Trust::default()).unwrap().unwrap();
            String::from_utf8(way.request(MESSAGE).unwrap().to_bytes()).unwrap()
        };
        let json = text("{\"text\":{json}}", &[]);
        assert!(json.starts_with("POST /room?x HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{json}");
        assert!(json.contains("Content-Type: application/json\r\n"), "{json}");
        assert!(json.ends_with("\r\n\r\n{\"text\":\"a \\\"b\\\"\\n{json}\"}"), "{json}");
        assert!(text("{text}", &[]).contains("text/plain"));
        assert!(text("t={url}", &[]).contains("x-www-form-urlencoded"));
        assert!(!text("{text}", &[("content-type", "a/b")]).contains("text/plain"));
        for (body, headers) in [
            ("{\"text\":\"{text}\"}", &[][..]),
            ("t={text}", &[("Content-Type", "application/x-www-form-urlencoded")]),
        ] {
            assert!(args(body, headers).publication(&Trust::default()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_command_is_split_once_and_gets_the_text_as_one_argument_or_as_stdin() {
        let call = |command: &str| {
            let args =
                PublishArgs { publish_cmd: Some(command.to_owned()), ..PublishArgs::default() };
            args.publication(&Trust::default()).map(|it| it.unwrap().call(MESSAGE).unwrap())
        };
        let argument = call("redis-cli PUBLISH 'my room' x{text}").unwrap();
        assert_eq!(argument.words, ["redis-cli", "PUBLISH", "my room", "xa \"b\"\n{json}"]);
        assert_eq!(argument.stdin, None);
        let stdin = call("cat -").unwrap();
        assert_eq!((stdin.words.len(), stdin.stdin.as_deref()), (2, Some(MESSAGE.text)));
        assert!(call("cat 'open").is_err() && call("").is_err());
    }

    #[test]
    fn a_command_must_end_well_and_in_time() {
        let patience = Duration::from_secs(60);
        let call = |words: &[&str], stdin: Option<&str>| {
            let words = words.iter().map(ToString::to_string).collect();
            Call { words, stdin: stdin.map(str::to_owned) }
        };
        call(&["true"], None).run(patience).unwrap();
        call(&["grep", "-q", "^needle$"], Some("hay\nneedle\n")).run(patience).unwrap();
        let failed = call(&["sh", "-c", "echo no room >&2; exit 3"], None).run(patience);
        assert!(failed.unwrap_err().to_string().contains("no room"));
        let missing = call(&["no-such-program"], None).run(patience);
        assert!(missing.unwrap_err().to_string().contains("no-such-program"));
        let slow = call(&["sleep", "600"], None).run(Duration::from_millis(50));
        assert!(slow.unwrap_err().to_string().contains("not at its end"));
        let nul = call(&["echo", "a\0b"], None).run(patience);
        assert!(matches!(nul, Err(CallError::Unpassable(_))));
    }
}
