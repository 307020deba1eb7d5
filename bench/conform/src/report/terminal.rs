//! The report for a terminal.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::markdown::summary_words;
use super::paint::Paint;
use super::table::{Column, Table, Tone};
use super::{Document, Run, counted};
use crate::{CaseResult, Scope, Side, Summary, Verdict};

impl Paint {
    /// The verdict's word, padded before it is coloured.
    fn verdict(self, result: &CaseResult) -> String {
        let known = result.is_known();
        let word = match result.verdict {
            _ if result.is_stale() => "STALE",
            _ if known => "KNOWN",
            verdict => verdict.word(),
        };
        let code = match result.verdict {
            _ if result.is_stale() => "1;31",
            _ if known => "33",
            Verdict::Pass => "32",
            Verdict::NonStrict => "1;33",
            Verdict::Fail => "1;31",
            Verdict::Info => "36",
            Verdict::Skip => "2",
            Verdict::Blocked | Verdict::Adapter | Verdict::Error => "1;35",
        };
        self.with(code, &format!("{word:<10}"))
    }
}

/// A run: its categories with their numbers, then what is not as it should be.
///
/// `verbose` shows each case, the dialogues of known deviations too.
pub fn run_text(run: &Run, verbose: bool, paint: Paint) -> String {
    let mut out = String::new();
    let one = Document::new(vec![run.clone()]);
    for (category, rows) in one.categories() {
        let counts: Vec<_> = Verdict::ALL
            .iter()
            .filter_map(|verdict| {
                let count = rows.iter().filter(|it| it.verdict == *verdict).count();
                (count > 0).then(|| format!("{count} {}", verdict.word().to_lowercase()))
            })
            .collect();
        let title = format!("{category:<14} ");
        out += &paint.hang(&paint.bold(&title), title.chars().count(), &counts.join(", "));
        for result in rows {
            result_text(result, run.strict, verbose, paint, &mut out);
        }
    }
    if !verbose {
        reasons(&run.results, paint, &mut out);
    }
    to_fix(&run.results, paint, &mut out);
    for (scope, name) in SCOPES {
        scope_line(run, scope, name, paint, &mut out);
    }
    let took = format!(", {:.1} s", run.took_ms as f64 / 1e3);
    let words = summary_words(run) + &took;
    let code = if run.summary.unexpected > 0 { "1;31" } else { "1;32" };
    for line in paint.paragraph(&format!("{}: {words}", run.label())).lines() {
        let _ = writeln!(out, "{}", paint.with(code, line));
    }
    out
}

/// The runs as a table, one row each.
pub fn summary_table(runs: &[Run], paint: Paint) -> String {
    let header = [
        Column::from(""),
        Column::ranked("passed", 2),
        Column::ranked("non-strict", 3),
        Column::from("failed"),
        Column::ranked("known", 5),
        Column::ranked("facts", 6),
        Column::ranked("skipped", 4),
        Column::ranked("unexpected", 1),
        Column::ranked("s", 7),
    ];
    let mut table = Table::new(1, header);
    for run in runs {
        let it = &run.summary;
        let mut cells = vec![run.label()];
        cells.extend(it.columns().iter().chain([&it.unexpected]).map(ToString::to_string));
        cells.push(format!("{:.1}", run.took_ms as f64 / 1e3));
        table.row_in(if it.unexpected > 0 { Tone::Bad } else { Tone::Plain }, cells);
    }
    let mut text = table.text(paint);
    match table.left_out(paint) {
        0 => {}
        1 => text += "one column has no room here; --wide prints it\n",
        count => text += &format!("{count} columns have no room here; --wide prints them\n"),
    }
    text
}

/// Behind the time of a line of the dialogue.
const MS: &str = " ms ";

/// A failure as text: claim and source, expected, actual, how to see it again, the dialogue.
pub fn failure_text(result: &CaseResult, paint: Paint) -> String {
    let mut out = String::new();
    let mut line = |what: &str, text: &str| {
        let lead = format!("{what:<9} ");
        // A command line that is broken in two is no command line.
        let paint = if what == "again" { paint.unlimited() } else { paint };
        out += paint.hang(&paint.faint(&lead), lead.len(), text).trim_end();
        out.push('\n');
    };
    line("claim", &result.claim);
    line("source", &format!("{} ({})", result.source, result.level));
    if result.is_stale() {
        line("stale", "it is listed as a deviation and passes: take the entry out");
        return out;
    }
    if let Some(expected) = &result.expected {
        line("expected", expected);
    }
    if let Some(actual) = &result.actual {
        line("actual", actual);
    }
    if let Some(known) = &result.deviation {
        line("known", &known.reason);
    }
    if !result.fix.is_empty() {
        line("to fix", &result.fix);
    }
    if let Some(place) = result.fixed_in() {
        line("in", place);
    }
    if let Some(reproduce) = &result.reproduce {
        line("again", reproduce);
    }
    if let Some(dialogue) = &result.dialogue {
        line("dialogue", "");
        for text in dialogue.lines() {
            // Behind the time and the arrow.
            let at = text.find(MS).map_or(0, |it| it + MS.len() + "< ".len());
            let (lead, bytes) = text.split_at_checked(at).unwrap_or(("", text));
            for line in paint.hang(&format!("  {lead}"), lead.len() + 2, bytes).lines() {
                let _ = writeln!(out, "{}", paint.faint(line));
            }
        }
    }
    out
}

