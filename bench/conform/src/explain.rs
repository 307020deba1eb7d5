//! `--explain`: what is said of every case, whichever side it is about.

use super::report::Paint;
use super::rule::rules_of;
use super::{Case, Level, Rule, Scope};

/// An explanation, line by line.
pub(super) struct Facts {
    out: String,
    paint: Paint,
}

/// Columns before the text of a line.
const INDENT: usize = 10;

impl Facts {
    /// Name, claim, level, source, category.
    pub(super) fn of<T, N>(case: &Case<T, N>, paint: Paint) -> Facts {
        let out = format!("{}\n{}\n", case.name(), paint.paragraph(case.claim));
        let mut facts = Facts { out, paint };
        let meaning = match case.level {
            Level::Must => "MUST: a failure is FAIL",
            Level::MustContract => {
                "MUST* of this project's own contract, not of a standard: a failure is FAIL of a \
                server that serves the contract, and NON-STRICT of any other"
            }
            Level::Should => "SHOULD: a failure is NON-STRICT, unexpected with --strict",
            Level::Info => "INFO: no standard demands it, a fact is recorded",
        };
        facts.line("level", meaning);
        facts.line("source", case.source);
        facts.line("category", case.category().name());
        facts.line(
            "about",
            match (case.scope, case.in_handler) {
                (Scope::Sse, _) => "the event stream",
                (Scope::Http, true) => "HTTP below it, where a handler or its route can fix it",
                (Scope::Http, false) => {
                    "HTTP below it, in the library; a handler seldom can fix it"
                }
            },
        );
        facts.line("since", case.since);
        facts
    }

    /// Another line.
    pub(super) fn line(&mut self, what: &str, text: &str) {
        let lead = format!("{what:<9} ");
        self.out += &self.paint.hang(&lead, INDENT, text);
    }

    /// The cases it rests on, and the rules that lead to it.
    pub(super) fn rests_on<T, N>(&mut self, case: &Case<T, N>, rules: &'static [Rule]) {
        if !case.after.is_empty() {
            self.line(
                "rests on",
                &format!("{} (a failure of those leaves it unjudged)", case.after.join(", ")),
            );
        }
        for rule in rules_of(rules, case.id) {
            self.line("rule", &format!("{}: {} ({})", rule.id, rule.text, rule.source));
        }
    }

    /// Adds the bytes sent and the fix; the whole text.
    pub(super) fn advice<T, N>(mut self, case: &Case<T, N>) -> String {
        self.line("sent", case.sends);
        self.line("expected", case.claim);
        self.line("to fix", case.fix);
        self.out
    }
}
