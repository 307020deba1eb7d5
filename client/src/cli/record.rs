//! `sse record`: writes the answer to a request down, with its times.

use std::error::Error as _;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use client::arguments::RequestArgs;
use client::event_source::root_cause;
use reqwest::header::{HeaderName, SET_COOKIE};
use reqwest::{Response, Url};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::Unmet;
use super::print::notice;
use super::recording::{self, End, MAX_BODY_BYTES, MAX_PIECES, MAX_TIME};
use super::wish::Wish;

/// Long streams fit, and a stream that floods does not fill the disk.
const DEFAULT_MAX_BYTES: u64 = 16 << 20;

/// Header fields that would give somebody's session away.
const SECRET: [HeaderName; 1] = [SET_COOKIE];

/// Record the answer to a request, with its times
///
/// The recording goes to standard output, as text: a line for each piece of the body, with the
/// milliseconds since the request. It can be read, compared with diff, edited, and played again with
/// sse replay. Nothing of the request is in it but the method and the URL without its query, and
/// cookies that the answer sets are left out. Ctrl-C ends the recording, not its file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sse record --timeout 10s http://127.0.0.1:8003/ticks > ticks.sse
  sse record -H @token.txt -d @prompt.json https://HOST/v1/chat > chat.sse
  sse replay ticks.sse    serves it to any client, and prints its URL

Exit codes:
  0  the answer was recorded, to its end or up to --timeout, --max-bytes, Ctrl-C
     or SIGTERM
  1  the answer broke before its end; the recording says so, too
  2  there was no answer")]
pub(super) struct Record {
    /// The stream, or anything else that answers
    url: String,
    /// End after this time [default and most: a day]
    #[arg(long, value_name = "TIME", value_parser = client::arguments::time)]
    timeout: Option<Duration>,
    /// End after this many bytes of the body, at most 67108864
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_BYTES,
        value_parser = clap::value_parser!(u64).range(1..=MAX_BODY_BYTES))]
    max_bytes: u64,
    /// The request, and the certificates to trust
    #[command(flatten)]
    request: RequestArgs,
}

impl Record {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let wish = Wish::of(&self.request, &self.url, false)?;
        let request = format!("{} {}", wish.method, without_secrets(&wish.url));
        let start = Instant::now();
        let mut stopped = pin!(stopped(start + self.timeout.unwrap_or(MAX_TIME))?);
        let response = tokio::select! {
            response = wish.send(None) => response?,
            why = &mut stopped => bail!("{why} before there was an answer; nothing is recorded"),
        };
        let mut out = Out { start, bytes: 0, pieces: 0 };
        out.head(&request, &response)?;
        let (end, words) = tokio::select! {
            end = out.body(response, self.max_bytes) => end?,
            why = stopped => (End::Open, why.to_owned()),
        };
        out.end(end, &words)
    }
}

/// The recording so far.
struct Out {
    start: Instant,
    bytes: u64,
    pieces: usize,
}

impl Out {
    fn head(&self, request: &str, response: &Response) -> io::Result<()> {
        let (status, fields) = (response.status(), response.headers());
        let shown = fields.iter().filter(|(name, _)| !SECRET.contains(name));
        write(&recording::head(request, self.start.elapsed(), status, shown))?;
        let left_out = if fields.keys().any(|it| SECRET.contains(it)) {
            "; its cookies are left out"
        } else {
            ""
        };
        let hint = if io::stdout().is_terminal() { "; write it to a file with > FILE" } else { "" };
        notice(&format!(
            "recording {request} ({:?}, {status}){left_out}{hint}",
            response.version()
        ));
        Ok(())
    }

    /// Writes pieces as they come, up to the end or a bound.
    async fn body(&mut self, mut response: Response, max_bytes: u64) -> io::Result<(End, String)> {
        loop {
            let bytes = match response.chunk().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok((End::Whole, String::new())),
                Err(error) => return Ok((broken(&error), root_cause(&error))),
            };
            let room = usize::try_from(max_bytes - self.bytes).unwrap_or(usize::MAX);
            let kept = &bytes[..bytes.len().min(room)];
            write(&recording::piece(self.start.elapsed(), kept))?;
            self.bytes += kept.len() as u64;
            self.pieces += 1;
            if self.bytes == max_bytes {
                return Ok((End::Open, format!("{max_bytes} bytes, as --max-bytes has it")));
            }
            if self.pieces == MAX_PIECES {
                return Ok((End::Open, format!("{MAX_PIECES} pieces are the most")));
            }
        }
    }

    fn end(&self, end: End, words: &str) -> anyhow::Result<()> {
        let time = self.start.elapsed();
        write(&recording::end(time, end, words))?;
        let so_far =
            format!("{} pieces, {} bytes in {:.1} s", self.pieces, self.bytes, time.as_secs_f64());
        match end {
            End::Whole => notice(&format!("{so_far}: whole")),
            End::Open => notice(&format!("{so_far}: stopped by {words}")),
            End::Cut | End::Reset => bail!(Unmet(format!("{so_far}, and then it broke: {words}"))),
        }
        Ok(())
    }
}

/// Each line is out before the next one comes: a file is right up to there, whatever ends the program.
fn write(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|it| io::Error::new(it.kind(), format!("cannot write the recording: {it}")))
}

/// Comes when the recording ends early, and says why. From now on a signal does not end the program.
fn stopped(deadline: Instant) -> io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "Ctrl-C",
            _ = terminate.recv() => "SIGTERM",
            () = tokio::time::sleep_until(deadline) => "--timeout",
        }
    })
}

/// How a connection broke: reqwest keeps the socket's own error as the cause.
fn broken(error: &reqwest::Error) -> End {
    let causes = std::iter::successors(error.source(), |it| (*it).source());
    let is_reset = |it: &io::Error| it.kind() == io::ErrorKind::ConnectionReset;
    let reset = causes.filter_map(|it| it.downcast_ref()).any(is_reset);
    if reset { End::Reset } else { End::Cut }
}

/// A URL may hold a password, or a key in its query.
fn without_secrets(url: &Url) -> String {
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}{}{query}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        let shown = |url| without_secrets(&Url::parse(url).unwrap());
        assert_eq!(shown("http://me:pw@a.example:81/x?key=1#y"), "http://a.example:81/x?…");
        assert_eq!(shown("https://a.example/x"), "https://a.example/x");
    }
}