/// Columns before what is said of a failure.
const INDENT: usize = 6;
/// Columns before the name of a case.
const REMARK: usize = 13;

fn result_text(result: &CaseResult, strict: bool, verbose: bool, paint: Paint, out: &mut String) {
    let is_loud = result.is_unexpected(strict) || (result.is_miss() && !result.is_known());
    let is_quiet = matches!(result.verdict, Verdict::Pass | Verdict::Skip) && !is_loud;
    // One reason blocks many: see `reasons`.
    if (is_quiet || result.verdict == Verdict::Blocked) && !verbose {
        return;
    }
    let lead = format!("  {} {:<7}{:<20} ", paint.verdict(result), result.id, result.slug);
    let remark = match &result.deviation {
        Some(known) if result.is_known() => Some(&known.reason),
        _ => result.actual.as_ref(),
    };
    match remark.filter(|_| !is_loud || result.expected.is_none()) {
        Some(remark) => *out += &remark_text(&lead, result, remark, paint),
        None => *out += &format!("{}\n", lead.trim_end()),
    }
    if is_loud && result.expected.is_some() || result.is_stale() || (verbose && result.is_miss()) {
        for text in failure_text(result, paint.indented(INDENT)).lines() {
            let _ = writeln!(out, "{:INDENT$}{text}", "");
        }
    }
}

/// A remark behind the name of its case; its further lines begin below the name.
fn remark_text(lead: &str, result: &CaseResult, remark: &str, paint: Paint) -> String {
    let name = format!("{:<7}{:<20} ", result.id, result.slug);
    let text = paint.indented(REMARK).paragraph(&format!("{name}{remark}"));
    let lead = lead.strip_suffix(&name).unwrap_or(lead);
    let mut lines = text.lines();
    let mut out = format!("{lead}{}\n", lines.next().unwrap_or_default().trim_end());
    for line in lines {
        let _ = writeln!(out, "{:REMARK$}{line}", "");
    }
    out
}

/// Failures whose advice is said again at the end, at most.
const TO_FIX: usize = 10;

/// The advice for the failures that count: they themselves may be screens above.
fn to_fix(results: &[CaseResult], paint: Paint, out: &mut String) {
    let is_open = |it: &&CaseResult| it.is_miss() && !it.is_known() && !it.outside_scope;
    let open: Vec<_> = results.iter().filter(is_open).filter(|it| !it.fix.is_empty()).collect();
    let lead = paint.bold(&format!("  {:<10} ", "to fix"));
    for result in open.iter().take(TO_FIX) {
        *out += &paint.hang(&lead, REMARK, &format!("{}: {}", result.id, result.fix));
    }
    if open.len() > TO_FIX {
        let more = format!("{} more, see above", open.len() - TO_FIX);
        *out += &paint.hang(&lead, REMARK, &more);
    }
}

/// The two subjects of a server's cases.
const SCOPES: [(Scope, &str); 2] =
    [(Scope::Sse, "your stream (SSE)"), (Scope::Http, "the HTTP library below it")];

/// The line of one subject, where a run has both.
fn scope_line(run: &Run, scope: Scope, name: &str, paint: Paint, out: &mut String) {
    let has = |scope| run.results.iter().any(|it| it.scope == Some(scope));
    if run.side() != Side::Server || !SCOPES.iter().all(|(scope, _)| has(*scope)) {
        return;
    }
    let of_it: Vec<_> = run.results.iter().filter(|it| it.scope == Some(scope)).cloned().collect();
    let is_outside = of_it.iter().all(|it| it.outside_scope);
    let summary = Summary::of(&of_it, run.strict);
    let part = Run { summary, results: Vec::new(), ..run.clone() };
    let is_failed = summary.failed + summary.non_strict > 0;
    let more = match is_outside && is_failed {
        true => "; fails no run without --scope all",
        false => "",
    };
    let lead = format!("{name:<26} ");
    *out += &paint.hang(&lead, lead.len(), &format!("{}{more}", summary_words(&part)));
}

/// A reason that several cases share.
struct Reason<'r> {
    /// Skips before blocks.
    rank: u8,
    /// The same in all of them.
    key: String,
    count: usize,
    /// Of the first one.
    words: &'r str,
}

