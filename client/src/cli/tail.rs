//! `sse tail`: shows the events of a stream as they come.

use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use client::arguments::RequestArgs;
use client::event_source::{Builder, Head, codings, last_look, refusal};
use client::{Error, EventSource, MessageEvent, Reason, Update, problem};
use futures_util::{FutureExt, TryStreamExt};
use reqwest::StatusCode;
use tokio::time::{Instant, timeout_at};

use super::Unmet;
use super::print::{Printer, Style, notice};
use super::wish::{PATIENCE, Wish, cannot_read, remedy, say_if_late};

/// Show the events of a stream as they come, across reconnections
///
/// Events go to standard output: time (UTC), id, type and data. Changes of the connection go to
/// standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sse tail http://127.0.0.1:8003/ticks
  sse tail --json --max-events 3 http://127.0.0.1:8003/time
  sse tail --last-event-id 41 http://127.0.0.1:8003/ticks
  sse tail --event progress --event close http://127.0.0.1:8003/tasks
  sse tail --raw http://127.0.0.1:8003/ticks
  sse tail --once --until '[DONE]' -H @token.txt -d @prompt.json \\
    https://HOST/v1/chat/completions
  sse tail --http2 http://127.0.0.1:8080/events
  sse tail --expect 1 --timeout 5s --once https://HOST/events    in a script

Exit codes:
  0  the stream came to its end: the server has nothing more (204), or the one
     stream of --once ended whole, or --until, --until-event or --max-events was
     met, or --timeout passed and none of these three was asked for
  1  the stream was read and did not come to that, or --expect saw fewer events
  2  there is no event stream to read")]
pub(super) struct Tail {
    /// The stream
    url: String,
    /// Show only events of this type; may be given more than once
    #[arg(long, value_name = "TYPE")]
    event: Vec<String>,
    /// Resume after the event with this id
    #[arg(long, value_name = "ID")]
    last_event_id: Option<String>,
    /// End once this many events were shown
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_events: Option<u64>,
    /// Read one stream, and end with it; a method other than GET is sent only once anyway
    #[arg(long)]
    once: bool,
    /// End at the event whose data is this text, for instance `[DONE]`
    #[arg(long, value_name = "TEXT")]
    until: Option<String>,
    /// End at an event of this type
    #[arg(long, value_name = "TYPE")]
    until_event: Option<String>,
    /// Fail unless at least this many events were shown
    #[arg(long, value_name = "N")]
    expect: Option<u64>,
    /// End after this time, for instance 30s, 500ms or 2m
    #[arg(long, value_name = "TIME", value_parser = client::arguments::time)]
    timeout: Option<Duration>,
    /// Reconnect after this many milliseconds without a byte
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    read_timeout_ms: Option<u64>,
    /// Reconnect after 429, 502, 503 and 504 as well, no earlier than Retry-After says
    #[arg(long)]
    retry_unavailable: bool,
    /// The request, and the certificates to trust
    #[command(flatten)]
    request: RequestArgs,
    /// Speak HTTP/2 and nothing else, without TLS too (prior knowledge); with https it is spoken anyway where
    /// the server has it
    #[arg(long, help_heading = "Request", conflicts_with = "server_name")]
    http2: bool,
    /// Print each event as a JSON object on its own line
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print comments too
    #[arg(long, help_heading = "Output")]
    comments: bool,
    /// Print the bytes of the stream as they come, of one connection
    #[arg(long, help_heading = "Output",
        conflicts_with_all = ["json", "event", "max_events", "comments", "retry_unavailable", "once", "until",
        "until_event", "expect", "timeout"])]
    raw: bool,
}

