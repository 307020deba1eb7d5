//! Runs the parser through `vectors/*.json`; `vectors/README.md` says what the files hold.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.

use std::path::Path;

use client::{Item, Parser};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    #[serde(rename = "title")]
    _title: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    case: String,
    claim: String,
    stream: Text,
    events: Vec<Expected>,
    #[serde(default)]
    comments: Vec<Text>,
    #[serde(default)]
    retries: Vec<u64>,
    last_event_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    event: String,
    data: Text,
    id: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Pieces(Vec<Piece>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Hex { hex: String },
    Repeat { repeat: String, times: usize },
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        let pieces = match self {
            Self::Whole(text) => return text.clone().into_bytes(),
            Self::Pieces(pieces) => pieces,
        };
        let bytes = pieces.iter().flat_map(|piece| match piece {
            Piece::Text(text) => text.clone().into_bytes(),
            Piece::Repeat { repeat, times } => repeat.repeat(*times).into_bytes(),
            Piece::Hex { hex } => (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                .collect(),
        });
        bytes.collect()
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

/// A parser's result for a stream, by the kinds that vectors distinguish.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    events: Vec<(String, String, String)>,
    comments: Vec<String>,
    retries: Vec<u64>,
    last_event_id: String,
}

fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut parser = Parser::new();
    let mut seen = Seen::default();
    for chunk in chunks {
        parser.push(chunk);
        while let Some(item) = parser.next_item().unwrap() {
            match item {
                Item::Event(event) => seen.events.push((
                    event.event.to_owned(),
                    event.data.to_owned(),
                    event.last_event_id.to_owned(),
                )),
                Item::Comment(text) => seen.comments.push(text.to_owned()),
                Item::Retry(delay) => seen.retries.push(delay.as_millis() as u64),
            }
        }
    }
    seen.last_event_id = parser.last_event_id().to_owned();
    seen
}

fn check(vector: &Vector, stream: &[u8], what: &str) {
    let expected = Seen {
        events: (vector.events.iter())
            .map(|event| (event.event.clone(), event.data.text(), event.id.clone()))
            .collect(),
        comments: vector.comments.iter().map(Text::text).collect(),
        retries: vector.retries.clone(),
        last_event_id: vector.last_event_id.clone(),
    };
    let label =
        |cut: &str| format!("{} {}: {} ({what}, {cut})", vector.case, vector.name, vector.claim);
    assert_eq!(parse([stream]), expected, "{}", label("whole"));
    for size in [1, 2, 3, 7] {
        assert_eq!(parse(stream.chunks(size)), expected, "{}", label(&format!("chunks of {size}")));
    }
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        let chunks = [first, b"", second, b""];
        assert_eq!(parse(chunks), expected, "{}", label(&format!("cut at {cut}")));
    }
}

/// Every LF replaced, byte for byte, since a stream need not be UTF-8.
fn with_line_end(stream: &[u8], line_end: &[u8]) -> Vec<u8> {
    stream.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(line_end)
}

fn run(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let file: File = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(file.schema, "sse-vectors/1");
    for vector in &file.vectors {
        let stream = vector.stream.bytes();
        check(vector, &stream, "as it stands");
        if !stream.contains(&b'\r') {
            check(vector, &with_line_end(&stream, b"\r\n"), "CRLF");
            check(vector, &with_line_end(&stream, b"\r"), "CR");
        }
    }
}

#[test]
fn lines() {
    run("lines.json");
}

#[test]
fn fields() {
    run("fields.json");
}

#[test]
fn encoding() {
    run("encoding.json");
}

#[test]
fn dispatch() {
    run("dispatch.json");
}

#[test]
fn every_file_is_run() {
    let mut files: Vec<_> =
        (std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".json"))
            .collect();
    files.sort();
    assert_eq!(files, ["dispatch.json", "encoding.json", "fields.json", "lines.json"]);
}
