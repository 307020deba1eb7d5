//! Markdown: for a pull request, a wiki, a README.

use std::fmt::Write as _;

use super::{Document, Run, counted, level_word};
use crate::{CaseResult, Side, Verdict};

/// The whole report: a summary, the matrix, and each failure.
pub fn markdown(document: &Document) -> String {
    let mut out = format!("# SSE conformance\n\n{}", summary_markdown(document));
    let _ = write!(out, "\n## Matrix\n\n{}\n", legend());
    for (category, rows) in document.categories() {
        let _ = write!(out, "\n### {category}\n\n| case | level |");
        for run in &document.runs {
            let _ = write!(out, " {} |", escaped(&run.label()));
        }
        let _ = writeln!(out, "\n| --- | --- |{}", " :---: |".repeat(document.runs.len()));
        for row in rows {
            let _ = write!(out, "| {} | {} |", escaped(&row.name()), level_word(row.level));
            for run in &document.runs {
                let _ = write!(out, " {} |", run.result(&row.id).map_or_else(String::new, cell));
            }
            out.push('\n');
        }
    }
    out.push_str("\n## Misses\n");
    for run in &document.runs {
        let misses: Vec<_> = run.results.iter().filter(|it| is_shown(it)).collect();
        if misses.is_empty() {
            continue;
        }
        let _ = write!(out, "\n### {}\n\n", escaped(&run.label()));
        for result in misses {
            miss(result, &mut out);
        }
    }
    if !document.runs.iter().flat_map(|run| &run.results).any(is_shown) {
        out.push_str("\nNone.\n");
    }
    out
}

/// One row a run: what a README shows.
pub fn summary_markdown(document: &Document) -> String {
    // Clients have no encodings to choose from.
    let only_clients = document.runs.iter().all(|run| run.side() == Side::Client);
    let (who, rule) =
        if only_clients { ("client", "---") } else { ("server | encoding", "--- | ---") };
    let mut out = format!(
        "| {who} | passed | recommendations failed | failed | known | facts | skipped |\n\
         | {rule} | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for run in &document.runs {
        let it = &run.summary;
        let name = match &run.framework {
            Some(framework) if !framework.starts_with(&run.name) => {
                format!("{} ({framework})", run.name)
            }
            Some(framework) => framework.clone(),
            None => run.name.clone(),
        };
        let encoding = match &run.encoding {
            _ if only_clients => String::new(),
            Some(encoding) => format!(" | {encoding}"),
            None => " | –".to_owned(),
        };
        let not_judged = match it.not_judged {
            0 => String::new(),
            count => format!(" + {count} not judged"),
        };
        let numbers = it.columns().map(|number| number.to_string()).join(" | ");
        let _ = writeln!(out, "| {}{encoding} | {numbers}{not_judged} |", escaped(&name));
    }
    let _ = writeln!(out, "\n{}", provenance(document));
    out
}

/// How many cases, which version, when.
fn provenance(document: &Document) -> String {
    let mut versions: Vec<u32> = document.runs.iter().map(|run| run.suite_version).collect();
    versions.sort_unstable();
    versions.dedup();
    let versions: Vec<_> = versions.iter().map(u32::to_string).collect();
    let dates = document.runs.iter().filter_map(|run| run.began.split('T').next());
    let (first, last) = (dates.clone().min(), dates.max());
    let when = match (first, last) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (Some(first), _) => first.to_owned(),
        _ => "never".to_owned(),
    };
    format!(
        "{}, suite version {}, {when}. *Known* failures are listed with their reason and the upstream \
        link, and are counted among the failed, too.",
        counted(document.rows().len(), "case", "cases"),
        versions.join(" and "),
    )
}

fn legend() -> String {
    let words: Vec<_> = [Verdict::Pass, Verdict::NonStrict, Verdict::Fail, Verdict::Info]
        .iter()
        .chain(&[Verdict::Skip, Verdict::Blocked, Verdict::Adapter, Verdict::Error])
        .map(|verdict| format!("{} {}", sign(*verdict), verdict.word()))
        .collect();
    format!("{}; † known deviation; empty: not run.", words.join(", "))
}

/// Signs that differ in shape, not in colour only.
fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::NonStrict => "**N**",
        Verdict::Fail => "**F**",
        Verdict::Info => "i",
        Verdict::Skip => "–",
        Verdict::Blocked => "**B**",
        Verdict::Adapter => "**A**",
        Verdict::Error => "**E**",
    }
}

