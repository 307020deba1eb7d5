//! A table, for a terminal, for Markdown and for a browser.

use maud::{Markup, html};

use super::paint::{Paint, wrapped};

/// The style of [`Table::html`], without the stacked form.
const STYLE: &str = include_str!("table.css");

/// The form of a table for which there is no room: its rows below each other, each cell with its title.
const STACKED: &str = include_str!("stacked.css");

/// The classes of tables by their number of columns, and the width at which they are stacked, pixels.
const SIZES: [(&str, usize, u32); 3] =
    [("few", 7, 640), ("some", 11, 1000), ("many", usize::MAX, 1360)];

/// Makes the tables of [`Table::html`] sortable.
pub const SCRIPT: &str = include_str!("table.js");

/// The style of [`Table::html`]; it takes the colours `--line`, `--soft` and `--bad` from its page.
pub fn style() -> String {
    let mut style = STYLE.to_owned();
    for (class, _, width) in SIZES {
        let rules = STACKED.replace("TABLE", &format!("table.{class}"));
        style += &format!("@container (max-width: {}px) {{\n{rules}}}\n", width - 1);
    }
    style
}

/// The class of a table with so many columns.
pub fn size_class(columns: usize) -> &'static str {
    SIZES.iter().find(|it| columns <= it.1).map_or("many", |it| it.0)
}

/// Between two columns.
const GAP: usize = 2;

/// The least room for the error of a row without numbers; with less it gets a separate line.
const ERROR_COLUMNS_MIN: usize = 28;

/// A table whose rows are cells, or an error in place of cells.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    /// Columns that hold words; the others hold numbers and are aligned to the right.
    words: usize,
    rows: Vec<Row>,
}

/// A column's title, and how dispensable it is.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    rank: usize,
}

impl From<&'static str> for Column {
    /// A column that is always there.
    fn from(title: &'static str) -> Column {
        Column { title, rank: 0 }
    }
}

impl Column {
    /// A column that is left out on a terminal that is too narrow: first those of the highest rank.
    pub fn ranked(title: &'static str, rank: usize) -> Column {
        Column { title, rank }
    }
}

/// How a row is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As any other.
    #[default]
    Plain,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<String>, Tone),
    /// The first cells, then what happened.
    Error(Vec<String>, String),
}

impl Row {
    fn cells(&self) -> &[String] {
        let (Row::Cells(cells, _) | Row::Error(cells, _)) = self;
        cells
    }
}

impl Table {
    /// A table with this header, whose first `words` columns hold words.
    pub fn new<C: Into<Column>>(words: usize, header: impl IntoIterator<Item = C>) -> Table {
        Table { columns: header.into_iter().map(Into::into).collect(), words, rows: Vec::new() }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.row_in(Tone::Plain, cells);
    }

    /// One more row, in a colour where there are colours.
    pub fn row_in(&mut self, tone: Tone, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(Row::Cells(cells, tone));
    }

    /// One more row, of which only the first cells are known.
    pub fn error(&mut self, lead: Vec<String>, text: &str) {
        // Other people's words may have several lines, a row has one.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.rows.push(Row::Error(lead, text));
    }

    /// The cell below this title in the row that begins with these cells.
    pub fn cell(&self, lead: &[&str], title: &str) -> Option<&str> {
        let at = self.columns.iter().position(|it| it.title == title)?;
        let row = self.rows.iter().find(|it| it.cells().iter().zip(lead).all(|(a, b)| a == b))?;
        row.cells().get(at).map(String::as_str)
    }

    /// Whether it has a column of this title.
    pub fn has(&self, title: &str) -> bool {
        self.columns.iter().any(|it| it.title == title)
    }

    /// How many columns are left out there.
    pub fn left_out(&self, paint: Paint) -> usize {
        self.columns.len() - self.shown(paint.columns()).len()
    }

