//! Category 4: UTF-8, the byte order mark, content codings.

use std::io::Write as _;

use super::{case, parsed};
use crate::conformance::Level;
use crate::conformance::client::trial::{MARK, message, same_events};
use crate::conformance::client::{Capability, Case};
use crate::conformance::expect::{ensure, pass};

pub(super) static CASES: &[Case] = &[
    parsed("C4.01", "bom", "A byte order mark at the start is skipped, wherever it is cut."),
    parsed("C4.02", "two-boms", "Of two byte order marks at the start only the first is skipped."),
    parsed("C4.03", "late-bom", "A byte order mark later on belongs to the name it stands before."),
    parsed("C4.04", "bom-in-value", "A byte order mark in a value is kept."),
    parsed("C4.05", "multibyte", "Characters of two to four bytes survive any cut."),
    parsed("C4.06", "bad-utf8", "Malformed bytes become U+FFFD, and the stream goes on."),
    parsed(
        "C4.07",
        "cut-utf8",
        "A character cut short before LF becomes U+FFFD, and LF ends the line.",
    ),
    case(
        "C4.08",
        "charset-param",
        Level::Must,
        &[],
        "HTML 9.2.6, WPT format-utf-8",
        "A charset parameter changes nothing: streams are UTF-8.",
        |trial| {
            trial.each(&["windows-1252", "utf-16", "iso-8859-1"], |charset| {
                let (mut dialogue, mut stream) = trial.asked()?;
                stream.head(&format!(
                    "200 OK\r\nContent-Type: text/event-stream;charset={charset}\r\n\
                     Transfer-Encoding: chunked"
                ));
                stream.chunk("data: oké €\n\n".as_bytes());
                same_events(&dialogue.events_to_mark(&mut stream)?, &[message("oké €", "")])
            })?;
            pass()
        },
    ),
    case(
        "C4.09",
        "gzip",
        Level::Should,
        &[Capability::Gz],
        "RFC 9110 8.4",
        "Events of a stream that is compressed as the client asked are reported at once.",
        |trial| {
            let (mut dialogue, mut stream) = trial.asked()?;
            let asks = stream.request.all("Accept-Encoding").concat();
            let asks = String::from_utf8_lossy(&asks).to_ascii_lowercase();
            let shown = stream.request.shown("Accept-Encoding");
            ensure(asks.contains("gzip"), "Accept-Encoding: gzip", shown)?;
            stream.head(
                "200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\
                 Transfer-Encoding: chunked",
            );
            let mut gzip = Stored::new();
            for data in ["a", "b", MARK] {
                stream.chunk(&gzip.part(format!("data: {data}\n\n").as_bytes()));
                // Each one is there before the next is sent.
                dialogue.until_data(data)?;
            }
            pass()
        },
    ),
    parsed("C4.10", "nul-data", "A NUL in data is kept."),
];

/// A gzip stream of stored blocks (RFC 1951 3.2.4), each whole for whoever reads it.
struct Stored {
    head: Vec<u8>,
}

impl Stored {
    fn new() -> Stored {
        // RFC 1952 2.3: magic, deflate, no flags, no time, no extra flags, unknown system.
        Stored { head: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255] }
    }

    fn part(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut part = std::mem::take(&mut self.head);
        let length = u16::try_from(bytes.len()).expect("a short event");
        part.push(0);
        part.extend(length.to_le_bytes());
        part.extend((!length).to_le_bytes());
        part.write_all(bytes).expect("memory takes all");
        part
    }
}
