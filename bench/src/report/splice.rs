//! Puts a report's summary into a document, between two markers.

use anyhow::{Result, bail};

/// The opening marker goes on with the rest of the command, and `-->` on the same line.
const OPEN: &str = "<!-- sse-bench report";
const CLOSE: &str = "<!-- /sse-bench report -->";

/// Replaces what stands between `<!-- sse-bench report … -->` and `<!-- /sse-bench report -->`.
///
/// The opening marker then says `sse-bench report` and `arguments`: the command that made the text.
///
/// # Errors
/// When the document does not hold exactly one pair of markers.
pub fn splice(document: &str, arguments: &str, text: &str) -> Result<String> {
    let once = |marker| document.matches(marker).count() == 1;
    let Some((before, rest)) = document.split_once(OPEN).filter(|_| once(OPEN) && once(CLOSE))
    else {
        bail!("it needs one line `{OPEN} -->` and one line `{CLOSE}`; the table goes in between");
    };
    let Some((_, after)) = rest.split_once(CLOSE).filter(|(old, _)| old.contains("-->")) else {
        bail!("the line `{OPEN} -->` must be whole and stand before `{CLOSE}`");
    };
    Ok(format!("{before}{OPEN} {arguments} -->\n\n{}\n\n{CLOSE}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_and_the_command_are_replaced_and_nothing_else() {
        let old = "# T\n\n<!-- sse-bench report -->\nold\n<!-- /sse-bench report -->\n\nend\n";
        let new = splice(old, "--splice README.md DIR", "| table |\n").unwrap();
        let expected = "# T\n\n<!-- sse-bench report --splice README.md DIR -->\n\n| table |\n\n\
                        <!-- /sse-bench report -->\n\nend\n";
        assert_eq!(new, expected);
        assert_eq!(splice(&new, "--splice README.md DIR", "| table |\n").unwrap(), expected);
    }

    #[test]
    fn a_document_without_one_pair_of_markers_is_refused() {
        let pair = "<!-- sse-bench report -->\n<!-- /sse-bench report -->\n";
        for document in [
            "",
            "<!-- sse-bench report -->",
            "<!-- /sse-bench report -->\n<!-- sse-bench report -->",
            "<!-- sse-bench report <!-- /sse-bench report -->",
            &pair.repeat(2),
        ] {
            splice(document, "", "x").unwrap_err();
        }
    }
}