    /// For a terminal: columns padded with spaces, as many as it has room for.
    ///
    /// If even those that are always there are too wide, the first becomes a line above its rows.
    pub fn text(&self, paint: Paint) -> String {
        let mut shown = self.shown(paint.columns());
        let mut heading = None;
        if paint.columns().is_some_and(|it| self.width(&shown) > it) && shown.len() > 2 {
            heading = Some(shown.remove(0));
        }
        let widths: Vec<usize> = shown.iter().map(|it| self.width_of(*it)).collect();
        let mut out = self.header_text(&shown, &widths, paint);
        let mut last = "";
        for row in &self.rows {
            if let Some(heading) = heading
                && row.cells()[heading] != last
            {
                last = &row.cells()[heading];
                out.push_str(&format!("{}\n", paint.bold(last)));
            }
            let cell = |at: &usize| row.cells().get(*at).map(String::as_str);
            let cells: Vec<&str> = shown.iter().map_while(cell).collect();
            let line = self.line(&cells, &shown, &widths);
            match row {
                Row::Cells(_, Tone::Plain) => out.push_str(line.trim_end()),
                Row::Cells(_, Tone::Good) => out.push_str(&paint.with("32", line.trim_end())),
                Row::Cells(_, Tone::Bad) => out.push_str(&paint.bad(line.trim_end())),
                Row::Error(_, text) => error_text(&line, text, paint, &mut out),
            }
            out.push('\n');
        }
        out
    }

    /// The table without columns that have a value in no row.
    pub fn without_empty(mut self, nothing: &str) -> Table {
        for at in (self.words..self.columns.len()).rev() {
            let mut cells = self.rows.iter().filter_map(|row| row.cells().get(at));
            if cells.all(|it| it == nothing) {
                self.columns.remove(at);
                for Row::Cells(cells, _) | Row::Error(cells, _) in &mut self.rows {
                    if at < cells.len() {
                        cells.remove(at);
                    }
                }
            }
        }
        self
    }

    /// For a browser: below each other where there is no room side by side, and sortable with [`SCRIPT`].
    pub fn html(&self) -> Markup {
        self.sized(size_class(self.columns.len()), &|_| None)
    }

    /// For a browser: where there is no room for all columns, so many of the lowest ranks stay, `most` in a window of
    /// some width and `few` in a narrow one; only on a phone rows are below each other.
    pub fn html_fitting(&self, few: usize, most: usize) -> Markup {
        let mut ranks: Vec<usize> =
            self.columns.iter().map(|it| it.rank).filter(|it| *it > 0).collect();
        ranks.sort_unstable();
        let last = |count: usize| ranks.iter().take(count).next_back().copied().unwrap_or(0);
        let class = |rank: usize| match rank {
            it if it > last(most) => Some("n rare"),
            it if it > last(few) => Some("n wide"),
            _ => None,
        };
        self.sized(SIZES[0].0, &class)
    }

    fn sized(&self, size: &str, of_rank: &dyn Fn(usize) -> Option<&'static str>) -> Markup {
        let number = |column: usize| (column >= self.words).then_some("n");
        let class = |column: usize| of_rank(self.columns[column].rank).or(number(column));
        html! {
            div class="table" { table class={ "sortable " (size) } {
                thead { tr {
                    @for (column, it) in self.columns.iter().enumerate() {
                        th scope="col" class=[class(column)] { (breakable(it.title)) }
                    }
                } }
                tbody {
                    @for row in &self.rows {
                        tr class=[matches!(row, Row::Cells(_, Tone::Bad)).then_some("bad")] {
                            @for (column, cell) in row.cells().iter().enumerate() {
                                @let title = self.columns[column].title;
                                @if column == 0 {
                                    th scope="row" { (cell) }
                                } @else {
                                    td class=[class(column).or(long(cell))] data-title=(title) { (with_range(cell)) }
                                }
                            }
                            @if let Row::Error(lead, text) = row {
                                @let span = self.columns.len().saturating_sub(lead.len()).max(1);
                                td colspan=(span) class="bad long" { (text) }
                            }
                        }
                    }
                }
            } }
        }
    }

