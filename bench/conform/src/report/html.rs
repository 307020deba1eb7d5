//! The matrix as one HTML file: no script, no request to anywhere, light and dark, narrow and
//! printed.

use std::fmt::Write as _;

use super::{Document, Run, level_word, subjects};
use crate::{CaseResult, Verdict};

const STYLE: &str = include_str!("matrix.css");

/// One page: summary, matrix, and below it each case with what was found.
///
/// A cell links to the case's result, with expected, actual, the dialogue and how to see it again.
pub fn html(document: &Document) -> String {
    let mut page = Page { document, out: String::new() };
    page.out.push_str(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<title>SSE conformance</title>\n",
    );
    let _ = write!(page.out, "<style>\n{STYLE}</style>\n<body>\n");
    page.top();
    page.matrix();
    page.cases();
    page.out.push_str("</body>\n</html>\n");
    page.out
}

struct Page<'d> {
    document: &'d Document,
    out: String,
}

impl Page<'_> {
    fn top(&mut self) {
        let document = self.document;
        let subjects = subjects(document);
        let _ = write!(
            self.out,
            "<header>\n<h1>SSE conformance</h1>\n<p>The results of these {subjects} in the \
            cases of <code>sse-bench conform</code>. Follow a letter to the expected result, the \
            actual one, and the bytes.</p>\n<ul class=\"legend\">\n"
        );
        for verdict in Verdict::ALL {
            let class = class(verdict);
            let letter = letter(verdict);
            let (word, meaning) = (verdict.word(), verdict.meaning());
            let _ = writeln!(
                self.out,
                "<li><span class=\"v {class}\">{letter}</span> <b>{word}</b> {meaning}</li>"
            );
        }
        self.add("<li><span class=\"v fail known\">F</span> <b>†</b> a failure that is known and ");
        self.add("listed, with its reason</li>\n</ul>\n</header>\n");
        self.add("<div class=\"scroll\"><table class=\"summary\">\n<thead><tr><th></th>");
        for word in ["passed", "non-strict", "failed", "known", "facts", "skipped", "not judged"] {
            let _ = write!(self.out, "<th>{word}</th>");
        }
        self.add("<th>profile</th><th>suite</th><th>began (UTC)</th><th>took</th></tr></thead>\n");
        for run in &document.runs {
            let it = &run.summary;
            let _ = write!(self.out, "<tr><th scope=\"row\">{}", escaped(&run.label()));
            if let Some(framework) = &run.framework {
                let _ = write!(self.out, " <small>{}</small>", escaped(framework));
            }
            self.add("</th>");
            let numbers = [
                it.passed,
                it.non_strict,
                it.failed,
                it.deviations,
                it.info,
                it.skipped,
                it.not_judged,
            ];
            for number in numbers {
                let faint = if number == 0 { " class=\"zero\"" } else { "" };
                let _ = write!(self.out, "<td{faint}>{number}</td>");
            }
            let strict = if run.strict { ", strict" } else { "" };
            let scale = if (run.time_scale - 1.0).abs() > f64::EPSILON {
                format!(", times × {}", run.time_scale)
            } else {
                String::new()
            };
            let _ = writeln!(
                self.out,
                "<td>{}{strict}{scale}</td><td>{}</td><td>{}</td><td>{:.1} s</td></tr>",
                run.profile.map_or_else(|| "–".to_owned(), |it| it.to_string()),
                run.suite_version,
                escaped(run.began.get(..16).unwrap_or(&run.began)),
                run.took_ms as f64 / 1e3,
            );
        }
        self.add("</table></div>\n");
    }

    fn matrix(&mut self) {
        let document = self.document;
        self.add("<h2 id=\"matrix\">Matrix</h2>\n<div class=\"scroll\"><table class=\"matrix\">\n");
        self.add("<thead><tr><th class=\"case\">case</th>");
        for run in &document.runs {
            let _ = write!(
                self.out,
                "<th scope=\"col\" class=\"run\"><span>{}</span></th>",
                escaped(&run.label())
            );
        }
        self.add("<th class=\"claim\">claim</th></tr></thead>\n");
        for (category, rows) in document.categories() {
            let _ = writeln!(
                self.out,
                "<tbody><tr class=\"category\"><th class=\"case\">{}</th><td colspan=\"{}\"></td>\
                 <td class=\"claim\"></td></tr>",
                category,
                document.runs.len()
            );
            for row in rows {
                let id = escaped(&row.id);
                let _ = write!(
                    self.out,
                    "<tr><th class=\"case\" scope=\"row\"><a href=\"#{id}\"><b>{id}</b> {}</a> \
                     <small>{}</small></th>",
                    escaped(&row.slug),
                    level_word(row.level),
                );
                for (index, run) in document.runs.iter().enumerate() {
                    match run.result(&row.id) {
                        Some(result) => self.cell(run, index, result),
                        None => self.add("<td></td>"),
                    }
                }
                let _ = writeln!(self.out, "<td class=\"claim\">{}</td></tr>", escaped(&row.claim));
            }
            self.add("</tbody>\n");
        }
        self.add("</table></div>\n");
    }

    fn cell(&mut self, run: &Run, index: usize, result: &CaseResult) {
        let anchor = if is_told(result) { anchor(result, index) } else { escaped(&result.id) };
        let words = words(result);
        let _ = write!(
            self.out,
            "<td><a class=\"v {}\" href=\"#{anchor}\" title=\"{} · {}: {words}\">{}</a></td>",
            classes(result),
            escaped(&result.id),
            escaped(&run.label()),
            letter(result.verdict),
        );
    }

    fn cases(&mut self) {
        let document = self.document;
        self.add("<h2>Cases</h2>\n");
        for (category, rows) in document.categories() {
            let _ = writeln!(self.out, "<h3>{category}</h3>");
            for row in rows {
                let id = escaped(&row.id);
                let _ = write!(
                    self.out,
                    "<article id=\"{id}\">\n<h4>{id} {} <small>{} · {}</small></h4>\n<p>{}</p>\n",
                    escaped(&row.slug),
                    level_word(row.level),
                    escaped(&row.source),
                    escaped(&row.claim),
                );
                if !row.fix.is_empty() {
                    let _ = writeln!(
                        self.out,
                        "<details class=\"how\"><summary>What is sent, how to fix it</summary>\
                         <p>Sent: {}</p><p>To fix: {}</p></details>",
                        escaped(&row.sends),
                        escaped(&row.fix),
                    );
                }
                self.verdicts(&row.id);
                for (index, run) in document.runs.iter().enumerate() {
                    if let Some(result) = run.result(&row.id).filter(|it| is_told(it)) {
                        self.told(run, index, result);
                    }
                }
                self.add("<p class=\"up\"><a href=\"#matrix\">to the matrix</a></p>\n</article>\n");
            }
        }
    }

    /// The runs with each verdict, in one line each: for readers who cannot see the matrix.
    fn verdicts(&mut self, id: &str) {
        let document = self.document;
        self.add("<p class=\"who\">");
        for verdict in Verdict::ALL {
            let runs = document.runs.iter();
            let who: Vec<_> = runs
                .filter(|run| run.result(id).is_some_and(|it| it.verdict == verdict))
                .map(|run| escaped(&run.label()))
                .collect();
            if !who.is_empty() {
                let _ = write!(
                    self.out,
                    "<span class=\"v {}\">{}</span> {} ",
                    class(verdict),
                    letter(verdict),
                    who.join(", ")
                );
            }
        }
        self.add("</p>\n");
    }

    fn told(&mut self, run: &Run, index: usize, result: &CaseResult) {
        let is_open = if result.is_miss() { " open" } else { "" };
        let _ = write!(
            self.out,
            "<details class=\"result\" id=\"{}\"{is_open}><summary><span class=\"v {}\">{}</span> \
             <b>{}</b> {}</summary>\n<dl>",
            anchor(result, index),
            classes(result),
            letter(result.verdict),
            escaped(&run.label()),
            words(result),
        );
        for (what, text) in [("expected", &result.expected), ("actual", &result.actual)] {
            if let Some(text) = text {
                let _ = write!(self.out, "<dt>{what}</dt><dd><code>{}</code></dd>", escaped(text));
            }
        }
        if let Some(known) = &result.deviation {
            let _ = write!(
                self.out,
                "<dt>known</dt><dd>{} ({})",
                escaped(&known.reason),
                escaped(&known.version)
            );
            // A link, and only if it is one: the text comes from any user's file.
            if let Some(link) = known.upstream.as_ref().filter(|it| it.starts_with("https://")) {
                let link = escaped(link);
                let _ = write!(self.out, " <a href=\"{link}\">{link}</a>");
            }
            self.add("</dd>");
        }
        if let Some(line) = &result.reproduce {
            let _ = write!(self.out, "<dt>again</dt><dd><code>{}</code></dd>", escaped(line));
        }
        self.add("</dl>\n");
        if let Some(dialogue) = &result.dialogue {
            let _ = writeln!(self.out, "<pre tabindex=\"0\">{}</pre>", escaped(dialogue));
        }
        self.add("</details>\n");
    }

    fn add(&mut self, text: &str) {
        self.out.push_str(text);
    }
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
    format!("{}-{index}", escaped(&result.id))
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

fn classes(result: &CaseResult) -> String {
    let more = if result.is_known() {
        " known"
    } else if result.is_stale() {
        " stale"
    } else {
        ""
    };
    format!("{}{more}", class(result.verdict))
}

/// Text in which HTML sees nothing special, in an attribute between double quotes too.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            _ if character.is_control() => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
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
