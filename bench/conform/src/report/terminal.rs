//! The report for a terminal.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::markdown::summary_words;
use super::paint::Paint;
use super::table::{Column, Table, Tone};
use super::{Document, Run, counted};
use crate::{CaseResult, Level, Scope, Side, Summary, Verdict};

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
    star(&run.results, paint, &mut out);
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

/// A failure as text: claim and source, expected, actual, how to see it again, the whole dialogue.
pub fn failure_text(result: &CaseResult, paint: Paint) -> String {
    failure(result, true, paint)
}

fn failure(result: &CaseResult, verbose: bool, paint: Paint) -> String {
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
        let lines =
            if verbose { dialogue.lines().map(str::to_owned).collect() } else { excerpt(dialogue) };
        for text in &lines {
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

/// Lines of a dialogue that are shown of a failure: with the words around them it keeps to one screen.
const DIALOGUE_LINES: usize = 20;
/// The connections of a longer dialogue that are shown: the last ones, where it went wrong.
const CONNECTIONS: usize = 2;

/// The dialogue, and if it is long the first and the last lines of its last connections.
fn excerpt(dialogue: &str) -> Vec<String> {
    let lines: Vec<&str> = dialogue.lines().collect();
    if lines.len() <= DIALOGUE_LINES {
        return lines.into_iter().map(str::to_owned).collect();
    }
    let all: Vec<Option<&str>> = lines.iter().map(|it| connection(it)).collect();
    let mut last: Vec<Option<&str>> = Vec::new();
    for it in all.iter().rev() {
        if last.len() < CONNECTIONS && !last.contains(it) {
            last.push(*it);
        }
    }
    let each = DIALOGUE_LINES / last.len();
    let mut is_shown = vec![false; lines.len()];
    for wanted in last {
        let of_it: Vec<usize> = (0..lines.len()).filter(|at| all[*at] == wanted).collect();
        // Its head says what was asked, its end what came of that.
        let (first, end) = (each * 3 / 5, each * 2 / 5);
        let from = of_it.len().saturating_sub(end).max(first.min(of_it.len()));
        for at in of_it.iter().take(first).chain(&of_it[from..]) {
            is_shown[*at] = true;
        }
    }
    let (mut out, mut gap, mut left_out) = (Vec::new(), 0, 0);
    for (line, is_shown) in lines.iter().zip(is_shown) {
        if !is_shown {
            gap += 1;
            continue;
        }
        if gap > 0 {
            out.push(format!("… {}", counted(gap, "line", "lines")));
        }
        out.push((*line).to_owned());
        left_out += gap;
        gap = 0;
    }
    out.push(format!("… {} more; --verbose shows all", counted(left_out + gap, "line", "lines")));
    out
}

/// The connection of a line of a dialogue, `#2`, if there are several.
fn connection(line: &str) -> Option<&str> {
    let behind = &line[line.find(MS)? + MS.len()..];
    behind.split(' ').next().filter(|it| it.starts_with('#'))
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
        for text in failure(result, verbose, paint.indented(INDENT)).lines() {
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

/// The advice for the failures that count, and then for those that the author can fix all the same: they
/// themselves may be screens above.
fn to_fix(results: &[CaseResult], paint: Paint, out: &mut String) {
    let is_open = |it: &&CaseResult| {
        it.is_miss() && !it.is_known() && (!it.outside_scope || it.in_handler) && !it.fix.is_empty()
    };
    let mut open: Vec<_> = results.iter().filter(is_open).collect();
    open.sort_by_key(|it| it.outside_scope);
    let lead = paint.bold(&format!("  {:<10} ", "to fix"));
    for result in open.iter().take(TO_FIX) {
        *out += &paint.hang(&lead, REMARK, &format!("{}: {}", result.id, result.fix));
    }
    if open.len() > TO_FIX {
        let more = format!("{} more, see above", open.len() - TO_FIX);
        *out += &paint.hang(&lead, REMARK, &more);
    }
}

/// The meaning of a level with a star, where a case of that level failed.
fn star(results: &[CaseResult], paint: Paint, out: &mut String) {
    if results.iter().any(|it| it.is_miss() && !it.is_known() && it.level == Level::MustContract) {
        let words = "the contract of sse-bench's own servers demands it; of other servers it is a recommendation";
        *out += &paint.hang(&paint.bold(&format!("  {:<10} ", "MUST*")), REMARK, words);
    }
}

/// The two subjects of a server's cases.
const SCOPES: [(Scope, &str); 2] =
    [(Scope::Sse, "your stream (SSE)"), (Scope::Http, "HTTP below it")];

/// The line of one subject, where a run has both, or where its failures do not count.
fn scope_line(run: &Run, scope: Scope, name: &str, paint: Paint, out: &mut String) {
    let of_it: Vec<_> = run.results.iter().filter(|it| it.scope == Some(scope)).cloned().collect();
    // Failures that would fail the run, if their scope counted.
    let is_spared = of_it.iter().any(|it| {
        let counts = CaseResult { outside_scope: false, ..it.clone() };
        it.outside_scope && it.is_miss() && counts.is_unexpected(run.strict)
    });
    let has = |scope| run.results.iter().any(|it| it.scope == Some(scope));
    let has_both = SCOPES.iter().all(|(scope, _)| has(*scope));
    if run.side() != Side::Server || !(has_both || is_spared) {
        return;
    }
    let part = Run { summary: Summary::of(&of_it, run.strict), results: Vec::new(), ..run.clone() };
    let mut words = summary_words(&part);
    let failed = of_it.iter().filter(|it| it.is_miss()).count();
    let in_handler = of_it.iter().filter(|it| it.is_miss() && it.in_handler).count();
    if in_handler > 0 {
        let _ = write!(words, "; fixed in your handler or its route: {in_handler} of {failed}");
    }
    if is_spared {
        words += "; fails no run without --scope all";
    }
    let lead = format!("{name:<17} ");
    *out += &paint.hang(&lead, lead.len(), &words);
}

/// The most cases that are named behind the reason that they share.
const NAMED: usize = 3;

/// A reason that several cases share.
struct Reason<'r> {
    /// Skips before blocks.
    rank: u8,
    /// The same in all of them.
    key: String,
    cases: Vec<&'r str>,
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
            None => without_times(reason),
        };
        match reasons.iter_mut().find(|it| it.rank == rank && it.key == key) {
            Some(known) => known.cases.push(&result.id),
            None => reasons.push(Reason { rank, key, cases: vec![&result.id], words: reason }),
        }
    }
    reasons.sort_by_key(|it| (it.rank, Reverse(it.cases.len())));
    for Reason { rank, cases: ids, words: reason, .. } in reasons {
        let cases = counted(ids.len(), "case", "cases");
        let names = match ids.len() {
            1..=NAMED => format!(" ({})", ids.join(", ")),
            _ => String::new(),
        };
        let (word, code) = if rank == 0 { ("SKIP", "2") } else { ("BLOCKED", "1;35") };
        let lead = paint.with(code, &format!("  {word:<10} "));
        *out += &paint.hang(&lead, REMARK, &format!("{cases}: {reason}{names}"));
    }
}

/// The reason without its times: 2554 ms and 12.5 ms alike, and 404 as it is.
fn without_times(reason: &str) -> String {
    let mut parts: Vec<&str> = reason.split(" ms").collect();
    let last = parts.pop().unwrap_or_default();
    let is_of_number = |it: char| it.is_ascii_digit() || it == '.';
    let before = parts.iter().map(|it| it.trim_end_matches(is_of_number));
    before.chain([last]).collect::<Vec<_>>().join(" ms")
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

    /// A result of a case about HTTP that fails no run.
    fn of_http(id: &str, verdict: Verdict, in_handler: bool) -> CaseResult {
        CaseResult {
            id: id.to_owned(),
            verdict,
            in_handler,
            scope: Some(Scope::Http),
            outside_scope: true,
            fix: format!("Advice for {id}."),
            ..sample().runs[0].results[1].clone()
        }
    }

    fn of(results: Vec<CaseResult>) -> Run {
        let summary = Summary::of(&results, false);
        Run { results, summary, ..sample().runs[0].clone() }
    }

    #[test]
    fn failures_of_http_that_the_handler_can_fix_are_counted_as_such_and_are_in_the_advice() {
        let stream = CaseResult { scope: Some(Scope::Sse), ..sample().runs[0].results[0].clone() };
        let run = of(vec![
            stream,
            of_http("S9.01", Verdict::Fail, true),
            of_http("S9.02", Verdict::NonStrict, true),
            of_http("S9.10", Verdict::Fail, false),
        ]);
        let text = run_text(&run, false, Paint::plain());
        let words = "HTTP below it     0 passed, 2 failed, 1 recommendation failed; fixed in your \
                     handler or its route: 2 of 3; fails no run without --scope all\n";
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("library below it"), "{text}");
        assert!(text.contains("to fix     S9.01: Advice for S9.01."), "{text}");
        assert!(text.contains("to fix     S9.02: Advice for S9.02."), "{text}");
        assert!(!text.contains("S9.10: Advice"), "a handler seldom can: {text}");
    }

    #[test]
    fn that_failures_do_not_count_is_said_where_they_are_all_there_is() {
        let run = of(vec![of_http("S9.11", Verdict::Fail, false)]);
        let text = run_text(&run, false, Paint::plain());
        assert!(text.contains("0 passed, 1 failed; fails no run without --scope all\n"), "{text}");
        // A recommendation would not count under --scope all either.
        let run = of(vec![of_http("S9.06", Verdict::NonStrict, false)]);
        assert!(!run_text(&run, false, Paint::plain()).contains("--scope"));
    }

    #[test]
    fn the_star_of_a_level_is_explained_where_such_a_case_failed() {
        let failed = sample().runs[1].results[0].clone();
        let with_star = CaseResult { level: Level::MustContract, ..failed.clone() };
        let text = run_text(&of(vec![with_star]), false, Paint::plain());
        let lines = text.lines().filter(|it| it.trim_start().starts_with("MUST* "));
        assert_eq!(lines.count(), 1, "{text}");
        assert!(!run_text(&of(vec![failed]), false, Paint::plain()).contains("MUST*"));
    }

    #[test]
    fn a_long_dialogue_is_its_last_connections_and_verbose_shows_all() {
        for connections in [1, 2, 6] {
            let mut result = sample().runs[0].results[1].clone();
            let mut dialogue = String::new();
            for connection in 1..=connections {
                for line in 1..=40 {
                    let number =
                        if connections > 1 { format!("#{connection} ") } else { String::new() };
                    dialogue +=
                        &format!("     {line:4}.0 ms {number}< line {line} of {connection}\n");
                }
            }
            result.dialogue = Some(dialogue);
            let run = of(vec![result]);
            let text = run_text(&run, false, Paint::plain());
            let shown = text.lines().filter(|it| it.contains(" ms ") || it.contains('…')).count();
            assert!((10..=24).contains(&shown), "{shown}: {text}");
            let last = text.lines().filter(|it| it.contains(" ms ")).count();
            let more = format!("… {} lines more; --verbose shows all", connections * 40 - last);
            assert!(text.contains(&more), "{text}");
            for line in
                [format!("< line 1 of {connections}\n"), format!("< line 40 of {connections}\n")]
            {
                assert!(text.contains(&line), "{line}: {text}");
            }
            let all = run_text(&run, true, Paint::plain());
            assert_eq!(all.matches(" ms ").count(), connections * 40, "{all}");
            assert!(!all.contains("--verbose"), "{all}");
        }
    }

    #[test]
    fn up_to_three_cases_are_named_behind_their_reason() {
        let one = sample().runs[1].results[2].clone();
        let with = |id: &str, words: &str| CaseResult {
            id: id.to_owned(),
            actual: Some(words.to_owned()),
            ..one.clone()
        };
        let results =
            [("S2.01", "a"), ("S2.02", "b"), ("S2.03", "b"), ("S2.04", "b"), ("S2.05", "c")]
                .map(|(id, words)| with(id, words));
        let mut results = results.to_vec();
        results.extend(["S3.01", "S3.02", "S3.03"].map(|id| with(id, "c")));
        let mut out = String::new();
        reasons(&results, Paint::plain(), &mut out);
        let expected = "  SKIP       4 cases: c\n  SKIP       3 cases: b (S2.02, S2.03, S2.04)\n  \
                        SKIP       1 case: a (S2.01)\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn reasons_that_differ_in_another_number_than_a_time_are_two() {
        let one = sample().runs[1].results[2].clone();
        let results = ["status 404", "status 406"]
            .map(|it| CaseResult { actual: Some(it.to_owned()), ..one.clone() });
        let mut out = String::new();
        reasons(&results, Paint::plain(), &mut out);
        assert_eq!(out.lines().count(), 2, "{out}");
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
        let ids = results.iter().map(|it| it.id.as_str()).collect::<Vec<_>>().join(", ");
        let expected =
            format!("  SKIP       3 cases: the stream said nothing for 2554 ms. ({ids})\n");
        assert_eq!(out, expected);
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
        let lines: Vec<_> = out
            .lines()
            .map(|it| it.trim_start_matches("  SKIP       ").split(" (").next().unwrap())
            .collect();
        assert_eq!(lines, ["2 cases: y", "2 cases: x", "1 case: z"]);
    }
}
