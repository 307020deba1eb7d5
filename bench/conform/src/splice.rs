//! Puts a report's summary into a document, between two markers.

use anyhow::{Result, bail};

/// Replaces what stands between `<!-- COMMAND … -->` and `<!-- /COMMAND -->`.
///
/// The opening marker then goes on with `arguments`: together the command that made the text.
///
/// # Errors
/// When the document does not hold exactly one pair of markers.
pub fn splice(document: &str, command: &str, arguments: &str, text: &str) -> Result<String> {
    let (open, close) = (format!("<!-- {command} "), format!("<!-- /{command} -->"));
    let once = |marker: &str| document.matches(marker).count() == 1;
    let Some((before, rest)) = document.split_once(&open).filter(|_| once(&open) && once(&close))
    else {
        bail!("it needs one line `{open}-->` and one line `{close}`; the table goes in between");
    };
    let Some((_, after)) = rest.split_once(&close).filter(|(old, _)| old.contains("-->")) else {
        bail!("the line `{open}-->` must be whole and stand before `{close}`");
    };
    Ok(format!("{before}{open}{arguments} -->\n\n{}\n\n{close}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "sse-bench report";

    #[test]
    fn the_text_and_the_command_are_replaced_and_nothing_else() {
        let old = "# T\n\n<!-- sse-bench report -->\nold\n<!-- /sse-bench report -->\n\nend\n";
        let new = splice(old, REPORT, "--splice README.md DIR", "| table |\n").unwrap();
        let expected = "# T\n\n<!-- sse-bench report --splice README.md DIR -->\n\n| table |\n\n\
                        <!-- /sse-bench report -->\n\nend\n";
        assert_eq!(new, expected);
        assert_eq!(
            splice(&new, REPORT, "--splice README.md DIR", "| table |\n").unwrap(),
            expected
        );
    }

    #[test]
    fn markers_of_other_commands_are_left_alone() {
        let other = "<!-- sse-bench conform report x -->\na\n<!-- /sse-bench conform report -->\n";
        let document = format!("{other}<!-- sse-bench report -->\n<!-- /sse-bench report -->\n");
        let new = splice(&document, REPORT, "DIR", "t").unwrap();
        assert!(new.starts_with(other) && new.contains("<!-- sse-bench report DIR -->"), "{new}");
        let new = splice(&document, "sse-bench conform report", "F", "t").unwrap();
        assert!(new.contains("<!-- sse-bench report -->\n<!-- /sse-bench report -->"), "{new}");
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
            splice(document, REPORT, "", "x").unwrap_err();
        }
    }
}
