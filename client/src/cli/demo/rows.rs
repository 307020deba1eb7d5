//! The log of both sides; a line that one side sent and the other received stands in one row.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::super::print::visible;

/// Rows that are kept to scroll back in: some minutes of the liveliest stream.
const MAX_ROWS: usize = 4096;

/// The lines of two sides about the same event come within this time; on a busy machine a log is
/// late.
const SAME_MS: i64 = 1000;

/// A line without counterpart stands beside one that the other side wrote this shortly before.
const NEAR_MS: i64 = 20;

/// A pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server = 0,
    Client = 1,
}

/// The meaning of a piece of text, which `draw` gives a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Quiet,
    Id,
    Type,
    Good,
    Warn,
    Bad,
}

/// A line of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Lines of both sides with the same key belong into one row; empty if there is no counterpart.
    pub(super) key: String,
    pub(super) parts: Vec<(Tone, String)>,
}

impl Line {
    pub(super) fn new(key: &str) -> Self {
        Self { key: key.to_owned(), parts: Vec::new() }
    }

    /// Adds a piece of text, with a space before it if there is one already.
    pub(super) fn part(mut self, tone: Tone, text: &str) -> Self {
        if !text.is_empty() {
            let space = if self.parts.is_empty() { "" } else { " " };
            let text = visible(text).replace('\n', "⏎").replace('\t', " ");
            self.parts.push((tone, format!("{space}{text}")));
        }
        self
    }
}

/// A moment, and what each side said then.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) at: Timestamp,
    pub(super) sides: [Option<Line>; 2],
}

/// The rows, oldest first.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: VecDeque<Row>,
    /// For each side, how many rows from the front are behind its newest line.
    used: [usize; 2],
}

impl Rows {
    /// Adds a line; true if it took a new row.
    ///
    /// A side's lines stay in their order: a line goes beside its counterpart only below all that
    /// its own side has said.
    pub(super) fn push(&mut self, at: Timestamp, side: Side, line: Line) -> bool {
        let side = side as usize;
        let within_ms = if line.key.is_empty() { NEAR_MS } else { SAME_MS };
        let fits = |row: &Row| {
            row.sides[side].is_none()
                && row.sides[1 - side].as_ref().is_some_and(|other| other.key == line.key)
                && (at.as_millisecond() - row.at.as_millisecond()).abs() <= within_ms
        };
        let from = self.used[side];
        if let Some(offset) = self.rows.iter().skip(from).position(fits) {
            self.rows[from + offset].sides[side] = Some(line);
            self.used[side] = from + offset + 1;
            return false;
        }
        let mut sides = [None, None];
        sides[side] = Some(line);
        self.rows.push_back(Row { at, sides });
        if self.rows.len() > MAX_ROWS {
            self.rows.pop_front();
            self.used = self.used.map(|used| used.saturating_sub(1));
        }
        self.used[side] = self.rows.len();
        true
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Up to `height` rows, the last of them `back` rows before the newest.
    pub(super) fn window(&self, height: usize, back: usize) -> impl Iterator<Item = &Row> {
        let end = self.len().saturating_sub(back).max(height.min(self.len()));
        self.rows.range(end.saturating_sub(height)..end)
    }

    /// The newest lines of one side, oldest first.
    pub(super) fn latest(&self, side: Side, count: usize) -> Vec<&Line> {
        let lines = self.rows.iter().rev().filter_map(|row| row.sides[side as usize].as_ref());
        let mut lines: Vec<_> = lines.take(count).collect();
        lines.reverse();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: &Rows) -> Vec<[String; 2]> {
        let key = |line: &Option<Line>| line.as_ref().map_or("-".into(), |line| line.key.clone());
        rows.rows.iter().map(|row| [key(&row.sides[0]), key(&row.sides[1])]).collect()
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn what_belongs_together_stands_in_one_row_whoever_says_it_first() {
        let mut rows = Rows::default();
        rows.push(at(0), Side::Client, Line::new("request"));
        rows.push(at(1), Side::Server, Line::new("request"));
        rows.push(at(2), Side::Server, Line::new("id 1"));
        rows.push(at(3), Side::Server, Line::new("id 2"));
        rows.push(at(4), Side::Client, Line::new("id 1"));
        rows.push(at(5), Side::Client, Line::new("id 2"));
        assert_eq!(shape(&rows), [["request", "request"], ["id 1", "id 1"], ["id 2", "id 2"]]);
    }

    #[test]
    fn neither_side_overtakes_itself_and_old_rows_stay_as_they_are() {
        let mut rows = Rows::default();
        rows.push(at(0), Side::Server, Line::new("a"));
        rows.push(at(1), Side::Server, Line::new("b"));
        rows.push(at(2), Side::Client, Line::new("b"));
        rows.push(at(3), Side::Client, Line::new("a"));
        assert_eq!(shape(&rows), [["a", "-"], ["b", "b"], ["-", "a"]]);
        rows.push(at(0), Side::Server, Line::new("c"));
        rows.push(at(SAME_MS + 1), Side::Client, Line::new("c"));
        assert_eq!(shape(&rows)[3..], [["c", "-"], ["-", "c"]]);
    }

    #[test]
    fn lines_without_a_counterpart_share_a_row_if_they_come_together() {
        let mut rows = Rows::default();
        rows.push(at(0), Side::Server, Line::new(""));
        rows.push(at(NEAR_MS), Side::Client, Line::new(""));
        rows.push(at(100), Side::Server, Line::new(""));
        rows.push(at(101 + NEAR_MS), Side::Client, Line::new(""));
        assert_eq!(shape(&rows), [["", ""], ["", "-"], ["-", ""]]);
    }

    #[test]
    fn rows_are_bounded_and_windows_end_where_one_has_scrolled_to() {
        let mut rows = Rows::default();
        for n in 0..MAX_ROWS as i64 + 10 {
            rows.push(at(n), Side::Server, Line::new(&n.to_string()));
        }
        assert_eq!(rows.len(), MAX_ROWS);
        let window = |back| {
            let rows = rows.window(2, back).map(|row| row.sides[0].clone().unwrap().key);
            rows.collect::<Vec<_>>()
        };
        assert_eq!(window(0), ["4104", "4105"]);
        assert_eq!(window(1), ["4103", "4104"]);
        assert_eq!(window(usize::MAX), ["10", "11"]);
    }
}
