//! The basis of the cases about clients: each sentence that binds one, and its cases.
//!
//! `B` is what the HTML standard says of parsers, `C` of clients, `H` what HTTP and Fetch say, `P` what
//! reading streams has taught. A rule without a case says why; a case without a rule fails a test.

use crate::rule::{Rule, rule, uncovered};

/// Every rule.
#[rustfmt::skip]
pub static RULES: &[Rule] = &[
    // HTML: what a parser does.
    rule("B1", "HTML 9.2.6", "A stream is decoded as UTF-8, malformed bytes replaced.", &["C4.05", "C4.06", "C4.07", "C4.08", "C4.11", "C8.10"]),
    rule("B2", "HTML 9.2.6", "One leading byte order mark is skipped, a later one is data.", &["C4.01", "C4.02", "C4.03", "C4.04", "C4.12"]),
    rule("B3", "HTML 9.2.6", "CR LF, LF and CR end a line.", &["C2.01", "C2.02", "C2.03", "C2.04", "C2.05", "C2.06", "C2.17"]),
    rule("B4", "HTML 9.2.6", "Nothing else ends a line.", &["C2.10"]),
    rule("B5", "HTML 9.2.6", "Data, type and id begin empty.", &["C5.06"]),
    rule("B6", "HTML 9.2.6", "A line is a comment, or a name, a colon, at most one space and a value.", &["C3.03", "C3.05", "C3.06", "C3.21", "C3.23", "C3.29"]),
    rule("B7", "HTML 9.2.6", "Names are compared literally.", &["C3.08", "C3.09", "C3.10"]),
    rule("B8", "HTML 9.2.6", "event sets the type; the last one counts, an empty one too.", &["C3.13", "C3.14", "C3.27", "C3.28"]),
    rule("B9", "HTML 9.2.6", "data appends its value and LF.", &["C3.01", "C4.10"]),
    rule("B10", "HTML 9.2.6", "id sets the id, an empty one too; with NUL it is ignored.", &["C3.15", "C3.17", "C3.18", "C3.19"]),
    rule("B11", "HTML 9.2.6", "retry sets the reconnection time if it is ASCII digits only, when its line is read.", &["C6.05", "C6.06", "C6.08", "C6.09", "C6.10"]),
    rule("B12", "HTML 9.2.6", "Other names are ignored.", &["C3.07"]),
    rule("B13", "HTML 9.2.6", "The blank line commits the id, before it is asked whether there is data; it stays.", &["C3.16", "C3.20", "C6.19"]),
    rule("B14", "HTML 9.2.6", "Without data nothing is dispatched, and the type is forgotten.", &["C2.09", "C3.02", "C3.04", "C3.22"]),
    rule("B15", "HTML 9.2.6", "One LF is removed from the end of the data.", &["C3.01"]),
    rule("B16", "HTML 9.2.6", "The type is message unless one was set, for one event.", &["C3.11", "C3.12"]),
    rule("B17", "HTML 9.2.6", "The origin of an event is that of the final URL.", &["C5.10"]),
    rule("B18", "HTML 9.2.6", "Data and type are cleared after dispatch.", &["C3.11", "C3.26"]),
    rule("B19", "HTML 9.2.6", "An incomplete block at the end is discarded, and its id does not count.", &["C5.04", "C5.05", "C6.18"]),
    rule("B20", "HTML 9.2.6, 9.2.5", "Events are dispatched in order, at once, however the stream is cut.", &["C2.07", "C2.08", "C2.15", "C2.17", "C3.25", "C8.06", "C8.11"]),
    uncovered("B21", "HTML 9.2.6", "Other agents than browsers may dispatch in their own way.", "the adapters say in one form what each did in its own"),
    // HTML: what a client does.
    rule("C1a", "HTML 9.2.3", "The request is a GET by the rules of Fetch.", &["C1.01"]),
    rule("C1b", "HTML 9.2.3", "Accept: text/event-stream may be set.", &["C1.02"]),
    rule("C1c", "HTML 9.2.3, Fetch", "No cache answers: Cache-Control: no-cache, and Pragma.", &["C1.03", "C1.04"]),
    rule("C2", "HTML 9.2.2, Fetch", "Credentials go along as withCredentials and CORS say.", &["C9.01", "C9.02", "C9.03", "C9.04"]),
    rule("C3", "HTML 9.2.2", "readyState is 0 at first, url the URL given.", &["C1.06", "C5.03"]),
    rule("C4", "HTML 9.2.3", "200 with the right type announces the connection; then lines are interpreted.", &["C5.01", "C5.02"]),
    rule("C5", "HTML 9.2.3", "The end of the body reestablishes the connection.", &["C6.01", "C6.03", "C6.26"]),
    rule("C6", "HTML 9.2.3", "A network error reestablishes the connection.", &["C6.02", "C6.04"]),
    uncovered("C7", "HTML 9.2.3", "An aborted fetch fails the connection.", "only the browser's user can abort it from outside"),
    rule("C8a", "HTML 9.2.3", "Another status than 200 fails for good.", &["C7.01", "C7.02", "C7.03", "C7.04"]),
    rule("C8b", "HTML 9.2.3", "Another type than text/event-stream fails for good; parameters do not matter.", &["C4.08", "C7.06", "C7.07", "C7.08"]),
    rule("C9", "HTML 9.2.3, Fetch", "Redirections are followed; reconnections begin at the first URL.", &["C6.24", "C7.09"]),
    rule("C10a", "HTML 9.2.3", "Reestablishing sets 0, fires error, waits, and sends the request again.", &["C5.03", "C6.01", "C6.05", "C6.13", "C6.28"]),
    rule("C10b", "HTML 9.2.3, 9.2.4", "Last-Event-ID is sent, in UTF-8, if the id is not empty.", &["C1.05", "C1.11", "C6.14", "C6.15", "C6.16", "C6.17", "C6.20", "C6.21", "C6.22", "C6.23", "C7.21"]),
    rule("C11", "HTML 9.2.3", "The reconnection time is some seconds until retry sets it, and then stays.", &["C6.07", "C6.11", "C6.12"]),
    rule("C12", "HTML 9.2.2, 9.2.3", "close aborts, and nothing follows; a failure never reconnects.", &["C5.07", "C5.09", "C6.25", "C7.01"]),
    rule("C13", "HTML 9.2.3, 9.2.6", "open and error are simple events.", &["C9.05"]),
    rule("C14", "HTML 9.2.9", "A closed source aborts its request.", &["C5.08"]),
    rule("C15", "HTML 9.2.3", "Behaviour that the standard leaves open is only recorded.", &["C5.11", "C7.05", "C7.23", "C8.08"]),
    // HTTP and Fetch.
    rule("H1", "RFC 9112 7.1", "Chunks are undone wherever segments are cut; extensions and trailers are ignored.", &["C2.11", "C2.12", "C2.16"]),
    rule("H2", "RFC 9112 6.3", "A body ends with its length, or with the connection.", &["C2.13", "C2.14"]),
    rule("H3", "RFC 9112 6.3, 7.1", "Of a body whose framing is broken nothing is invented.", &["C7.17"]),
    rule("H4", "RFC 9110 4.2, RFC 9112 3.2", "The target is the URL's path and query, Host its authority.", &["C1.06", "C1.07"]),
    rule("H5", "RFC 9112 2.5, 9.3", "The version and the connection's persistence are the client's choice.", &["C1.08"]),
    rule("H6", "RFC 9110 15.2", "Interim answers are skipped.", &["C7.13"]),
    rule("H7", "Fetch, RFC 9110 10.2.2, 15.4", "Redirections are resolved, counted, and need a Location.", &["C7.10", "C7.11", "C7.12"]),
    rule("H8", "Fetch, RFC 9110 15.4", "Credentials do not follow to another origin.", &["C8.09"]),
    rule("H9", "RFC 9110 8.4", "A content coding that was asked for is undone at once.", &["C4.09"]),
    rule("H10", "RFC 9112 8", "A body that breaks off is reported as incomplete.", &["C7.18", "C7.19"]),
    rule("H11", "RFC 9110 15.4.8, 15.4.9, Fetch", "A redirection within an origin keeps the headers; 307 and 308 keep method and body.", &["C7.20", "C7.21", "C7.22"]),
    rule("H12", "RFC 9110 9.2.2", "A request that is not idempotent is not repeated unless its caller says so.", &["C1.12"]),
    // Practice: what reading streams has taught.
    rule("P1", "APIs that stream answers", "Headers, method and body of the caller's go with each request.", &["C1.09", "C1.10"]),
    rule("P2", "watchdogs", "Comments are reported; silence can be limited, and is not by default.", &["C3.24", "C7.14", "C7.15", "C7.16"]),
    rule("P3", "large events", "Events of some MiB arrive; what has no end takes bounded memory.", &["C8.01", "C8.02", "C8.03", "C8.04"]),
    rule("P4", "parsers that look again", "The time is linear in the bytes, and keep-alives leave nothing behind.", &["C8.05", "C8.07", "C8.12"]),
    rule("P5", "servers that fail the same way again", "A stream that ends at once each time is not asked for in a tight loop.", &["C6.27", "C8.13"]),
];
