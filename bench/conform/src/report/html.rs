//! The matrix as one HTML file: no script, no request to anywhere, light and dark, narrow and
//! printed.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Document, Run, level_word, subjects};
use crate::{CaseResult, Verdict};

const STYLE: &str = include_str!("matrix.css");

/// One page: summary, matrix, and below it each case with what was found.
///
/// A cell links to the case's result, with expected, actual, the dialogue and how to see it again.
pub fn html(document: &Document) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta http-equiv="Content-Security-Policy"
                content="default-src 'none'; style-src 'unsafe-inline'";
            title { "SSE conformance" }
            style { (PreEscaped(STYLE)) }
            body {
                (top(document))
                (summary(document))
                (matrix(document))
                h2 { "Cases" }
                @for (category, rows) in document.categories() {
                    "\n" h3 { (category) }
                    @for row in rows { (case(document, row)) }
                }
            }
        }
    };
    // Markup has no other control characters than these, text of a server may have any.
    let visible = |it: char| if it.is_control() && !"\n\t".contains(it) { '\u{fffd}' } else { it };
    page.into_string().chars().map(visible).collect()
}

fn top(document: &Document) -> Markup {
    html! {
        header {
            h1 { "SSE conformance" }
            p {
                "The results of these " (subjects(document)) " in the cases of "
                code { "sse-bench conform" }
                ". Follow a letter to the expected result, the actual one, and the bytes."
            }
            ul.legend {
                @for verdict in Verdict::ALL {
                    li { (mark(verdict, "")) " " b { (verdict.word()) } " " (verdict.meaning()) }
                }
                li {
                    (mark(Verdict::Fail, " known")) " " b { "†" }
                    " a failure that is known and listed, with its reason"
                }
            }
        }
    }
}

fn summary(document: &Document) -> Markup {
    const WORDS: [&str; 11] = [
        "passed",
        "non-strict",
        "failed",
        "known",
        "facts",
        "skipped",
        "not judged",
        "profile",
        "suite",
        "began (UTC)",
        "took",
    ];
    html! {
        div.scroll { table.summary {
            thead { tr { th {} @for word in WORDS { th { (word) } } } }
            @for run in &document.runs {
                "\n"
                tr {
                    th scope="row" {
                        (run.label())
                        @if let Some(framework) = &run.framework { " " small { (framework) } }
                    }
                    @let it = &run.summary;
                    @for number in [
                        it.passed,
                        it.non_strict,
                        it.failed,
                        it.deviations,
                        it.info,
                        it.skipped,
                        it.not_judged,
                    ] {
                        td class=[(number == 0).then_some("zero")] { (number) }
                    }
                    td {
                        (run.profile.map_or_else(|| "–".to_owned(), |it| it.to_string()))
                        @if run.strict { ", strict" }
                        @if (run.time_scale - 1.0).abs() > f64::EPSILON {
                            ", times × " (run.time_scale)
                        }
                    }
                    td { (run.suite_version) }
                    td { (run.began.get(..16).unwrap_or(&run.began)) }
                    td { (format!("{:.1} s", run.took_ms as f64 / 1e3)) }
                }
            }
        } }
    }
}

fn matrix(document: &Document) -> Markup {
    html! {
        h2 #matrix { "Matrix" }
        div.scroll { table.matrix {
            thead { tr {
                th.case { "case" }
                @for run in &document.runs { th.run scope="col" { span { (run.label()) } } }
                th.claim { "claim" }
            } }
            @for (category, rows) in document.categories() {
                tbody {
                    tr.category {
                        th.case { (category) }
                        td colspan=(document.runs.len()) {}
                        td.claim {}
                    }
                    @for row in rows {
                        "\n"
                        tr {
                            th.case scope="row" {
                                a href={ "#" (row.id) } { b { (row.id) } " " (row.slug) }
                                " " small { (level_word(row.level)) }
                            }
                            @for (index, run) in document.runs.iter().enumerate() {
                                td {
                                    @if let Some(result) = run.result(&row.id) {
                                        (cell(run, index, result))
                                    }
                                }
                            }
                            td.claim { (row.claim) }
                        }
                    }
                }
            }
        } }
    }
}

fn cell(run: &Run, index: usize, result: &CaseResult) -> Markup {
    let anchor = if is_told(result) { anchor(result, index) } else { result.id.clone() };
    let title = format!("{} · {}: {}", result.id, run.label(), words(result));
    let class = format!("v {}{}", class(result.verdict), more_class(result));
    html! {
        a class=(class) href={ "#" (anchor) } title=(title) { (letter(result.verdict)) }
    }
}

