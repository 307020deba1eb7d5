//! `--explain S4.07`: what a case sends, and how to fix a server that fails it.

use super::{Case, RULES, Target};
use crate::Profile;
use crate::explain::Facts;
use crate::report::Paint;

/// All there is to say of a case.
pub fn explain(case: &Case, paint: Paint) -> String {
    let mut facts = Facts::of(case, paint);
    let target = Target::contract(([127, 0, 0, 1], 1).into(), None);
    let needs: Vec<_> = case.needs.iter().map(ToString::to_string).collect();
    let needs = if needs.is_empty() { "any URL of a stream".into() } else { needs.join(", ") };
    facts.line("needs", &needs);
    let least = Profile::of(case, &target);
    let larger = if least == Profile::Full { "" } else { " and larger" };
    facts.line("profile", &format!("{least}{larger}"));
    facts.rests_on(case, RULES);
    facts.advice(case)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::cases;

    #[test]
    fn an_explanation_says_all_there_is() {
        let case = cases().find(|case| case.id == "S4.07").unwrap();
        let text = explain(case, Paint::plain());
        for words in [case.claim, case.source, "MUST*", "script", "to fix", "S1.02", "contract"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