impl Tail {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let wish = Wish::of(&self.request, &self.url, self.http2)?;
        if self.raw {
            return self.copy(wish).await;
        }
        let deadline = self.timeout.map(|it| Instant::now() + it);
        let mut source = self.builder(wish)?.build().map_err(|error| self.advise(error))?;
        let stdout = io::stdout();
        let style = if self.json { Style::Json } else { Style::columns(&stdout) };
        let mut printer = Printer::new(stdout.lock(), style);
        let mut opened = false;
        let mut events = 0;
        // How long until an answer is late; none is due while a stream is open.
        let mut patience = Some(PATIENCE);
        let end = loop {
            let late = patience.take();
            let update = say_if_late(late, &self.url, source.try_next());
            let update = match deadline {
                None => update.await,
                Some(deadline) => match timeout_at(deadline, update).await {
                    Ok(update) => update,
                    Err(_) if opened => break End::Timeout,
                    Err(_) => {
                        let time = self.timeout.unwrap_or_default();
                        bail!("no stream at {} within {time:?}; is the server alive?", self.url);
                    }
                },
            };
            let update = match update {
                // Once it was read it is no failure to read it.
                Err(error @ Error::NotRepeated(_)) if opened => break End::Cut(error.to_string()),
                result => result.map_err(|error| self.advise(error))?,
            };
            let Some(update) = update else { break End::Whole };
            match update {
                Update::Open(head) => {
                    notice(&describe_open(&head, opened, source.last_event_id()));
                    opened = true;
                }
                Update::Event(event) => {
                    if self.shows(&event.event) {
                        printer.event(&event)?;
                        events += 1;
                    }
                    if self.max_events == Some(events) || self.is_last(&event) {
                        break End::Wanted;
                    }
                }
                Update::Comment(text) if self.comments => printer.comment(&text)?,
                Update::Reconnecting { reason: Reason::Ended, .. } if opened && self.once => {
                    break End::Whole;
                }
                Update::Reconnecting { reason, .. } if opened && self.once => {
                    break End::Cut(reason.to_string());
                }
                Update::Reconnecting { reason, after } if opened || self.waits_for(&reason) => {
                    notice(&format!("{reason}; trying again in {}", seconds(after)));
                    patience = Some(after + PATIENCE);
                }
                Update::Reconnecting { reason, .. } => {
                    let reason = reason.to_string();
                    let advice = remedy(&reason, self.http2);
                    return Err(anyhow!("cannot read {}: {reason}; {advice}", self.url));
                }
                // A request that is sent once has no 204 to wait for: its stream is over.
                Update::Closed if opened && self.request.data.is_some() => {}
                Update::Closed => notice("the server has nothing more (204)"),
                _ => {}
            }
        };
        self.judge(&end, events)
    }

    /// Whether the end is the one that was asked for.
    fn judge(&self, end: &End, events: u64) -> anyhow::Result<()> {
        let unmet = |words: String| Err(anyhow::Error::new(Unmet(words)));
        let wants = self.until.is_some() || self.until_event.is_some() || self.max_events.is_some();
        match end {
            End::Cut(reason) => return unmet(format!("{reason}, after {events} events")),
            End::Timeout if wants => {
                let time = self.timeout.unwrap_or_default();
                return unmet(format!("the wanted event did not come within {time:?}"));
            }
            End::Whole if self.until.is_some() || self.until_event.is_some() => {
                return unmet("the stream ended before the wanted event".to_owned());
            }
            _ => {}
        }
        match self.expect.filter(|expected| events < *expected) {
            Some(expected) => unmet(format!("{events} events came, and {expected} were expected")),
            None => Ok(()),
        }
    }

    /// Whether it is the event to end at.
    fn is_last(&self, event: &MessageEvent) -> bool {
        self.until.as_deref() == Some(event.data.trim())
            || self.until_event.as_deref() == Some(event.event.as_str())
    }

    /// Copies the body of one response, as it comes.
    ///
    /// There is no reconnection: the bytes of two streams in a row are no event stream.
    async fn copy(&self, wish: Wish) -> anyhow::Result<()> {
        let url = wish.url.clone();
        let mut response = wish.send(self.last_event_id.as_deref()).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => {
                notice("the server has nothing more (204)");
                return Ok(());
            }
            _ => return Err(self.advise(refusal(response).await)),
        }
        let codings = codings(response.headers());
        if !codings.is_empty() {
            notice(&format!("the bytes are coded as {codings}, which was not asked for"));
        }
        let mut stdout = io::stdout().lock();
        loop {
            let chunk = match self.read_timeout_ms.map(Duration::from_millis) {
                None => response.chunk().await,
                Some(limit) => match unless_silent(limit, response.chunk()).await {
                    Some(chunk) => chunk,
                    None => bail!("nothing came for {limit:?}; is the server alive?"),
                },
            };
            let Some(bytes) = chunk.map_err(|error| cannot_read(&url, &error, self.http2))? else {
                return Ok(());
            };
            stdout.write_all(&bytes)?;
            stdout.flush()?;
        }
    }

    fn shows(&self, event: &str) -> bool {
        self.event.is_empty() || self.event.iter().any(|wanted| wanted == event)
    }

    fn builder(&self, wish: Wish) -> anyhow::Result<Builder> {
        let mut builder = EventSource::builder(wish.url.as_str())
            .client(wish.client)
            .request(wish.method, wish.body)
            .retry_unavailable(self.retry_unavailable);
        for (name, value) in wish.fields {
            builder = builder.header(name, value);
        }
        if let Some(id) = &self.last_event_id {
            builder = builder.last_event_id(id);
        }
        if let Some(timeout_ms) = self.read_timeout_ms {
            builder = builder.read_timeout(Duration::from_millis(timeout_ms));
        }
        Ok(builder)
    }

    /// A server that answers “not now” is there; one that does not answer may be a wrong address.
    fn waits_for(&self, reason: &Reason) -> bool {
        self.retry_unavailable && matches!(reason, Reason::Unavailable(_))
    }

    /// Adds what to do about it.
    fn advise(&self, error: Error) -> anyhow::Error {
        advise(error, self.request.data.is_some())
    }
}

