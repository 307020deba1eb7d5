//! `sse tail`: shows the events of a stream as they come.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use client::event_source::{Builder, Head, codings, http_client, parse_url, refusal, root_cause};
use client::{Error, EventSource, Update};
use futures_util::TryStreamExt;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};

use super::print::{Printer, Style, notice};

/// A server that has not answered for this long may be thinking; silence looks like a fault of ours.
const PATIENCE: Duration = Duration::from_secs(2);

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

Ends with 0 when the server has nothing more (204) or after --max-events, with 2 when there is no
event stream to read.")]
pub(super) struct Tail {
    /// The stream
    url: String,
    /// Print each event as a JSON object on its own line
    #[arg(long)]
    json: bool,
    /// Print the bytes of the stream as they come, of one connection
    #[arg(long, conflicts_with_all = ["json", "event", "max_events", "comments", "retry_unavailable"])]
    raw: bool,
    /// Show only events of this type; may be given more than once
    #[arg(long, value_name = "TYPE")]
    event: Vec<String>,
    /// Resume after the event with this id
    #[arg(long, value_name = "ID")]
    last_event_id: Option<String>,
    /// End once this many events were shown
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_events: Option<u64>,
    /// Print comments too
    #[arg(long)]
    comments: bool,
    /// Send this header field with each request; may be given more than once
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = parse_header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Reconnect after this many milliseconds without a byte
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    read_timeout_ms: Option<u64>,
    /// Reconnect after 429, 502, 503 and 504 as well, when Retry-After says
    #[arg(long)]
    retry_unavailable: bool,
}

impl Tail {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if self.raw {
            return self.copy().await;
        }
        let mut source = self.builder().build().map_err(advise)?;
        let stdout = io::stdout();
        let style = if self.json { Style::Json } else { Style::columns(&stdout) };
        let mut printer = Printer::new(stdout.lock(), style);
        let mut opened = false;
        let mut events = 0;
        // How long until an answer is late; none is due while a stream is open.
        let mut patience = Some(PATIENCE);
        loop {
            let late = patience.take();
            let update = say_if_late(late, &self.url, source.try_next()).await;
            let Some(update) = update.map_err(advise)? else { break };
            match update {
                Update::Open(head) => {
                    notice(&describe_open(&head, opened, source.last_event_id()));
                    opened = true;
                }
                Update::Event(event) if self.shows(&event.event) => {
                    printer.event(&event)?;
                    events += 1;
                    if self.max_events == Some(events) {
                        return Ok(());
                    }
                }
                Update::Comment(text) if self.comments => printer.comment(&text)?,
                Update::Reconnecting { reason, after } if opened || self.waits_for(&reason) => {
                    notice(&format!("{reason}; trying again in {}", seconds(after)));
                    patience = Some(after + PATIENCE);
                }
                Update::Reconnecting { reason, .. } => {
                    let reason = reason.to_string();
                    return Err(anyhow!("cannot read {}: {reason}; {}", self.url, check(&reason)));
                }
                Update::Closed => notice("the server has nothing more (204)"),
                _ => {}
            }
        }
        Ok(())
    }

    /// Copies the body of one response, as it comes.
    ///
    /// There is no reconnection: the bytes of two streams in a row are no event stream.
    async fn copy(&self) -> anyhow::Result<()> {
        let url = parse_url(&self.url).map_err(advise)?;
        let client = http_client(&url).map_err(|error| advise(Error::Client(error)))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.extend(self.header.iter().cloned());
        if let Some(id) = &self.last_event_id {
            let id = HeaderValue::from_bytes(id.as_bytes());
            let id = id.map_err(|_| anyhow!("HTTP cannot carry this id; leave it out"))?;
            headers.insert("last-event-id", id);
        }
        let request = client.get(url.clone()).headers(headers);
        let cannot_read = |error: &reqwest::Error| {
            let cause = root_cause(error);
            anyhow!("cannot read {url}: {cause}; {}", check(&cause))
        };
        let response = say_if_late(Some(PATIENCE), &self.url, request.send()).await;
        let mut response = response.map_err(|error| cannot_read(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => {
                notice("the server has nothing more (204)");
                return Ok(());
            }
            _ => return Err(advise(refusal(response).await)),
        }
        let codings = codings(response.headers());
        if !codings.is_empty() {
            notice(&format!("the bytes are coded as {codings}, which was not asked for"));
        }
        let mut stdout = io::stdout().lock();
        loop {
            let chunk = match self.read_timeout_ms.map(Duration::from_millis) {
                None => response.chunk().await,
                Some(limit) => match tokio::time::timeout(limit, response.chunk()).await {
                    Ok(chunk) => chunk,
                    Err(_) => bail!("nothing came for {limit:?}; is the server alive?"),
                },
            };
            let Some(bytes) = chunk.map_err(|error| cannot_read(&error))? else { return Ok(()) };
            stdout.write_all(&bytes)?;
            stdout.flush()?;
        }
    }

    fn shows(&self, event: &str) -> bool {
        self.event.is_empty() || self.event.iter().any(|wanted| wanted == event)
    }

    fn builder(&self) -> Builder {
        let mut builder = EventSource::builder(&self.url).retry_unavailable(self.retry_unavailable);
        for (name, value) in &self.header {
            builder = builder.header(name.clone(), value.clone());
        }
        if let Some(id) = &self.last_event_id {
            builder = builder.last_event_id(id);
        }
        if let Some(timeout_ms) = self.read_timeout_ms {
            builder = builder.read_timeout(Duration::from_millis(timeout_ms));
        }
        builder
    }

    /// A server that answers “not now” is there; one that does not answer may be a wrong address.
    fn waits_for(&self, reason: &client::Reason) -> bool {
        self.retry_unavailable && matches!(reason, client::Reason::Unavailable(_))
    }
}

