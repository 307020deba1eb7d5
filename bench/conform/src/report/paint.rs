//! The place that a text is printed to: its colours and its width.

use std::io::{IsTerminal, Write as _};
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

/// Nothing is wrapped into less than this: a word a line cannot be read.
const COLUMNS_MIN: usize = 20;

/// Colours or none, and how many columns there are.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    is_on: bool,
    columns: Option<usize>,
}

impl Paint {
    /// No colours, and lines of any length: a file, a pipe.
    pub fn plain() -> Paint {
        Paint { is_on: false, columns: None }
    }

    /// On a terminal its width, and colours if it wants them (<https://no-color.org>); otherwise plain.
    pub fn for_stdout() -> Paint {
        Paint::on(std::io::stdout())
    }

    fn on(stream: impl IsTerminal + AsFd) -> Paint {
        if !stream.is_terminal() {
            return Paint::plain();
        }
        let refused = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty())
            || std::env::var_os("TERM").is_some_and(|it| it == "dumb");
        Paint { is_on: !refused, columns: Some(terminal_columns(stream)) }
    }

    /// The same without colours, and with this width.
    #[must_use]
    pub fn of_columns(self, columns: usize) -> Paint {
        Paint { columns: Some(columns), ..self }
    }

    /// The same, with lines of any length.
    #[must_use]
    pub fn unlimited(self) -> Paint {
        Paint { columns: None, ..self }
    }

    /// The same for a text that is then indented by this many columns.
    #[must_use]
    pub fn indented(self, by: usize) -> Paint {
        let columns = self.columns.map(|it| it.saturating_sub(by).max(COLUMNS_MIN));
        Paint { columns, ..self }
    }

    /// How many columns there are, if they are limited.
    pub fn columns(self) -> Option<usize> {
        self.columns
    }

    /// In the colour of this code (of "select graphic rendition"), if there are colours.
    pub fn with(self, code: &str, text: &str) -> String {
        if self.is_on && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Less important than the rest.
    pub fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    /// A failure.
    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// `lead`, then `text`, wrapped at words, its further lines below its first if `lead` is `width` columns wide.
    pub fn hang(self, lead: &str, width: usize, text: &str) -> String {
        let mut out = lead.to_owned();
        for (number, line) in wrapped(text, self.indented(width).columns).iter().enumerate() {
            if number > 0 {
                out.push('\n');
                out.push_str(&" ".repeat(width));
            }
            out.push_str(line);
        }
        out.push('\n');
        out
    }

    /// A paragraph, wrapped at words.
    pub fn paragraph(self, text: &str) -> String {
        self.hang("", 0, text)
    }
}

/// Writes what went wrong to stderr, wrapped at words if that is a terminal.
pub fn complain(words: &str) {
    let text = Paint::on(std::io::stderr()).paragraph(&format!("sse-bench: {words}"));
    // Without a place to complain to there is nothing else to do.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The width of a terminal, columns; 80 if it does not say.
pub fn terminal_columns(terminal: impl AsFd) -> usize {
    // Shells do not export it by themselves: it is there because the user wants it.
    let wanted = std::env::var("COLUMNS").ok().and_then(|it| it.parse().ok());
    let reported = || tcgetwinsize(terminal).map_or(0, |it| usize::from(it.ws_col));
    match wanted.unwrap_or_else(reported) {
        0 => 80,
        columns => columns.max(COLUMNS_MIN),
    }
}

/// A text in at most `columns`; one that is longer ends in `…`.
pub fn shortened(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Breaks a text at spaces into lines of at most `columns`; a longer word is a line by itself.
pub fn wrapped(text: &str, columns: Option<usize>) -> Vec<String> {
    text.split('\n').flat_map(|line| wrapped_line(line, columns)).collect()
}

fn wrapped_line(text: &str, columns: Option<usize>) -> Vec<String> {
    let Some(columns) = columns else { return vec![text.to_owned()] };
    let mut lines = vec![String::new()];
    let mut width = 0;
    for word in text.split(' ') {
        let its = word.chars().count();
        let line = lines.last_mut().expect("one at least");
        if line.is_empty() {
            *line = word.to_owned();
            width = its;
        } else if width + 1 + its <= columns {
            line.push(' ');
            line.push_str(word);
            width += 1 + its;
        } else {
            lines.push(word.to_owned());
            width = its;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_words_and_hang_below_their_beginning() {
        let paint = Paint::plain().of_columns(30);
        let text = paint.hang(
            "claim  ",
            7,
            "A stream sends its head at once, as https://x.example/a/long/one says.",
        );
        let expected = "\
claim  A stream sends its head
       at once, as
       https://x.example/a/long/one
       says.
";
        assert_eq!(text, expected);
        assert_eq!(Paint::plain().hang("a ", 2, "b c"), "a b c\n");
        assert_eq!(paint.hang("a ", 2, "b\nc"), "a b\n  c\n");
    }

    #[test]
    fn colours_are_around_a_text_or_nowhere() {
        assert_eq!(Paint::plain().bad("x"), "x");
        let on = Paint { is_on: true, columns: None };
        assert_eq!(on.bad("x"), "\x1b[1;31mx\x1b[0m");
        assert_eq!(on.bad(""), "");
    }
}
