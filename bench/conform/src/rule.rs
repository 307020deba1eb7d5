//! The basis of the suite: sentences that bind a server or a client, and the cases for them.

use super::{client, server};

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

/// Every rule, those of servers first.
pub(super) fn rules() -> impl Iterator<Item = &'static Rule> {
    server::RULES.iter().chain(client::RULES)
}

/// The rules that lead to a case.
pub(super) fn rules_of(case: &str) -> impl Iterator<Item = &'static Rule> {
    rules().filter(move |rule| rule.cases().contains(&case))
}

/// The ids of the rules that lead to a case.
pub(super) fn rule_ids_of(case: &str) -> Vec<&'static str> {
    rules_of(case).map(|rule| rule.id).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::Level;

    #[test]
    fn every_sentence_is_a_rule() {
        for (rules, sentences) in
            [(server::RULES, [('A', 14), ('D', 28)]), (client::RULES, [('B', 21), ('C', 15)])]
        {
            for (letter, count) in sentences {
                for id in (1..=count).map(|n| format!("{letter}{n}")) {
                    let is_it = |rule: &Rule| {
                        rule.id.trim_end_matches(|it: char| it.is_ascii_lowercase()) == id
                    };
                    assert!(rules.iter().any(is_it), "{id} is missing");
                }
            }
        }
    }

    #[test]
    fn a_must_rests_on_a_standard() {
        let of_servers = server::cases().map(|case| (case.id, case.level, &['A', 'D'][..]));
        let of_clients = client::cases().map(|case| (case.id, case.level, &['B', 'C', 'H'][..]));
        for (id, _, standards) in of_servers.chain(of_clients).filter(|it| it.1 == Level::Must) {
            let by_standard = rules_of(id).any(|rule| rule.id.starts_with(standards));
            assert!(by_standard, "{id} is a MUST of no standard");
        }
    }

    #[test]
    fn a_rule_has_cases_or_a_reason() {
        for rule in rules() {
            match rule.coverage {
                Cases(ids) => assert!(!ids.is_empty(), "{} has no case and no reason", rule.id),
                Coverage::None(reason) => assert!(reason.len() > 20, "{}: {reason}", rule.id),
            }
            assert!(!rule.source.is_empty() && rule.text.ends_with('.'), "{}", rule.id);
        }
    }

    #[test]
    fn ids_are_unique_and_cases_known() {
        let of_servers: HashSet<_> = server::cases().map(|case| case.id).collect();
        let of_clients: HashSet<_> = client::cases().map(|case| case.id).collect();
        for (rules, known) in [(server::RULES, of_servers), (client::RULES, of_clients)] {
            let ids: HashSet<_> = rules.iter().map(|rule| rule.id).collect();
            assert_eq!(ids.len(), rules.len());
            for rule in rules {
                let unknown = rule.cases().iter().find(|id| !known.contains(**id));
                assert_eq!(unknown, None, "{}", rule.id);
            }
        }
    }

    #[test]
    fn every_case_follows_from_a_rule() {
        let ids = server::cases().map(|case| case.id).chain(client::cases().map(|case| case.id));
        let lost: Vec<_> = ids.filter(|id| rules_of(id).next().is_none()).collect();
        assert!(lost.is_empty(), "no rule leads to {lost:?}");
    }
}
