//! The catalogue: the cases about servers and those about clients, and the rules that they follow from.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::command::print;
use super::rule::rules_of;
use super::{Case, Coverage, Rule, SUITE_VERSION, client, server};

/// How to list the cases, or the rules.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Write the list as JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the catalogue of both sides: id, slug, level, needs, claim.
///
/// # Errors
/// When stdout cannot be written.
pub fn list_cases(args: &ListArgs) -> Result<()> {
    if args.json {
        let servers = server::cases().map(|case| listed(case, server::RULES));
        let clients = client::cases().map(|case| listed(case, client::RULES));
        let cases: Vec<_> = servers.chain(clients).collect();
        let catalogue = json!({ "suite_version": SUITE_VERSION, "cases": cases });
        return print(&format!("{}\n", serde_json::to_string_pretty(&catalogue)?));
    }
    let servers = server::cases().map(line);
    print(&servers.chain(client::cases().map(line)).collect::<String>())
}

fn listed<T, N: Serialize>(case: &Case<T, N>, rules: &'static [Rule]) -> Value {
    let rules: Vec<_> = rules_of(rules, case.id).map(|rule| rule.id).collect();
    json!({
        "id": case.id, "slug": case.slug, "level": case.level, "source": case.source,
        "needs": case.needs, "cost": case.cost, "scope": case.scope,
        "hostile": case.hostile, "since": case.since, "rules": rules,
        "depends_on": case.after, "claim": case.claim,
    })
}

fn line<T, N>(case: &Case<T, N>) -> String {
    format!("{:<26} {:<6} {}\n", case.name(), case.level, case.claim)
}

/// Prints what binds a server or a client: id, rule, source, and the cases or why there is none.
///
/// # Errors
/// When stdout cannot be written.
pub fn list_rules(args: &ListArgs) -> Result<()> {
    let reason = |rule: &Rule| match rule.coverage {
        Coverage::Cases(_) => None,
        Coverage::None(reason) => Some(reason),
    };
    if args.json {
        let rules = rules().map(|rule| {
            json!({
                "id": rule.id, "source": rule.source, "rule": rule.text,
                "cases": rule.cases(), "reason": reason(rule),
            })
        });
        let table = json!({ "suite_version": SUITE_VERSION, "rules": rules.collect::<Vec<_>>() });
        return print(&format!("{}\n", serde_json::to_string_pretty(&table)?));
    }
    let mut text = String::new();
    for rule in rules() {
        let looks = reason(rule).map_or_else(|| rule.cases().join(" "), |it| format!("none: {it}"));
        text += &format!("{:<5} {} ({})\n      {looks}\n", rule.id, rule.text, rule.source);
    }
    print(&text)
}

/// Every rule, those of servers first.
fn rules() -> impl Iterator<Item = &'static Rule> {
    server::RULES.iter().chain(client::RULES)
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
            let by_standard = rules()
                .filter(|rule| rule.cases().contains(&id))
                .any(|rule| rule.id.starts_with(standards));
            assert!(by_standard, "{id} is a MUST of no standard");
        }
    }

    #[test]
    fn a_rule_has_cases_or_a_reason() {
        for rule in rules() {
            match rule.coverage {
                Coverage::Cases(ids) => {
                    assert!(!ids.is_empty(), "{} has no case and no reason", rule.id);
                }
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
        let lost: Vec<_> =
            ids.filter(|id| !rules().any(|rule| rule.cases().contains(id))).collect();
        assert!(lost.is_empty(), "no rule leads to {lost:?}");
    }
}
