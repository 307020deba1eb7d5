//! `--explain S4.07`: what a case sends, and how a server that misses it is mended.

mod table;

use super::select::Profile;
use super::{Case, Target};
use crate::conformance::explain::{Advice, Facts};

/// The advice for a case.
pub fn advice(id: &str) -> Option<Advice> {
    table::ADVICE.iter().find(|it| it.0 == id).map(|it| Advice { sends: it.1, fix: it.2 })
}

/// All there is to say of a case.
pub fn explain(case: &Case) -> String {
    let mut facts = Facts::of(case);
    let target = Target::contract(([127, 0, 0, 1], 1).into(), None);
    let needs: Vec<_> = case.needs.iter().map(ToString::to_string).collect();
    let needs = if needs.is_empty() { "any URL of a stream".into() } else { needs.join(", ") };
    facts.line("needs", &needs);
    facts.line("profile", &format!("{} and larger", Profile::of(case, &target)));
    let depends = case.depends_on();
    if !depends.is_empty() {
        facts.line("rests on", &format!("{} (else it is BLOCKED)", depends.join(", ")));
    }
    facts.rules(case.id);
    facts.advice(case.claim, advice(case.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::server::cases;

    #[test]
    fn every_case_has_its_advice() {
        let missing: Vec<_> =
            cases().filter(|case| advice(case.id).is_none()).map(Case::name).collect();
        assert!(
            missing.is_empty(),
            "bench/src/conformance/server/explain/table.rs lacks {missing:?}"
        );
        for (id, sends, fix) in table::ADVICE {
            assert!(!sends.is_empty() && !fix.is_empty(), "{id}");
            assert_eq!(table::ADVICE.iter().filter(|it| it.0 == *id).count(), 1, "{id}");
        }
    }

    #[test]
    fn an_explanation_says_all_there_is() {
        let case = cases().find(|case| case.id == "S4.07").unwrap();
        let text = explain(case);
        for words in [case.claim, case.source, "MUST*", "script", "to fix", "S1.02", "contract"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