/// The reasons for skips and blocks with their numbers: most cases of a foreign server share one.
///
/// The reason of most cases comes first, and of the same number that of the first case.
fn reasons(results: &[CaseResult], paint: Paint, out: &mut String) {
    let mut reasons: Vec<Reason<'_>> = Vec::new();
    for result in results {
        let rank = match result.verdict {
            Verdict::Skip => 0,
            Verdict::Blocked => 1,
            _ => continue,
        };
        let reason = result.actual.as_deref().unwrap_or_default();
        // The same reason has other milliseconds each time, and another end behind the case it follows from.
        let key: String = match &result.because {
            Some(case) => case.clone(),
            None => without_numbers(reason),
        };
        match reasons.iter_mut().find(|it| it.rank == rank && it.key == key) {
            Some(known) => known.count += 1,
            None => reasons.push(Reason { rank, key, count: 1, words: reason }),
        }
    }
    reasons.sort_by_key(|it| (it.rank, Reverse(it.count)));
    for Reason { rank, count, words: reason, .. } in reasons {
        let cases = counted(count, "case", "cases");
        let (word, code) = if rank == 0 { ("SKIP", "2") } else { ("BLOCKED", "1;35") };
        let lead = paint.with(code, &format!("  {word:<10} "));
        *out += &paint.hang(&lead, REMARK, &format!("{cases}: {reason}"));
    }
}

/// The reason without its numbers, 2554 and 12.5 alike.
fn without_numbers(reason: &str) -> String {
    let is_digit = |it: Option<&u8>| it.is_some_and(u8::is_ascii_digit);
    let bytes = reason.as_bytes();
    let is_of_number = |at: usize| {
        is_digit(bytes.get(at))
            || bytes[at] == b'.'
                && at > 0
                && is_digit(bytes.get(at - 1))
                && is_digit(bytes.get(at + 1))
    };
    reason.char_indices().filter(|(at, _)| !is_of_number(*at)).map(|(_, it)| it).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn misses_are_told_in_full_and_the_rest_in_a_line() {
        let document = sample();
        let text = run_text(&document.runs[0], false, Paint::plain());
        assert!(text.contains("1 handshake    1 pass, 1 fail\n"), "{text}");
        assert!(!text.contains("S1.01"), "{text}");
        assert!(text.contains("  FAIL       S1.02  a-slug\n      claim     A claim"), "{text}");
        assert!(text.contains("      again     cat x | nc"), "{text}");
        assert!(text.contains("  KNOWN      S2.01  a-slug               upstream <does> it\n"));
        assert!(text.contains("  STALE      S2.02"), "{text}");
        assert!(text.ends_with("2 unexpected results, 12.3 s\n"), "{text}");
        let verbose = run_text(&document.runs[1], true, Paint::plain());
        assert!(verbose.contains("NON-STRICT S1.01") && verbose.contains("SKIP       S2.01"));
        assert!(!text.contains("\x1b[0m"));
    }

    #[test]
    fn the_table_fits() {
        let mut runs = sample().runs;
        runs[0].name = "a server with a long name".to_owned();
        let wide = summary_table(&runs, Paint::plain());
        let widths: Vec<_> = wide.lines().skip(1).map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{wide}");
        let narrow = summary_table(&runs, Paint::plain().of_columns(80));
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(narrow.contains("failed") && narrow.contains("--wide"), "{narrow}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_words_stay_whole() {
        let mut document = sample();
        for result in document.runs.iter_mut().flat_map(|run| &mut run.results) {
            result.actual = result.actual.take().map(|it| {
                format!("{it} as an answer that takes so many words that no line could hold it")
            });
            result.reproduce = None;
        }
        for run in &document.runs {
            for verbose in [false, true] {
                let text = run_text(run, verbose, Paint::plain().of_columns(80));
                assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
                let words = |text: &str| -> Vec<String> {
                    text.split_whitespace().map(str::to_owned).collect()
                };
                assert_eq!(words(&text), words(&run_text(run, verbose, Paint::plain())));
            }
        }
    }

    #[test]
    fn a_command_to_repeat_is_never_broken() {
        let mut result = sample().runs[0].results[1].clone();
        let command = "nc 127.0.0.1 8003 ".repeat(8);
        result.reproduce = Some(command.trim().to_owned());
        let text = failure_text(&result, Paint::plain().of_columns(80));
        assert!(text.contains(command.trim()), "{text}");
    }

    #[test]
    fn reasons_that_differ_in_a_number_are_one() {
        let mut results = sample().runs[1].results.clone();
        results.truncate(3);
        for (result, time) in results.iter_mut().zip(["2554", "2.5", "12"]) {
            result.verdict = Verdict::Skip;
            result.actual = Some(format!("the stream said nothing for {time} ms."));
        }
        let mut out = String::new();
        reasons(&results, Paint::plain(), &mut out);
        assert_eq!(out, "  SKIP       3 cases: the stream said nothing for 2554 ms.\n");
    }

    #[test]
    fn the_reason_of_most_cases_comes_first_and_then_that_of_the_first_case() {
        let one = sample().runs[1].results[2].clone();
        let words = ["z", "y", "x", "x", "y"];
        let results: Vec<_> = words
            .iter()
            .map(|it| CaseResult { actual: Some((*it).to_owned()), ..one.clone() })
            .collect();
        let mut out = String::new();
        reasons(&results, Paint::plain(), &mut out);
        let lines: Vec<_> = out.lines().map(|it| it.trim_start_matches("  SKIP       ")).collect();
        assert_eq!(lines, ["2 cases: y", "2 cases: x", "1 case: z"]);
    }
}