fn cell(result: &CaseResult) -> String {
    let mark = match (result.is_known(), result.is_stale()) {
        (true, _) => "†",
        (_, true) => " **stale**",
        _ => "",
    };
    format!("{}{mark}", sign(result.verdict))
}

fn is_shown(result: &CaseResult) -> bool {
    result.is_miss()
        || result.is_stale()
        || matches!(result.verdict, Verdict::Blocked | Verdict::Adapter | Verdict::Error)
}

fn miss(result: &CaseResult, out: &mut String) {
    let verdict = if result.is_stale() { "STALE" } else { result.verdict.word() };
    let _ = writeln!(
        out,
        "- **{verdict}** {}: {} ({}, {})",
        escaped(&result.name()),
        escaped(&result.claim),
        level_word(result.level),
        escaped(&result.source),
    );
    for (what, text) in [("expected", &result.expected), ("actual", &result.actual)] {
        if let Some(text) = text {
            let _ = writeln!(out, "  - {what}: {}", code(text));
        }
    }
    if result.is_miss() && !result.fix.is_empty() {
        let place = result.fixed_in().map(|it| format!(" ({it})")).unwrap_or_default();
        let _ = writeln!(out, "  - to fix: {}{place}", escaped(&result.fix));
    }
    if let Some(known) = &result.deviation {
        let link = known.upstream.as_ref().map(|it| format!(", <{it}>")).unwrap_or_default();
        let (reason, version) = (escaped(&known.reason), escaped(&known.version));
        let _ = writeln!(out, "  - known: {reason} ({version}{link})");
    }
    if let Some(line) = &result.reproduce {
        let _ = writeln!(out, "  - again: {}", code(line));
    }
}

/// Text in which Markdown and HTML see nothing special, also within a table.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' | '#' | '~' => {
                out.push('\\');
                out.push(character);
            }
            _ if character.is_control() => out.push(' '),
            _ => out.push(character),
        }
    }
    out
}

/// A code span, whatever is in the text.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    let longest = text.split(|it| it != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    format!("{fence} {text} {fence}")
}

/// A run's line for the terminal's table and others: `98 passed, 2 failed (2 of these known)`.
pub(super) fn summary_words(run: &Run) -> String {
    let it = &run.summary;
    let mut words = format!("{} passed, {} failed", it.passed, it.failed);
    if it.non_strict > 0 {
        let missed = counted(it.non_strict, "recommendation", "recommendations");
        let _ = write!(words, ", {missed} failed");
    }
    if it.deviations > 0 {
        let _ = write!(words, " ({} of these known)", it.deviations);
    }
    if it.info > 0 {
        let _ = write!(words, ", {}", counted(it.info, "fact", "facts"));
    }
    if it.skipped > 0 {
        let _ = write!(words, ", {} skipped", it.skipped);
    }
    if it.not_judged > 0 {
        let _ = write!(words, ", {} not judged", it.not_judged);
    }
    if it.unexpected > 0 {
        let unexpected = counted(it.unexpected, "unexpected result", "unexpected results");
        let _ = write!(words, "; {unexpected}");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn nothing_of_a_server_is_markup() {
        let text = markdown(&sample());
        assert!(!text.contains("<expected>") || text.contains("` <expected> `"), "{text}");
        assert!(text.contains("one &lt;&amp;&gt;"), "{text}");
        assert!(text.contains("\\| pipes"), "{text}");
        assert!(text.contains("| S2.01-a-slug | MUST | **F**† | – |"), "{text}");
        assert!(text.contains("| S10.03-a-slug | MUST |  | **E** |"), "{text}");
        assert!(text.contains("**STALE** S2.02-a-slug"), "{text}");
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
    }

    #[test]
    fn the_summary_has_a_row_a_run() {
        let text = summary_markdown(&sample());
        assert!(text.contains("| – | 2 | 0 | 2 | 1 | 0 | 0 |"), "{text}");
        assert!(text.contains("| – | 0 | 1 | 0 | 0 | 1 | 1 + 2 not judged |"), "{text}");
        assert!(text.contains("5 cases, suite version 1, 2026-11-20."), "{text}");
    }
}