/// The answer, if it comes within this time, or came and was not read when the time was over.
async fn unless_silent<T>(limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    if let Ok(it) = tokio::time::timeout(limit, &mut answer).await {
        return Some(it);
    }
    let _ = last_look().await;
    answer.now_or_never()
}

/// How the reading ended.
#[derive(Debug)]
enum End {
    /// The event that was waited for, or enough of them.
    Wanted,
    /// The server has nothing more.
    Whole,
    /// The stream broke.
    Cut(String),
    /// The time was over.
    Timeout,
}

fn describe_open(head: &Head, again: bool, last_event_id: &str) -> String {
    let version = format!("{:?}", head.version);
    let url = &head.url;
    match (again, last_event_id) {
        (false, "") => format!("reading {url} ({version})"),
        (true, "") => format!("reading {url} again ({version})"),
        (_, id) => format!("reading {url} ({version}), resumed after id {id}"),
    }
}

fn seconds(wait: Duration) -> String {
    format!("{:.1} s", wait.as_secs_f64())
}

/// Adds what to do about it.
pub(super) fn advise(error: Error, has_body: bool) -> anyhow::Error {
    let advice = match &error {
        Error::Url { .. } => "give it whole, as in http://127.0.0.1:8003/ticks",
        Error::Status { status, .. } => match *status {
            StatusCode::BAD_REQUEST if has_body => "check the body and its Content-Type",
            StatusCode::BAD_REQUEST => "check the query and the last event id",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "give credentials with --header 'Authorization: Bearer …'"
            }
            StatusCode::METHOD_NOT_ALLOWED if !has_body => {
                "give the request that opens it, for instance with --data"
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "check the path",
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => "try later, or wait with --retry-unavailable",
            _ => "look at its answer with curl -i",
        },
        Error::Coding { .. } => "look for what codes it: the server, or a proxy on the way",
        Error::ContentType { .. } => "check the path, or look at it with curl -i",
        Error::Client(_) => "check the system's root certificates",
        Error::Request(_) => "check where it redirects to with curl -iL",
        Error::Parse(_) => "this program holds no larger ones",
        _ => return error.into(),
    };
    anyhow!("{}; {advice}", in_words(&error))
}

/// The error, with a problem of the server's as a sentence.
fn in_words(error: &Error) -> String {
    let problem = match error {
        Error::Status { status, url, is_problem: true, words } => {
            problem::of_body(status.as_u16(), words).map(|it| format!("{url} answered {it}"))
        }
        _ => None,
    };
    problem.unwrap_or_else(|| error.to_string())
}

/// Advice when there is no connection. reqwest has no type for TLS errors.
pub(super) fn check(reason: &str) -> &'static str {
    if reason.contains("certificate") {
        "check its certificate, and this system's root certificates"
    } else if reason.contains("InvalidContentType") {
        "it does not speak TLS on this port; try http://"
    } else if reason.contains("frame with invalid size") || reason.contains("NoApplicationProtocol")
    {
        // An answer of HTTP/1.1 read as HTTP/2, and TLS without it.
        "it does not speak HTTP/2; leave --http2 out"
    } else if reason.contains("connection closed before message completed") {
        // As a server with TLS does that sends no alert.
        "look at its log, or if it speaks TLS, try https://"
    } else if reason.contains("invalid HTTP version") {
        // The bytes of a TLS alert, or of another protocol.
        "it does not speak HTTP on this port; if it speaks TLS, try https://"
    } else {
        "is the server running, and at this address?"
    }
}

impl Style {
    /// Columns, in colour on a terminal that wants it.
    fn columns(stdout: &impl IsTerminal) -> Self {
        Self::Columns { colour: super::print::wants_colour(stdout) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use tokio::io::AsyncReadExt;

    use super::*;

    /// A process that was not scheduled for longer than the timeout finds both due: bytes, and the timer.
    #[tokio::test]
    async fn bytes_that_wait_in_the_socket_are_no_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let kernel = socket.try_clone().unwrap();
        let mut socket = tokio::net::TcpStream::from_std(socket).unwrap();
        // As of a body: one task reads the connection, and the other one waits for what it has read.
        let answer = tokio::spawn(async move { socket.read_u8().await.unwrap() });
        let limit = Duration::from_secs(60);
        tokio::time::pause();
        let mut answer = pin!(unless_silent(limit, answer));
        assert!(answer.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
        // This thread is the runtime's only one: it stands still until the byte is there.
        peer.write_all(b"a").unwrap();
        while kernel.peek(&mut [0]).is_err() {
            std::thread::yield_now();
        }
        tokio::time::advance(2 * limit).await;
        assert_eq!(answer.await.unwrap().unwrap(), b'a');
    }
}