fn case(document: &Document, row: &CaseResult) -> Markup {
    html! {
        article id=(row.id) {
            h4 { (row.id) " " (row.slug) " " small { (level_word(row.level)) " · " (row.source) } }
            p { (row.claim) }
            @if !row.fix.is_empty() {
                details.how {
                    summary { "Requests sent, and how to fix it" }
                    p { "Sent: " (row.sends) }
                    p { "To fix: " (row.fix) }
                }
            }
            // The runs with each verdict: for readers who cannot see the matrix.
            p.who {
                @for verdict in Verdict::ALL {
                    @let labels = labels_with(document, &row.id, verdict);
                    @if !labels.is_empty() { (mark(verdict, "")) " " (labels.join(", ")) " " }
                }
            }
            @for (index, run) in document.runs.iter().enumerate() {
                @if let Some(result) = run.result(&row.id).filter(|it| is_told(it)) {
                    (told(run, index, result))
                }
            }
            p.up { a href="#matrix" { "to the matrix" } }
        }
    }
}

fn labels_with(document: &Document, id: &str, verdict: Verdict) -> Vec<String> {
    let runs = document.runs.iter();
    let has_it = |run: &&Run| run.result(id).is_some_and(|it| it.verdict == verdict);
    runs.filter(has_it).map(Run::label).collect()
}

fn told(run: &Run, index: usize, result: &CaseResult) -> Markup {
    html! {
        "\n"
        details.result id=(anchor(result, index)) open[result.is_miss()] {
            summary {
                (mark(result.verdict, more_class(result)))
                " " b { (run.label()) } " " (words(result))
            }
            dl {
                @for (what, text) in [("expected", &result.expected), ("actual", &result.actual)] {
                    @if let Some(text) = text { dt { (what) } dd { code { (text) } } }
                }
                @if let Some(known) = &result.deviation {
                    dt { "known" }
                    dd {
                        (known.reason) " (" (known.version) ")"
                        // A link, and only if it is one: the text comes from any user's file.
                        @let link = known.upstream.as_ref();
                        @if let Some(link) = link.filter(|it| it.starts_with("https://")) {
                            " " a href=(link) { (link) }
                        }
                    }
                }
                @if let Some(line) = &result.reproduce { dt { "again" } dd { code { (line) } } }
            }
            @if let Some(dialogue) = &result.dialogue { pre tabindex="0" { (dialogue) } }
        }
    }
}

/// The letter of a verdict in its colour.
fn mark(verdict: Verdict, more: &str) -> Markup {
    html! { span class={ "v " (class(verdict)) (more) } { (letter(verdict)) } }
}

/// Whether there is more to say of it than the verdict.
fn is_told(result: &CaseResult) -> bool {
    result.actual.is_some() || result.is_stale()
}

fn words(result: &CaseResult) -> String {
    let word = result.verdict.word();
    if result.is_known() {
        format!("{word}, known")
    } else if result.is_stale() {
        format!("{word}, but listed as a deviation: take the entry out")
    } else {
        word.to_owned()
    }
}

fn anchor(result: &CaseResult, index: usize) -> String {
    format!("{}-{index}", result.id)
}

fn letter(verdict: Verdict) -> char {
    match verdict {
        // It should be the least loud of all.
        Verdict::Pass => '✓',
        Verdict::Skip => '–',
        verdict => verdict.letter(),
    }
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::NonStrict => "nonstrict",
        Verdict::Fail => "fail",
        Verdict::Info => "info",
        Verdict::Skip => "skip",
        Verdict::Blocked => "blocked",
        Verdict::Error => "error",
    }
}

fn more_class(result: &CaseResult) -> &'static str {
    if result.is_known() {
        " known"
    } else if result.is_stale() {
        " stale"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn nothing_of_a_server_is_markup() {
        let text = html(&sample());
        for bad in ["<expected>", "<actual>", "one <&>", "<x>", "</script>", "\u{1b}", "<does>"] {
            assert!(!text.contains(bad), "{bad}");
        }
        assert!(text.contains("one &lt;&amp;&gt;") && text.contains("&quot;quotes&quot;"));
        assert!(text.contains("href=\"https://example.org/?a=1&amp;b=&quot;2&quot;\""));
    }

    #[test]
    fn it_needs_nothing_but_itself() {
        let text = html(&sample());
        for bad in ["<script", "src=", "<link", "url(", "@import", "javascript:"] {
            assert!(!text.contains(bad), "{bad}");
        }
        assert!(text.len() < 60_000, "{} bytes", text.len());
    }

    #[test]
    fn every_link_within_the_page_has_its_target_and_ids_are_unique() {
        let text = html(&sample());
        let after = |marker: &str| -> Vec<String> {
            let parts = text.split(marker).skip(1);
            parts.map(|it| it.split('"').next().unwrap().to_owned()).collect()
        };
        let ids = after(" id=\"");
        for target in after("href=\"#") {
            assert_eq!(ids.iter().filter(|id| **id == target).count(), 1, "#{target}");
        }
    }

    #[test]
    fn an_upstream_that_is_no_web_address_is_no_link() {
        let mut document = sample();
        for result in &mut document.runs[0].results {
            if let Some(known) = &mut result.deviation {
                known.upstream = Some("javascript:alert(1)".to_owned());
            }
        }
        assert!(!html(&document).contains("javascript:"));
    }
}
