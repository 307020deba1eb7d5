//! The options that say what to ask for, and whom to trust: the same in every command.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

/// The largest body that is read: a prompt with pictures is smaller.
const BODY_MAX_BYTES: u64 = 16 << 20;

/// The largest file of header lines.
const HEADERS_MAX_BYTES: u64 = 64 << 10;

/// The request, and the authorities to trust.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Request")]
pub struct RequestArgs {
    /// The method [default: GET, or POST with --data]
    #[arg(long, short = 'X', value_name = "METHOD", value_parser = method)]
    pub method: Option<String>,
    /// The body of the request: this text, @FILE, or - for standard input. JSON is sent as
    /// application/json, other text as text/plain, unless --header says it
    #[arg(long, short = 'd', value_name = "TEXT|@FILE|-", allow_hyphen_values = true)]
    pub data: Option<String>,
    /// A header line for every request, or @FILE with one on each line, so that a token is in no
    /// list of processes; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE|@FILE")]
    pub headers: Vec<String>,
    /// Trust the authorities in this PEM file, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long, short = 'k')]
    pub insecure: bool,
    /// The name that the certificate must be for, in place of the URL's host
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
}

/// A request as its user wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The method.
    pub method: String,
    /// The header lines.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<Vec<u8>>,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted { method: "GET".to_owned(), headers: Vec::new(), body: None }
    }
}

impl RequestArgs {
    /// Reads what the options name; standard input at most once.
    ///
    /// # Errors
    /// One line: a file that cannot be read, a line that is no header.
    pub fn wanted(&self) -> Result<Wanted, String> {
        let mut headers = Vec::new();
        for text in &self.headers {
            match text.strip_prefix('@') {
                None => headers.push(header(text)?),
                Some(path) => {
                    let bytes = read(file(path)?, HEADERS_MAX_BYTES, path)?;
                    let text =
                        String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8"))?;
                    for line in text.lines().filter(|it| !it.trim().is_empty()) {
                        // The line may hold a token: it is not shown.
                        headers.push(header(line).map_err(|why| format!("{path}: {why}"))?);
                    }
                }
            }
        }
        let body = match self.data.as_deref() {
            None => None,
            Some("-") => Some(read(io::stdin().lock(), BODY_MAX_BYTES, "standard input")?),
            Some(text) => Some(match text.strip_prefix('@') {
                Some(path) => read(file(path)?, BODY_MAX_BYTES, path)?,
                None => text.as_bytes().to_vec(),
            }),
        };
        if let Some(body) = &body
            && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            let is_json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
            let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
            headers.push(("Content-Type".to_owned(), kind.to_owned()));
        }
        let usual = if body.is_some() { "POST" } else { "GET" };
        let method = self.method.clone().unwrap_or_else(|| usual.to_owned());
        Ok(Wanted { method, headers, body })
    }
}

fn file(path: &str) -> Result<File, String> {
    File::open(path).map_err(|error| format!("cannot read {path}: {error}"))
}

fn read(from: impl Read, limit: u64, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = from.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot read {name}: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{name} is longer than {limit} bytes"));
    }
    Ok(bytes)
}

fn method(text: &str) -> Result<String, String> {
    if is_token(text) { Ok(text.to_owned()) } else { Err("it is no method".to_owned()) }
}

/// `Name: value` in its parts.
///
/// # Errors
/// One line: how to write it, or the character that HTTP cannot carry.
pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write a header as 'Name: value'")?;
    if !is_token(name) {
        return Err(format!("{name:?} is no header name"));
    }
    if value.bytes().any(|it| it.is_ascii_control() && it != b'\t') {
        return Err(format!("the value of {name} has control characters"));
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// A time as people write it: `30s`, `500ms`, `2m`; at most a day.
///
/// # Errors
/// One line that says how to write it, or the bound.
pub fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| "write it as 30s, 500ms or 2m")?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1e3,
        "s" | "" => number,
        "m" => number * 60.0,
        unit => return Err(format!("{unit:?} is no unit; write 30s, 500ms or 2m")),
    };
    let seconds = Some(seconds).filter(|it| (0.0..=86_400.0).contains(it));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "at most a day".to_owned())
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let is_one = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
    !text.is_empty() && text.bytes().all(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(headers: &[&str], data: Option<&str>) -> Result<Wanted, String> {
        let headers = headers.iter().map(ToString::to_string).collect();
        let data = data.map(ToOwned::to_owned);
        RequestArgs { headers, data, ..RequestArgs::default() }.wanted()
    }

    #[test]
    fn times_are_read_and_mistakes_named() {
        assert_eq!(time("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(time("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert!(time("30x").is_err() && time("-1s").is_err() && time("").is_err());
        assert!(time("NaNs").is_err() && time("2000m").is_err());
    }

    #[test]
    fn headers_are_split_at_the_first_colon() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let found = wanted(&["X-A:  b: c ", "B:"], None).unwrap().headers;
        assert_eq!(found, [pair("X-A", "b: c"), pair("B", "")]);
        for bad in ["X A: b", "X", ": b", "X: a\r\nB: c"] {
            assert!(wanted(&[bad], None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_body_makes_it_a_post_of_the_type_that_it_looks_like() {
        assert_eq!(wanted(&[], None).unwrap(), Wanted::default());
        for (data, kind) in [(" {\"a\":1}", "application/json"), ("a", "text/plain; charset=utf-8")]
        {
            let found = wanted(&[], Some(data)).unwrap();
            assert_eq!((found.method.as_str(), found.headers[0].1.as_str()), ("POST", kind));
            assert_eq!(found.body.unwrap(), data.as_bytes());
        }
        let found = wanted(&["content-type: a/b"], Some("{}")).unwrap();
        assert_eq!(found.headers.len(), 1);
    }

    #[test]
    fn files_are_read_and_a_secret_in_one_is_never_shown() {
        let path = std::env::temp_dir().join(format!("sse-arguments-{}", std::process::id()));
        let at = format!("@{}", path.display());
        std::fs::write(&path, "A: 1\r\n\nAuthorization: Bearer s3cret\n").unwrap();
        let found = wanted(&[&at, "B: 2"], Some(&at)).unwrap();
        let names: Vec<_> = found.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "Authorization", "B", "Content-Type"]);
        assert!(found.body.unwrap().starts_with(b"A: 1"));
        std::fs::write(&path, "s3cret\n").unwrap();
        assert!(!wanted(&[&at], None).unwrap_err().contains("s3cret"));
        std::fs::remove_file(&path).unwrap();
        assert!(wanted(&[&at], None).unwrap_err().contains("cannot read"));
    }
}
