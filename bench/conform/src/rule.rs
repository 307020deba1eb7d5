//! The basis of the suite: sentences that bind a server or a client, and the cases for them.

/// One sentence that binds a server or a client.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// A letter and a number; a letter behind it numbers the sentences of one.
    pub id: &'static str,
    /// The rule, in our words.
    pub text: &'static str,
    /// Where it stands.
    pub source: &'static str,
    /// The cases that look at it, or why none does.
    pub coverage: Coverage,
}

/// The cases for a rule, or the reason why there is none.
#[derive(Clone, Copy, Debug)]
pub enum Coverage {
    /// The ids of the cases.
    Cases(&'static [&'static str]),
    /// Why no case can or should look at it.
    None(&'static str),
}

use Coverage::Cases;

impl Rule {
    /// The ids of the cases that look at it.
    pub fn cases(&self) -> &'static [&'static str] {
        match self.coverage {
            Cases(ids) => ids,
            Coverage::None(_) => &[],
        }
    }
}

/// A rule with cases.
pub(super) const fn rule(
    id: &'static str,
    source: &'static str,
    text: &'static str,
    cases: &'static [&'static str],
) -> Rule {
    Rule { id, text, source, coverage: Cases(cases) }
}

/// A rule without one, and why.
pub(super) const fn uncovered(
    id: &'static str,
    source: &'static str,
    text: &'static str,
    reason: &'static str,
) -> Rule {
    Rule { id, text, source, coverage: Coverage::None(reason) }
}

/// Those of these rules that lead to a case.
pub(super) fn rules_of(rules: &'static [Rule], case: &str) -> impl Iterator<Item = &'static Rule> {
    rules.iter().filter(move |rule| rule.cases().contains(&case))
}
