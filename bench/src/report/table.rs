//! A table, for a terminal, for Markdown and for a browser.

use maud::{Markup, html};

/// A table whose rows are cells, or an error in place of cells.
#[derive(Debug, Default)]
pub(super) struct Table {
    header: Vec<&'static str>,
    /// Columns that hold words; the others hold numbers and are aligned to the right.
    words: usize,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<String>),
    /// The first cells, then what happened.
    Error(Vec<String>, String),
}

impl Table {
    /// A table with this header, whose first `words` columns hold words.
    pub(super) fn new(words: usize, header: &[&'static str]) -> Table {
        Table { header: header.to_vec(), words, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(Row::Cells(cells));
    }

    pub(super) fn error(&mut self, lead: Vec<String>, text: &str) {
        // Other people's words may have several lines, a row has one.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.rows.push(Row::Error(lead, text));
    }

    /// For a terminal: columns padded with spaces.
    pub(super) fn text(&self) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|it| it.chars().count()).collect();
        for row in &self.rows {
            let (Row::Cells(cells) | Row::Error(cells, _)) = row;
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        let header: Vec<String> = self.header.iter().map(|it| (*it).to_owned()).collect();
        self.text_line(&header, &widths, "", &mut out);
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        self.text_line(&rule, &widths, "", &mut out);
        for row in &self.rows {
            match row {
                Row::Cells(cells) => self.text_line(cells, &widths, "", &mut out),
                Row::Error(lead, text) => self.text_line(lead, &widths, text, &mut out),
            }
        }
        out
    }

    /// For a browser.
    pub(super) fn html(&self) -> Markup {
        let class = |column: usize| (column >= self.words).then_some("n");
        html! {
            div class="wide" { table {
                thead { tr {
                    @for (column, cell) in self.header.iter().enumerate() {
                        th class=[class(column)] { (cell) }
                    }
                } }
                tbody {
                    @for row in &self.rows {
                        @let (Row::Cells(cells) | Row::Error(cells, _)) = row;
                        tr {
                            @for (column, cell) in cells.iter().enumerate() {
                                td class=[class(column)] { (cell) }
                            }
                            @if let Row::Error(_, text) = row {
                                @let span = self.header.len().saturating_sub(cells.len()).max(1);
                                td colspan=(span) class="bad" { (text) }
                            }
                        }
                    }
                }
            } }
        }
    }

    /// For Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut out = format!("| {} |\n|", self.header.join(" | "));
        for column in 0..self.header.len() {
            out.push_str(if column < self.words { " --- |" } else { " ---: |" });
        }
        out.push('\n');
        for row in &self.rows {
            let cells = match row {
                Row::Cells(cells) => cells.clone(),
                Row::Error(lead, text) => {
                    let mut cells = lead.clone();
                    cells.push(format!("**{text}**"));
                    cells.resize(self.header.len().max(cells.len()), String::new());
                    cells
                }
            };
            let cells: Vec<String> = cells.iter().map(|it| it.replace('|', "\\|")).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        out
    }

    fn text_line(&self, cells: &[String], widths: &[usize], tail: &str, out: &mut String) {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let cell = if column < self.words {
                format!("{gap}{cell:<width$}")
            } else {
                format!("{gap}{cell:>width$}")
            };
            line.push_str(&cell);
        }
        if !tail.is_empty() {
            line.push_str("  ");
            line.push_str(tail);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(1, &["server", "p50", "max"]);
        table.row(vec!["floor".into(), "1.9 ms".into(), "10.0 ms".into()]);
        table.error(vec!["axum".into()], "3 events\n  lost");
        table
    }

    #[test]
    fn a_terminal_gets_aligned_columns() {
        let expected = "\
server     p50      max
──────  ──────  ───────
floor   1.9 ms  10.0 ms
axum    3 events lost
";
        assert_eq!(table().text(), expected);
    }

    #[test]
    fn markdown_gets_the_error_in_place_of_numbers() {
        let expected = "\
| server | p50 | max |
| --- | ---: | ---: |
| floor | 1.9 ms | 10.0 ms |
| axum | **3 events lost** |  |
";
        assert_eq!(table().markdown(), expected);
    }
}
