//! The result of a load run as lines of 80 columns.

use std::fmt::Write as _;

use super::Args;
use crate::ledger::Outcome;
use crate::stats::Distribution;
use crate::waits::{End, Ends};

/// Columns of a terminal that has not been made wider.
const WIDTH: usize = 80;

/// Where the words begin that follow a name.
const INDENT: usize = 15;

/// A generator that waits longer for a core, as a share of its time, says so.
const WAITED_SHARE: f64 = 0.01;

/// The figures of a run that took so many seconds.
pub(super) fn text(args: &Args, outcome: &Outcome, seconds: f64) -> String {
    let mut lines = String::new();
    streams(&mut lines, args, outcome);
    events(&mut lines, outcome, seconds);
    let waits = &outcome.waits;
    for (name, found) in [
        ("headers", &outcome.headers_ns),
        ("first event", &outcome.first_event_ns),
        ("second event", &waits.second_event_ns),
        ("gap", &waits.gap_ns),
        ("mean gap", &waits.mean_gap_ns),
        ("duration", &waits.duration_ns),
        ("latency", &outcome.latency_ns),
    ] {
        let Some(it) = Distribution::of(found) else { continue };
        let [p50, p99, max] = [it.p50_ns, it.p99_ns, it.max_ns].map(time);
        put(&mut lines, name, &format!("p50 {p50}, p99 {p99}, max {max}, n {}", it.n));
    }
    if outcome.latency_ns.is_empty() && !outcome.asks {
        put(
            &mut lines,
            "latency",
            "unknown: no event says when it was due (ours do with ?stamp=1, others see --stamp-path)",
        );
    }
    quality(&mut lines, args, outcome, seconds);
    host(&mut lines, outcome.waited_for_a_core_ns, seconds);
    lines
}

fn streams(lines: &mut String, args: &Args, outcome: &Outcome) {
    let waits = &outcome.waits;
    let ends = &waits.ends;
    if outcome.asks {
        let (completed, failed) = (ends.completed(), ends.failed());
        let of = format!("{} unfinished of {} asked", ends.open, ends.asked());
        put(lines, "answers", &format!("{completed} whole, {failed} failed, {of}"));
    } else {
        let all = args.connections();
        put(lines, "streams", &format!("{} of {all} opened", outcome.opened));
        if outcome.not_up > 0 {
            let late = outcome.not_up;
            put(lines, "not in time", &format!("{late}; the figures are those of the others"));
        }
        put(lines, "ended early", &outcome.early_closes.to_string());
    }
    if outcome.asks || outcome.early_closes > 0 {
        put(lines, "ends", &of_ends(ends));
    }
    for it in &waits.refusals {
        let colon = if it.body.is_empty() { "" } else { ": " };
        let plain = || format!("{} {}{colon}{}", it.status, it.content_type, it.beginning());
        let answer = it.problem().unwrap_or_else(plain);
        put(lines, "refused", &format!("{} times {answer}", it.count));
    }
    if outcome.held_back > 0 {
        let (waited, all) = (outcome.held_back, args.connections());
        put(lines, "held back", &format!("{waited} requests: all {all} --connections were taken"));
    }
    if outcome.published > 0 {
        let (all, failed) = (outcome.published, outcome.publish_failures);
        put(lines, "published", &format!("{all}, of which {failed} failed"));
    }
}

/// The ways of ending that occurred.
fn of_ends(ends: &Ends) -> String {
    let found: Vec<String> = [
        (ends.whole, End::Whole),
        (ends.until_mark, End::UntilMark),
        (ends.without_mark, End::WithoutMark),
        (ends.cut, End::Cut),
        (ends.refused, End::Refused),
        (ends.unreachable, End::Unreachable),
        (ends.malformed, End::Malformed),
        (ends.open, End::Open),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, end)| format!("{count} {}", words(end)))
    .collect();
    found.join(", ")
}

fn words(end: End) -> &'static str {
    match end {
        End::Whole => "whole",
        End::UntilMark => "with the mark of --until",
        End::WithoutMark => "whole without the mark of --until",
        End::Cut => "cut",
        End::Refused => "refused",
        End::Unreachable => "unreachable",
        End::Malformed => "malformed",
        End::Open => "still open",
    }
}

fn events(lines: &mut String, outcome: &Outcome, seconds: f64) {
    let rate = outcome.delivered as f64 / seconds;
    let before = match outcome.events - outcome.delivered {
        0 => String::new(),
        before => format!("; {before} before all were open"),
    };
    let count = outcome.delivered;
    put(lines, "events", &format!("{count} in {seconds:.1} s, {rate:.1}/s{before}"));
    if count == 0 {
        let bytes = outcome.received.bytes;
        let advice = "--fail-if 'events<1' makes that a failure";
        put(lines, "", &format!("no event came, in {bytes} bytes received; {advice}"));
    }
    let waits = &outcome.waits;
    if waits.events.max() > 0 {
        let (of, p50) = (&waits.events, waits.events.value_at_quantile(0.5));
        let each = if outcome.asks { "an answer" } else { "a stream" };
        put(lines, each, &format!("{} to {} events, p50 {p50}", of.min(), of.max()));
    }
    if waits.without_events > 0 && count > 0 {
        put(lines, "no event", &format!("in {} of the streams that opened", waits.without_events));
    }
}