    /// For Markdown.
    pub fn markdown(&self) -> String {
        let titles: Vec<&str> = self.columns.iter().map(|it| it.title).collect();
        let mut out = format!("| {} |\n|", titles.join(" | "));
        for column in 0..self.columns.len() {
            out.push_str(if column < self.words { " --- |" } else { " ---: |" });
        }
        out.push('\n');
        for row in &self.rows {
            let mut cells = row.cells().to_vec();
            if let Row::Error(_, text) = row {
                cells.push(format!("**{text}**"));
                cells.resize(self.columns.len().max(cells.len()), String::new());
            }
            let cells: Vec<String> = cells.iter().map(|it| it.replace('|', "\\|")).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        out
    }

    /// The columns that fit, by their numbers.
    fn shown(&self, columns: Option<usize>) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let Some(columns) = columns else { return shown };
        while self.width(&shown) > columns {
            let rank = |it: &usize| self.columns[*it].rank;
            let Some(worst) = shown.iter().copied().filter(|it| rank(it) > 0).max_by_key(rank)
            else {
                break;
            };
            shown.retain(|it| *it != worst);
        }
        shown
    }

    fn width(&self, shown: &[usize]) -> usize {
        let cells: usize = shown.iter().map(|it| self.width_of(*it)).sum();
        cells + GAP * shown.len().saturating_sub(1)
    }

    /// The width of a column: of its widest cell, and of the widest word of its title.
    fn width_of(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.cells().get(column));
        let cells = cells.map(|it| it.chars().count());
        let words = words_of(self.columns[column].title);
        let words = words.iter().map(|it| it.trim_end().chars().count());
        cells.chain(words).max().unwrap_or(0)
    }

    /// Titles in as many lines as the widths of their columns ask for, and a rule.
    fn header_text(&self, shown: &[usize], widths: &[usize], paint: Paint) -> String {
        let titles: Vec<Vec<String>> = shown
            .iter()
            .zip(widths)
            .map(|(it, width)| lines_of(self.columns[*it].title, *width))
            .collect();
        let height = titles.iter().map(Vec::len).max().unwrap_or(0);
        let mut out = String::new();
        for line in 0..height {
            let above = |title: &Vec<String>| height - title.len();
            let cells: Vec<&str> = titles
                .iter()
                .map(|it| line.checked_sub(above(it)).map_or("", |line| it[line].as_str()))
                .collect();
            out.push_str(&format!("{}\n", paint.bold(self.line(&cells, shown, widths).trim_end())));
        }
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        let rule: Vec<&str> = rule.iter().map(String::as_str).collect();
        out.push_str(&format!("{}\n", paint.faint(&self.line(&rule, shown, widths))));
        out
    }

    fn line(&self, cells: &[&str], shown: &[usize], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let gap = if at == 0 { "" } else { "  " };
            let width = widths[at];
            line += &if shown[at] < self.words {
                format!("{gap}{cell:<width$}")
            } else {
                format!("{gap}{cell:>width$}")
            };
        }
        line
    }
}

/// A title that may be broken behind its slashes.
fn breakable(title: &str) -> Markup {
    html! { @for part in title.split_inclusive('/') { (part) @if part.ends_with('/') { wbr; } } }
}

/// A cell that may be broken before its range, and not within it; in one element, which a grid places as one.
fn with_range(cell: &str) -> Markup {
    let range = cell.find(['(', '[']).filter(|_| cell.contains('–'));
    let Some(at) = range else { return html! { (cell) } };
    let (value, range) = cell.split_at(at);
    html! { span { (value) span { (range) } } }
}

/// The class of a cell that wants a line of its own where a table is stacked.
fn long(cell: &str) -> Option<&'static str> {
    (cell.len() > 40).then_some("long")
}

/// The error behind the first cells, or below them.
fn error_text(lead: &str, text: &str, paint: Paint, out: &mut String) {
    let indent = lead.chars().count() + GAP;
    let beside = paint.columns().is_none_or(|it| it >= indent + ERROR_COLUMNS_MIN);
    let indent = if beside { indent } else { GAP };
    out.push_str(lead);
    for (number, line) in wrapped(text, paint.indented(indent).columns()).iter().enumerate() {
        if number == 0 && beside {
            out.push_str(&" ".repeat(GAP));
        } else {
            out.push_str(&format!("\n{}", " ".repeat(indent)));
        }
        out.push_str(&paint.bad(line));
    }
}

/// A title in the parts at which it may be broken: behind a space, a slash, a hyphen.
fn words_of(title: &str) -> Vec<&str> {
    title.split_inclusive([' ', '/', '-']).collect()
}

