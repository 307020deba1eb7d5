//! `sse send`: publishes messages to a topic.

use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use client::event_source::{http_client, parse_url};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

use super::print::visible;
use super::tail::check;
use super::without_scheme;

/// How long one message may take from connecting to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Longest line read from standard input. Servers have their own limits, below this, and answer
/// 413; this one keeps a file without line ends out of memory.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Longest answer read: an id, or a description of what is wrong.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Publish a message, and print its id
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sse send http://127.0.0.1:8003/messages/news 'Hello, everyone'
  tail -f app.log | sse send http://127.0.0.1:8003/messages/log -")]
pub(super) struct Send {
    /// Where to publish
    url: String,
    /// The message; `-` sends each line of standard input as one
    text: String,
    /// The bearer token, if the server asks for one
    #[arg(long, env = "SSE_PUBLISH_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Send {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if let Some(whole) = without_scheme(&self.url) {
            bail!("a URL begins with its scheme; write {whole}");
        }
        let url = parse_url(&self.url).map_err(|error| {
            anyhow!("{error}; give it whole, as in http://127.0.0.1:8003/messages/news")
        })?;
        let client = http_client(&url)
            .context("the HTTP client could not be set up; check the system's root certificates")?;
        if self.text != "-" {
            return self.send(&client, &url, self.text.clone()).await;
        }
        let mut stdin = io::stdin().lock();
        while let Some(line) = read_line(&mut stdin)? {
            self.send(&client, &url, line).await?;
        }
        Ok(())
    }

    async fn send(&self, client: &Client, url: &Url, text: String) -> anyhow::Result<()> {
        let mut request = client
            .post(url.clone())
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(text);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| {
            let cause = client::event_source::root_cause(&error);
            anyhow!("cannot send to {url}: {cause}; {}", check(&cause))
        })?;
        let status = response.status();
        let answer = read_answer(response).await;
        if !status.is_success() {
            bail!("{}", refusal(url, status, &answer));
        }
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let mut stdout = io::stdout();
        match answer.get("id").and_then(Value::as_str) {
            Some(id) => writeln!(stdout, "{}", visible(id))?,
            None => writeln!(stdout, "sent")?,
        }
        stdout.flush()?;
        Ok(())
    }
}

/// The next line without its end, or `None` at the end.
fn read_line(input: &mut impl BufRead) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    input.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() as u64 > MAX_LINE_BYTES {
        bail!("a line of standard input is longer than {MAX_LINE_BYTES} bytes; cut it up");
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    let line = String::from_utf8(line)
        .map_err(|_| anyhow!("a line of standard input is not UTF-8; convert it with iconv"))?;
    Ok(Some(line))
}

/// The part of the answer that arrives, up to the limit; the status counts, even if the rest
/// breaks off.
async fn read_answer(mut response: Response) -> Vec<u8> {
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        answer.extend_from_slice(&chunk);
        if answer.len() > MAX_ANSWER_BYTES {
            answer.truncate(MAX_ANSWER_BYTES);
            break;
        }
    }
    answer
}

/// One line: the status, the server's own words ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457))
/// and what to do.
fn refusal(url: &Url, status: StatusCode, answer: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(answer).unwrap_or_default();
    let detail = problem.get("detail").or_else(|| problem.get("title")).and_then(Value::as_str);
    let detail = detail.map(|text| format!(" ({})", text.replace('\n', " "))).unwrap_or_default();
    let advice = match status {
        StatusCode::UNAUTHORIZED => "give a token with --token",
        StatusCode::FORBIDDEN => "check the token",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            "check the path: messages go to /messages/TOPIC"
        }
        StatusCode::PAYLOAD_TOO_LARGE => "send it in parts",
        StatusCode::BAD_REQUEST => "check the topic and the text",
        _ => "try later",
    };
    format!("{url} answered {status}{detail}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_end_whichever_it_is() {
        let mut input = &b"a\n\nb\r\nc"[..];
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, ["a", "", "b", "c"]);
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let mut input = io::BufReader::new(io::repeat(b'x'));
        let error = read_line(&mut input).unwrap_err();
        assert!(error.to_string().contains("longer than 1048576 bytes"));
        assert!(read_line(&mut &b"\xff\n"[..]).is_err());
    }

    #[test]
    fn a_refusal_is_one_line_with_the_servers_words_and_advice() {
        let url = "http://127.0.0.1:1/messages/a".parse().unwrap();
        let answer = br#"{"title":"Content Too Large","detail":"at most\n65536 bytes"}"#;
        assert_eq!(
            refusal(&url, StatusCode::PAYLOAD_TOO_LARGE, answer),
            "http://127.0.0.1:1/messages/a answered 413 Payload Too Large \
             (at most 65536 bytes); send it in parts"
        );
        assert!(refusal(&url, StatusCode::UNAUTHORIZED, b"no").ends_with("--token"));
    }
}
