//! The report for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

use super::markdown::summary_words;
use super::{Document, Run, counted};
use crate::{CaseResult, Verdict};

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    is_on: bool,
}

impl Paint {
    /// No colours.
    pub fn plain() -> Paint {
        Paint { is_on: false }
    }

    /// Colours if stdout is a terminal that wants them (<https://no-color.org>).
    pub fn for_stdout() -> Paint {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty())
            || std::env::var_os("TERM").is_some_and(|it| it == "dumb");
        Paint { is_on: std::io::stdout().is_terminal() && !refused }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

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
            Verdict::Blocked | Verdict::Error => "1;35",
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
        let title = format!("{category:<14}");
        let _ = writeln!(out, "{} {}", paint.bold(&title), paint.faint(&counts.join(", ")));
        for result in rows {
            result_text(result, run.strict, verbose, paint, &mut out);
        }
    }
    if !verbose {
        skips(&run.results, paint, &mut out);
    }
    let took = format!(", {:.1} s", run.took_ms as f64 / 1e3);
    let words = summary_words(run) + &took;
    let code = if run.summary.unexpected > 0 { "1;31" } else { "1;32" };
    let _ = writeln!(out, "{}: {}", paint.bold(&run.label()), paint.with(code, &words));
    out
}

/// The runs as a table, one row each.
pub fn summary_table(runs: &[Run], paint: Paint) -> String {
    let header =
        ["", "passed", "non-strict", "failed", "known", "facts", "skipped", "unexpected", "s"];
    let rows: Vec<[String; 9]> = runs
        .iter()
        .map(|run| {
            let it = &run.summary;
            [
                run.label(),
                it.passed.to_string(),
                it.non_strict.to_string(),
                it.failed.to_string(),
                it.deviations.to_string(),
                it.info.to_string(),
                it.skipped.to_string(),
                it.unexpected.to_string(),
                format!("{:.1}", run.took_ms as f64 / 1e3),
            ]
        })
        .collect();
    let mut widths = header.map(|it| it.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; 9]| {
        let mut line = format!("{:<width$}", cells[0], width = widths[0]);
        for (cell, width) in cells.iter().zip(widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        line
    };
    let mut out = paint.bold(&line(header)) + "\n";
    for (run, row) in runs.iter().zip(&rows) {
        let text = line(row.each_ref().map(String::as_str));
        let is_bad = run.summary.unexpected > 0;
        let _ = writeln!(out, "{}", if is_bad { paint.with("1;31", &text) } else { text });
    }
    out
}

/// A failure as text: claim and source, expected, actual, how to see it again, the dialogue.
pub fn failure_text(result: &CaseResult, paint: Paint) -> String {
    let mut out = String::new();
    let mut line = |what: &str, text: &str| {
        let _ = writeln!(out, "{} {text}", paint.faint(&format!("{what:<9}")));
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
    if let Some(reproduce) = &result.reproduce {
        line("again", reproduce);
    }
    if let Some(dialogue) = &result.dialogue {
        line("dialogue", "");
        for text in dialogue.lines() {
            let _ = writeln!(out, "  {}", paint.faint(text));
        }
    }
    out
}

fn result_text(result: &CaseResult, strict: bool, verbose: bool, paint: Paint, out: &mut String) {
    let is_loud = result.is_unexpected(strict) || (result.is_miss() && !result.is_known());
    let is_quiet = matches!(result.verdict, Verdict::Pass | Verdict::Skip);
    if is_quiet && !is_loud && !verbose {
        return;
    }
    let mut line = format!("  {} {:<7}{:<20}", paint.verdict(result), result.id, result.slug);
    let remark = match &result.deviation {
        Some(known) if result.is_known() => Some(&known.reason),
        _ => result.actual.as_ref(),
    };
    if let Some(remark) = remark.filter(|_| !is_loud || result.expected.is_none()) {
        let _ = write!(line, " {remark}");
    }
    let _ = writeln!(out, "{}", line.trim_end());
    if is_loud && result.expected.is_some() || result.is_stale() || (verbose && result.is_miss()) {
        for text in failure_text(result, paint).lines() {
            let _ = writeln!(out, "      {text}");
        }
    }
}

/// The reasons for skips with their numbers: most cases of a foreign server share one.
fn skips(results: &[CaseResult], paint: Paint, out: &mut String) {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for result in results.iter().filter(|result| result.verdict == Verdict::Skip) {
        *reasons.entry(result.actual.as_deref().unwrap_or_default()).or_default() += 1;
    }
    for (reason, count) in reasons {
        let text = format!("SKIP       {}: {reason}", counted(count, "case", "cases"));
        let _ = writeln!(out, "  {}", paint.faint(&text));
    }
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
    fn the_table_is_aligned() {
        let text = summary_table(&sample().runs, Paint::plain());
        let widths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }
}