/// The waits against the limits of the user, and the worst of them.
fn quality(lines: &mut String, args: &Args, outcome: &Outcome, seconds: f64) {
    let waits = &outcome.waits;
    if waits.together > 0 {
        let (together, all) = (waits.together, waits.gap_ns.len());
        put(
            lines,
            "together",
            &format!("{together} of {all} gaps are 0: one read had both events"),
        );
    }
    if let Some(limit) = args.stall {
        let (stalls, streams) = (waits.stalls, waits.stalled_streams);
        put(lines, "stalls", &format!("{stalls} silences over {limit:?}, in {streams} streams"));
    }
    if let Some(share) = waits.good_share().filter(|_| args.slo.is_some()) {
        let (good, asked) = (waits.good, waits.ends.asked());
        let rate = good as f64 / seconds;
        let rate = if outcome.asks {
            format!(", {rate:.1}/s until the last answer")
        } else {
            String::new()
        };
        let share = share * 100.0;
        put(lines, "goodput", &format!("{good} of {asked} keep to --slo, {share:.1} %{rate}"));
    }
    if let Some(it) = &waits.slowest {
        let vain = if it.came { "" } else { ", which did not come" };
        let (wait, number) = (time(it.wait_ns), it.number);
        let wait = format!("request {number}: {wait} before event {}{vain}", it.before_event);
        let all = format!("{} events in {}", it.events, time(it.duration_ns));
        put(lines, "slowest", &format!("{wait}; {all}, {}", words(it.end)));
    }
}

/// A host that others use: then its delays are in the times above.
fn host(lines: &mut String, waited_ns: u64, seconds: f64) {
    let share = waited_ns as f64 / 1e9 / seconds;
    if share > WAITED_SHARE {
        let waited = time(waited_ns);
        let share = share * 100.0;
        let words = format!(
            "the generator waited {share:.1} % of the time for a core, {waited}; the times above have that"
        );
        put(lines, "busy host", &words);
    }
}

/// A time to the microsecond; a long one to a tenth of a second.
pub fn time(ns: u64) -> String {
    match ns as f64 {
        ns if ns < 1e10 => format!("{:.3} ms", ns / 1e6),
        ns => format!("{:.1} s", ns / 1e9),
    }
}

/// Appends a name and what there is to say of it, in lines that fit.
pub(super) fn put(lines: &mut String, name: &str, words: &str) {
    // Writing to a String cannot fail.
    let _ = write!(lines, "{name:<INDENT$}");
    let mut column = INDENT;
    for word in words.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let space = usize::from(column > INDENT);
            if column + space + word.len() > WIDTH && column > INDENT {
                let _ = write!(lines, "\n{:INDENT$}", "");
                column = INDENT;
                continue;
            }
            let part: String = word.drain(..word.len().min(WIDTH - INDENT)).collect();
            column += space + part.chars().count();
            let _ = write!(lines, "{:space$}{part}", "");
        }
    }
    lines.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_broken_and_no_line_is_longer_than_a_terminal() {
        let mut lines = String::new();
        put(&mut lines, "ends", "3 whole");
        put(
            &mut lines,
            "refused",
            &format!("1 times 503 {} and {}", "x".repeat(130), "y".repeat(60)),
        );
        assert!(
            lines.starts_with("ends           3 whole\nrefused        1 times 503\n"),
            "{lines}"
        );
        assert!(lines.lines().all(|it| it.len() <= WIDTH), "{lines}");
        let letters = |letter| lines.chars().filter(|it| *it == letter).count();
        assert_eq!((letters('x'), letters('y')), (130, 60), "{lines}");
    }

    #[test]
    fn a_host_that_keeps_the_generator_waiting_is_named() {
        let words = |waited_ns| {
            let mut lines = String::new();
            host(&mut lines, waited_ns, 10.0);
            lines
        };
        assert_eq!(words(99_000_000), "");
        let busy = words(2_500_000_000);
        assert!(
            busy.starts_with("busy host      the generator waited 25.0 % of the time for a"),
            "{busy}"
        );
    }

    #[test]
    fn times_keep_their_digits_at_any_size() {
        for (ns, words) in [
            (0, "0.000 ms"),
            (1_234_567, "1.235 ms"),
            (9_999_000_000, "9999.000 ms"),
            (61_250_000_000, "61.2 s"),
        ] {
            assert_eq!(time(ns), words);
        }
    }
}
