//! What the suite rests on: each sentence that binds a server, and the cases that look at it.
//!
//! `A` is what the HTML standard says of event streams, `D` what HTTP says and streams run into,
//! `P` what operating them has taught, `K` what the contract of this workspace adds. A rule without a
//! case says why; a case without a rule fails a test.

use crate::conformance::rule::{Rule, rule, uncovered};

/// Every rule.
#[rustfmt::skip]
pub static RULES: &[Rule] = &[
    // HTML: what a server sends.
    rule("A1a", "HTML 9.2.3", "A stream is answered with status 200; with another one clients give up.", &["S1.01"]),
    rule("A1b", "HTML 9.2.3", "Its type is text/event-stream, whatever the parameters.", &["S1.02", "S1.03"]),
    rule("A1c", "HTML 9.2.3", "What is no stream does not call itself one.", &["S9.09"]),
    rule("A2a", "HTML 9.2.5", "A stream is UTF-8, always.", &["S3.01", "S4.09"]),
    rule("A2b", "HTML 9.2.5", "No other charset can be declared.", &["S1.03"]),
    rule("A3a", "HTML 9.2.5", "A stream is comments, fields and blank lines, each line ended by CRLF, LF or CR.", &["S3.02", "S3.05", "S4.01", "S5.07"]),
    rule("A3b", "HTML 9.2.5", "A byte order mark may stand at its beginning.", &["S3.04"]),
    rule("A4a", "HTML 9.2.5", "A field is a name, a colon, at most one space, and a value without line ends.", &["S4.08", "S10.01", "S10.02", "S10.03", "S10.04"]),
    rule("A4b", "HTML 9.2.5", "Data of several lines takes several data lines.", &["S4.02", "S4.03", "S4.04", "S4.05", "S4.11", "S4.13"]),
    rule("A5", "HTML 9.2.6", "An event exists only after its blank line, which the server has to send.", &["S3.03", "S11.04", "S8.05"]),
    rule("A6a", "HTML 9.2.6", "retry works only as ASCII digits.", &["S3.07"]),
    rule("A6b", "HTML 9.2.6", "id works only without NUL.", &["S3.08", "S10.05"]),
    rule("A7", "HTML 9.2.6", "A value that begins with a space needs the space after the colon.", &["S4.07", "S4.13"]),
    rule("A8a", "HTML 9.2.6", "An event with empty data needs a data line.", &["S4.06", "S3.06"]),
    rule("A8b", "HTML 9.2.6", "An empty id line is what resets the last event id.", &["S4.12"]),
    rule("A9", "HTML 9.2.7", "A comment every 15 s or so keeps proxies from cutting the stream.", &["S5.05", "S5.06", "S5.08"]),
    rule("A10", "HTML 9.2.7", "No layer holds data back.", &["S5.01", "S5.02", "S5.03", "S5.04", "S2.09"]),
    rule("A11a", "HTML 9.2.1", "204 tells a client to stop.", &["S11.07", "S2.11"]),
    uncovered("A11b", "HTML 9.2.3", "A stream may be redirected.", "a permission; a redirect at the URL under test is reported, with the advice to give its target"),
    rule("A12a", "HTML 9.2.4", "Last-Event-ID is text of any kind but NUL, LF and CR.", &["S6.06", "S3.09"]),
    rule("A12b", "HTML 9.2.4", "It names the event after which the stream goes on.", &["S6.01", "S6.02", "S6.03", "S6.07", "S6.10"]),
    rule("A12c", "HTML 9.2.4", "A client with an empty last event id sends none; empty means the same.", &["S6.05"]),
    rule("A12d", "whatwg/html#8297", "What an unknown or expired id does is open, and best told in the stream.", &["S6.04", "S6.08", "S11.06"]),
    rule("A13", "HTML 9.2.7", "Clients limit connections to a server, browsers to six over HTTP/1.1.", &["S10.09"]),
    rule("A14", "HTML 9.2.7", "Control messages have no id unless they are points to resume from.", &["S6.09", "S5.06"]),
    // HTTP: what streams run into.
    rule("D1", "RFC 9112 6.1, 6.3", "No Transfer-Encoding to HTTP/1.0; the close ends the body.", &["S2.07"]),
    rule("D2", "RFC 9112 6.2", "Never both Content-Length and Transfer-Encoding.", &["S2.01", "S1.08"]),
    rule("D3a", "RFC 9112 7.1", "Chunks have valid sizes and ends, and an empty one ends the body.", &["S2.02", "S2.03"]),
    rule("D3b", "RFC 9112 7.1, 8", "Without the last chunk a message is incomplete.", &["S2.04", "S11.03"]),
    rule("D3c", "RFC 9112 7.1", "A recipient can decode chunks.", &["S7.08"]),
    rule("D3d", "RFC 9112 8", "An incomplete request is not taken for a complete one.", &["S7.07"]),
    rule("D4", "RFC 9110 9.3.2", "HEAD gets the header fields of GET and no body.", &["S9.01", "S9.02", "S9.03", "S9.29"]),
    rule("D5", "RFC 9110 9.1", "GET and HEAD are supported.", &["S1.01", "S9.02", "S9.29"]),
    rule("D6a", "RFC 9110 15.5.6", "A known method that is not allowed gets 405.", &["S9.04"]),
    rule("D6b", "RFC 9110 10.2.1, 15.5.6", "405 carries Allow.", &["S9.05", "S9.08"]),
    rule("D7a", "RFC 9110 9.1", "An unknown method gets 501.", &["S9.06", "S9.26"]),
    rule("D7b", "RFC 9110 9.1", "Methods are case-sensitive.", &["S9.07"]),
    rule("D8a", "RFC 9110 12.5.1, 5.1", "No Accept, or */*, accepts anything; header names have no case.", &["S1.04", "S6.07"]),
    rule("D8b", "RFC 9110 15.5.7", "Another Accept may get 406, or be ignored.", &["S1.05"]),
    rule("D9", "RFC 9110 12.5.5", "What was negotiated is listed in Vary.", &["S1.05", "S1.11"]),
    rule("D10", "RFC 9110 6.6.1", "A server with a clock says Date.", &["S1.10"]),
    rule("D11", "RFC 9112 3.2", "HTTP/1.1 without exactly one valid Host gets 400.", &["S9.10", "S9.11"]),
    rule("D12", "RFC 9112 3.2.2", "The absolute form of a target is accepted.", &["S9.23"]),
    rule("D13a", "RFC 9112 3", "A target longer than the server takes gets 414.", &["S9.22"]),
    rule("D13b", "RFC 9112 3", "Request lines of 8000 bytes are taken.", &["S9.22"]),
    rule("D14", "RFC 9112 6.1", "Content-Length beside Transfer-Encoding is refused or overruled, and the connection closed.", &["S9.12"]),
    rule("D15", "RFC 9112 6.1", "Transfer-Encoding in HTTP/1.0 is faulty framing, and the connection closed.", &["S9.14"]),
    rule("D16", "RFC 9112 6.1, 6.3", "An unknown coding gets 501, one after chunked 400, and the connection is closed.", &["S9.15"]),
    rule("D17", "RFC 9112 6.3", "An invalid or a contradictory Content-Length gets 400, and the connection is closed.", &["S9.13", "S9.27"]),
    rule("D18", "RFC 9112 5.2", "A folded line gets 400 or is unfolded.", &["S9.16"]),
    rule("D19", "RFC 9112 5.1", "A space before a header's colon gets 400.", &["S9.18"]),
    rule("D20", "RFC 9110 5.5, RFC 9112 2.2", "A bare CR or a NUL in a value is refused or replaced.", &["S9.17"]),
    rule("D21a", "RFC 9112 2.2", "LF alone may be taken for a line end.", &["S9.19"]),
    rule("D21b", "RFC 9112 2.2", "A blank line before a request is skipped.", &["S9.20"]),
    rule("D22", "RFC 9112 9.3.2", "Pipelined requests are answered in order.", &["S8.07", "S8.08"]),
    rule("D23a", "RFC 9112 9.6", "Connection: close is honoured.", &["S2.06", "S8.03"]),
    rule("D23b", "RFC 9112 9.3", "Connections persist by default.", &["S2.05"]),
    rule("D23c", "RFC 9112 9.3", "HTTP/1.0 is kept alive only with a body whose end is known.", &["S2.08"]),
    rule("D24a", "RFC 9110 10.1.1", "Expect: 100-continue gets 100 or a final answer.", &["S9.28"]),
    rule("D24b", "RFC 9110 15.2", "HTTP/1.0 is sent no interim answer.", &["S2.10"]),
    uncovered("D24c", "RFC 9110 10.1.1", "An unknown expectation may get 417.", "a permission: any answer is right"),
    rule("D25", "RFC 6585 5", "A header section that is too large gets 431.", &["S9.21"]),
    rule("D26", "RFC 9111 5.2", "No cache stores a stream and plays it again.", &["S1.06"]),
    rule("D27", "RFC 9110 2.5, 6.2", "The answer names the highest minor version of the server, whatever the request's.", &["S2.10"]),
    rule("D28", "RFC 9110 7.8", "Upgrade may be ignored, and then changes nothing.", &["S9.24"]),
    // What HTTP and its neighbours say beyond the list of the reference.
    rule("D29", "RFC 9110 8.6, RFC 9112 6.1", "204 has neither Content-Length nor Transfer-Encoding.", &["S2.11"]),
    rule("D30", "RFC 9110 13.1.2, 14.2", "Range and preconditions that do not apply are ignored.", &["S9.25"]),
    rule("D31", "RFC 9110 12.5.3", "Only accepted content codings are used.", &["S1.09"]),
    rule("D32", "RFC 9112 11.1", "Nothing of a request becomes a line of the answer.", &["S10.07", "S10.08"]),
    rule("D33", "RFC 9110 15.5.9", "A request that does not end is given up.", &["S8.09"]),
    rule("D34", "Fetch 3.3", "CORS headers fit together.", &["S1.11"]),
    // Practice: what operating streams has taught.
    rule("P1", "nginx, browsers", "Hints keep proxies from buffering and browsers from guessing.", &["S1.07"]),
    rule("P2", "nginx, HTTP/1.1", "A stream without an end has no Content-Length.", &["S1.08"]),
    rule("P3", "clients with limits", "Lines and events of usual sizes arrive, large ones too.", &["S3.11", "S4.10", "S4.11"]),
    rule("P4", "resuming", "An id names one event.", &["S3.10"]),
    rule("P5", "whoever waits", "The first event comes soon, and a thousand readers are served.", &["S5.09", "S7.05"]),
    rule("P6", "actix-web#1313, Rocket#2455", "A client that has left is noticed, and leaves nothing behind.", &["S8.01", "S8.02", "S8.06", "S9.03"]),
    rule("P7", "slow clients", "Who does not read costs bounded memory and delays nobody.", &["S8.04", "S7.06"]),
    rule("P8", "axum: panic on CR", "Hostile events and requests break no connection of others.", &["S10.06", "S9.26"]),
    rule("P9", "axum#2673, hyper#2787", "SIGTERM ends the process soon, and streams whole.", &["S11.01", "S11.02", "S11.03", "S11.04", "S11.05"]),
    // The contract of this workspace.
    rule("K1", "contract: /script", "Events of any content go through the normal encoder unharmed.", &["S4.01", "S4.02", "S4.04", "S4.06", "S4.07", "S4.08", "S4.09", "S4.12", "S4.13", "S10.01", "S10.02", "S10.03", "S10.04"]),
    rule("K2", "contract: topics", "Every open stream of a topic gets each message, in one order, under one id.", &["S7.01", "S7.02", "S7.03", "S7.04", "S6.10"]),
    rule("K3", "contract: resume", "A client resumes without gap and repeat, by header or by query, or is told.", &["S6.01", "S6.02", "S6.03", "S6.11", "S6.12", "S6.13", "S8.05"]),
    rule("K4", "contract: POST", "A message is whole, at most 64 KiB, and from a page of this site.", &["S7.07", "S7.09", "S10.10"]),
    rule("K5", "contract: problems", "What is wrong with a request is said in problem+json.", &["S9.30"]),
    rule("K6", "contract: HEAD", "HEAD is answered at every endpoint that has GET.", &["S9.29"]),
];

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::*;
    use crate::conformance::Level;
    use crate::conformance::rule::rules_of;

    #[test]
    fn every_sentence_is_a_rule() {
        let of_html = (1..=14).map(|n| format!("A{n}"));
        for id in of_html.chain((1..=28).map(|n| format!("D{n}"))) {
            let is_it =
                |rule: &&Rule| rule.id.trim_end_matches(|it: char| it.is_ascii_lowercase()) == id;
            assert!(RULES.iter().any(|rule| is_it(&rule)), "{id} is missing");
        }
    }

    #[test]
    fn a_must_rests_on_a_standard() {
        for case in cases().filter(|case| case.level == Level::Must) {
            let by_standard = rules_of(case.id).any(|rule| rule.id.starts_with(['A', 'D']));
            assert!(by_standard, "{} is a MUST of no standard", case.id);
        }
    }
}
