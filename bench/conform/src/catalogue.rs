//! The catalogue: the cases about servers and those about clients, and the rules that they follow from.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::command::print;
use super::report::Paint;
use super::rule::rules_of;
use super::{Case, Category, Coverage, Level, Rule, SUITE_VERSION, Scope, client, server};

/// A case in words, whichever side it is about.
#[derive(Clone, Debug)]
pub struct Described {
    /// `S6.01`.
    pub id: &'static str,
    /// `resume-next`.
    pub slug: &'static str,
    /// The meaning of a failure.
    pub level: Level,
    /// The text that demands it.
    pub source: &'static str,
    /// Whether it is about the stream or the HTTP below it.
    pub scope: Scope,
    /// The day on which it was added.
    pub since: &'static str,
    /// Needs beyond the URL of a stream, or a client that reads one.
    pub needs: Vec<String>,
    /// The cases that must hold for it to say anything.
    pub after: &'static [&'static str],
    /// One sentence that is true of each that conforms.
    pub claim: &'static str,
    /// Requests and actions of the suite.
    pub sends: &'static str,
    /// The fix for what fails it.
    pub fix: &'static str,
    /// The rules that it follows from.
    pub rules: Vec<&'static Rule>,
    /// Streams that it plays to a client, each with its name.
    pub streams: Vec<(&'static str, String)>,
}

impl Described {
    fn of<T, N>(case: &Case<T, N>, rules: &'static [Rule], need: fn(&N) -> String) -> Described {
        Described {
            id: case.id,
            slug: case.slug,
            level: case.level,
            source: case.source,
            scope: case.scope,
            since: case.since,
            needs: case.needs.iter().map(need).collect(),
            after: case.after,
            claim: case.claim,
            sends: case.sends,
            fix: case.fix,
            rules: rules_of(rules, case.id).collect(),
            streams: client::streams_of(case.id),
        }
    }

    /// Which category it belongs to.
    pub fn category(&self) -> Category {
        Category::of(self.id)
    }
}

/// Every case in words: about servers, about nodes, about clients.
pub fn described() -> Vec<Described> {
    let server_need = ToString::to_string;
    let node_need = ToString::to_string;
    let client_need = |it: &client::Capability| format!("{it} ({})", it.meaning());
    let servers = server::cases().map(|it| Described::of(it, server::RULES, server_need));
    let nodes = server::cluster::cases().map(|it| Described::of(it, server::RULES, node_need));
    let clients = client::cases().map(|it| Described::of(it, client::RULES, client_need));
    servers.chain(nodes).chain(clients).collect()
}

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
        let nodes = server::cluster::cases().map(|case| listed(case, server::RULES));
        let clients = client::cases().map(|case| listed(case, client::RULES));
        let cases: Vec<_> = servers.chain(nodes).chain(clients).collect();
        let catalogue = json!({ "suite_version": SUITE_VERSION, "cases": cases });
        return print(&format!("{}\n", serde_json::to_string_pretty(&catalogue)?));
    }
    print(&cases_text(Paint::for_stdout()))
}

fn listed<T, N: Serialize>(case: &Case<T, N>, rules: &'static [Rule]) -> Value {
    let rules: Vec<_> = rules_of(rules, case.id).map(|rule| rule.id).collect();
    json!({
        "id": case.id, "slug": case.slug, "level": case.level, "source": case.source,
        "needs": case.needs, "cost": case.cost, "scope": case.scope, "in_handler": case.in_handler,
        "hostile": case.hostile, "since": case.since, "rules": rules,
        "depends_on": case.after, "claim": case.claim,
    })
}

fn cases_text(paint: Paint) -> String {
    let servers = server::cases().map(|it| line(it, paint));
    let nodes = server::cluster::cases().map(|it| line(it, paint));
    servers.chain(nodes).chain(client::cases().map(|it| line(it, paint))).collect()
}

fn line<T, N>(case: &Case<T, N>, paint: Paint) -> String {
    let lead = format!("{:<30} {:<6} ", case.name(), case.level);
    paint.hang(&lead, lead.len(), case.claim)
}

/// Prints what binds a server or a client: id, rule, source, and the cases or why there is none.
///
/// # Errors
/// When stdout cannot be written.
pub fn list_rules(args: &ListArgs) -> Result<()> {
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
    print(&rules_text(Paint::for_stdout()))
}

fn rules_text(paint: Paint) -> String {
    const INDENT: usize = 6;
    let text = |rule: &Rule| {
        let lead = format!("{:<5} ", rule.id);
        let looks = reason(rule).map_or_else(|| rule.cases().join(" "), |it| format!("none: {it}"));
        paint.hang(&lead, INDENT, &format!("{} ({})", rule.text, rule.source))
            + &paint.hang(&" ".repeat(INDENT), INDENT, &looks)
    };
    rules().map(text).collect()
}

/// Why no case checks it.
fn reason(rule: &Rule) -> Option<&'static str> {
    match rule.coverage {
        Coverage::Cases(_) => None,
        Coverage::None(reason) => Some(reason),
    }
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
    fn lists_fit_the_terminal_and_in_a_pipe_a_case_is_a_line() {
        let narrow = Paint::plain().of_columns(80);
        for text in [cases_text(narrow), rules_text(narrow)] {
            let wide = text.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None);
        }
        assert_eq!(cases_text(Paint::plain()).lines().count(), described().len());
    }

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
        let of_servers = server::cases().map(|case| (case.id, case.level));
        let of_nodes = server::cluster::cases().map(|case| (case.id, case.level));
        let of_servers = of_servers.chain(of_nodes).map(|(id, level)| (id, level, &['A', 'D'][..]));
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
        let of_nodes = server::cluster::cases().map(|case| case.id);
        let of_servers: HashSet<_> = server::cases().map(|case| case.id).chain(of_nodes).collect();
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
        let of_nodes = server::cluster::cases().map(|case| case.id);
        let ids = server::cases().map(|case| case.id).chain(of_nodes);
        let ids = ids.chain(client::cases().map(|case| case.id));
        let lost: Vec<_> =
            ids.filter(|id| !rules().any(|rule| rule.cases().contains(id))).collect();
        assert!(lost.is_empty(), "no rule leads to {lost:?}");
    }
}
