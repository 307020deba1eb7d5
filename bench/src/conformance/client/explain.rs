//! `--explain C4.01`: what a case sends, and how a client that misses it is mended.

mod table;

use super::run::depends_on;
use super::{Case, vectors};
use crate::conformance::explain::{Advice, Facts};

/// The advice for a case.
pub fn advice(id: &str) -> Option<Advice> {
    table::ADVICE.iter().find(|it| it.0 == id).map(|it| Advice { sends: it.1, fix: it.2 })
}

/// All there is to say of a case.
pub(super) fn explain(case: &Case) -> String {
    let mut facts = Facts::of(case);
    let needs: Vec<_> =
        case.needs.iter().map(|need| format!("{need} ({})", need.meaning())).collect();
    facts.line("needs", &if needs.is_empty() { "any client".into() } else { needs.join(", ") });
    let depends = depends_on(case);
    if !depends.is_empty() {
        facts.line("rests on", &format!("{} (else it is BLOCKED)", depends.join(", ")));
    }
    facts.rules(case.id);
    let names: Vec<_> = vectors::of_case(case.id).iter().map(|it| it.name.as_str()).collect();
    if !names.is_empty() {
        facts.line("vectors", &format!("{} in client/vectors/", names.join(", ")));
    }
    facts.advice(case.claim, advice(case.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::client::cases;

    #[test]
    fn every_case_has_its_advice() {
        let missing: Vec<_> =
            cases().filter(|case| advice(case.id).is_none()).map(Case::name).collect();
        assert!(
            missing.is_empty(),
            "bench/src/conformance/client/explain/table.rs lacks {missing:?}"
        );
        for (id, sends, fix) in table::ADVICE {
            assert!(!sends.is_empty() && !fix.is_empty(), "{id}");
            assert!(cases().any(|case| case.id == *id), "{id}");
            assert_eq!(table::ADVICE.iter().filter(|it| it.0 == *id).count(), 1, "{id}");
        }
    }

    #[test]
    fn an_explanation_says_all_there_is() {
        let case = cases().find(|case| case.id == "C6.20").unwrap();
        let text = explain(case);
        for words in [case.claim, case.source, "MUST", "R (reconnects", "to fix", "C6.01"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