/// A title in lines of this width.
fn lines_of(title: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words_of(title) {
        let line = lines.last_mut().expect("one at least");
        if line.chars().count() + word.trim_end().chars().count() > width && !line.is_empty() {
            lines.push(word.to_owned());
        } else {
            line.push_str(word);
        }
    }
    lines.iter().map(|it| it.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(1, ["server", "p50", "max"]);
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
        assert_eq!(table().text(Paint::plain()), expected);
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

    #[test]
    fn a_narrow_terminal_loses_columns_by_rank_and_no_line_is_too_long() {
        let header = [
            Column::from("server"),
            Column::ranked("CPU × floor [95\u{a0}%]", 1),
            Column::ranked("events/s", 3),
            Column::ranked("p99 ms", 2),
        ];
        let mut table = Table::new(1, header);
        table.row(
            ["std sockets shared", "1.02 [0.88–1.18]", "20000", "11.3"].map(str::to_owned).into(),
        );
        table.error(
            vec!["rocket native".into()],
            "error: 11 streams were not open in time (round 3)",
        );
        let at = |columns| table.text(Paint::plain().of_columns(columns));
        let widest = |text: &str| text.lines().map(|it| it.chars().count()).max().unwrap();
        for columns in [120, 60, 51, 46, 40, 36] {
            let text = at(columns);
            assert!(widest(&text) <= columns, "{columns}\n{text}");
        }
        assert!(at(60).contains("events/") && at(60).contains("20000"));
        assert!(!at(50).contains("20000") && at(50).contains("11.3"), "{}", at(50));
        assert!(!at(40).contains("11.3") && at(40).contains("1.02"), "{}", at(40));
        assert_eq!(table.left_out(Paint::plain().of_columns(40)), 2);
        assert_eq!(table.left_out(Paint::plain()), 0);
        // The title is stacked, and ends above the rule.
        assert!(at(40).starts_with(&format!("{:>36}\n", "CPU × floor")), "{}", at(40));
    }

    #[test]
    fn columns_that_cannot_be_left_out_become_lines_above_their_rows() {
        let mut table = Table::new(2, ["server", "figure", "ratio"]);
        for figure in ["first event", "latency"] {
            table.row(vec!["std sockets shared".into(), figure.into(), "1.00 [0.90–1.10]".into()]);
        }
        let text = table.text(Paint::plain().of_columns(40));
        assert_eq!(text.matches("std sockets shared\n").count(), 1, "{text}");
        assert!(text.lines().all(|it| it.chars().count() <= 40), "{text}");
    }

    #[test]
    fn a_column_without_a_value_is_left_out_and_those_of_words_stay() {
        let mut table = Table::new(1, ["server", "p50", "max", "passed"]);
        table.row(["–", "1.9", "–", "–"].map(str::to_owned).into());
        table.row(["–", "–", "–", "–"].map(str::to_owned).into());
        table.error(vec!["axum".into(), "–".into(), "–".into()], "lost");
        let table = table.without_empty("–");
        assert!(table.has("p50") && !table.has("max") && !table.has("passed"));
        assert!(table.markdown().contains("| – | 1.9 |\n| – | – |\n| axum | – | **lost** |"));
    }

    #[test]
    fn a_column_of_a_high_rank_has_the_class_by_which_it_is_left_out() {
        let header = [
            Column::from("server"),
            Column::ranked("CPU", 1),
            Column::ranked("p50", 7),
            Column::ranked("max", 9),
        ];
        let mut table = Table::new(1, header);
        table.row(["axum", "2", "1", "3"].map(str::to_owned).into());
        let html = table.html_fitting(1, 2).into_string();
        for cell in [
            "class=\"n\" data-title=\"CPU\"",
            "class=\"n wide\" data-title=\"p50\"",
            "class=\"n rare\" data-title=\"max\"",
        ] {
            assert!(html.contains(cell), "{html}");
        }
        assert!(html.contains("class=\"sortable few\""), "{html}");
    }

    #[test]
    fn a_cell_is_found_by_its_row_and_title() {
        assert_eq!(table().cell(&["floor"], "max"), Some("10.0 ms"));
        assert_eq!(table().cell(&["axum"], "max"), None);
    }
}
