//! `--explain S13.08`: what a case about nodes does, and how to fix nodes that fail it.

use super::Case;
use crate::explain::Facts;
use crate::report::Paint;
use crate::server::RULES;

/// All there is to say of a case.
pub(super) fn explain(case: &Case, paint: Paint) -> String {
    let mut facts = Facts::of(case, paint);
    let needs: Vec<_> = case.needs.iter().map(ToString::to_string).collect();
    let needs = if needs.is_empty() { "the URLs of nodes".into() } else { needs.join(", ") };
    facts.line("needs", &needs);
    facts.rests_on(case, RULES);
    facts.advice(case)
}
