//! `--explain C4.01`: what a case sends, and how to fix a client that fails it.

use super::{Case, RULES, streams_of};
use crate::explain::Facts;
use crate::report::Paint;

/// All there is to say of a case.
pub(super) fn explain(case: &Case, paint: Paint) -> String {
    let mut facts = Facts::of(case, paint);
    let needs: Vec<_> =
        case.needs.iter().map(|need| format!("{need} ({})", need.meaning())).collect();
    facts.line("needs", &if needs.is_empty() { "any client".into() } else { needs.join(", ") });
    facts.rests_on(case, RULES);
    for (name, bytes) in streams_of(case.id) {
        facts.line("bytes", &format!("{name}: {bytes}"));
    }
    facts.advice(case)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::cases;

    #[test]
    fn an_explanation_says_all_there_is() {
        let case = cases().find(|case| case.id == "C6.20").unwrap();
        let text = explain(case, Paint::plain());
        for words in [case.claim, case.source, "MUST", "R (reconnects", "to fix", "C6.01"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        // A vector with its bytes: the folder that it lies in is not at hand everywhere.
        let case = cases().find(|case| case.id == "C4.02").unwrap();
        let text = explain(case, Paint::plain());
        assert!(text.contains(r"two-boms: \xef\xbb\xbf\xef\xbb\xbfdata: a\n"), "{text}");
        let text = explain(case, Paint::plain().of_columns(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