/// The output of `answer`, with a remark if it has not come after this time.
async fn say_if_late<T>(
    patience: Option<Duration>,
    url: &str,
    answer: impl Future<Output = T>,
) -> T {
    let mut answer = std::pin::pin!(answer);
    if let Some(patience) = patience {
        match tokio::time::timeout(patience, &mut answer).await {
            Ok(output) => return output,
            Err(_) => notice(&format!("waiting for an answer from {url}")),
        }
    }
    answer.await
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
fn advise(error: Error) -> anyhow::Error {
    let advice = match &error {
        Error::Url { .. } => "give it whole, as in http://127.0.0.1:8003/ticks",
        Error::Status { status, .. } => match *status {
            StatusCode::BAD_REQUEST => "check the query and the last event id",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "give credentials with --header 'Authorization: Bearer …'"
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
    anyhow!("{error}; {advice}")
}

/// Advice when there is no connection. reqwest has no type for TLS errors.
pub(super) fn check(reason: &str) -> &'static str {
    if reason.contains("certificate") {
        "check its certificate, and this system's root certificates"
    } else {
        "is the server running, and at this address?"
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'Name: value'")?;
    let name = name.trim().parse().map_err(|_| "the name is not one that HTTP allows")?;
    let value = HeaderValue::from_bytes(value.trim().as_bytes())
        .map_err(|_| "the value has a control character")?;
    Ok((name, value))
}

impl Style {
    /// Columns, in colour on a terminal that wants it.
    fn columns(stdout: &impl IsTerminal) -> Self {
        Self::Columns { colour: super::print::wants_colour(stdout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_are_split_at_the_first_colon() {
        let (name, value) = parse_header("Authorization:  Bearer a:b ").unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("authorization", &b"Bearer a:b"[..]));
        assert!(parse_header("no colon").is_err());
        assert!(parse_header("a b: c").is_err());
        assert!(parse_header("a: b\r\nc: d").is_err());
    }
}
