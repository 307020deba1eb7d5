//! `--explain`: what is said of every case, whichever side it is about.

use std::fmt::Write as _;

use super::rule::rules_of;
use super::{Case, Level};

/// What a case sends, and how to fix whoever misses it.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// What the suite sends or does.
    pub sends: &'static str,
    /// What to change in a server or client that misses it.
    pub fix: &'static str,
}

/// An explanation, line by line.
pub(super) struct Facts {
    out: String,
}

impl Facts {
    /// Name, claim, level, source, category.
    pub(super) fn of<T, N>(case: &Case<T, N>) -> Facts {
        let mut facts = Facts { out: format!("{}\n{}\n\n", case.name(), case.claim) };
        let meaning = match case.level {
            Level::Must => "MUST: a miss is a FAIL",
            Level::MustContract => {
                "MUST* of this project's own contract, not of a standard: a miss is a FAIL, but \
                 only a server that offers the contract's endpoints is asked"
            }
            Level::Should => "SHOULD: a miss is NON-STRICT, unexpected with --strict",
            Level::Info => "INFO: nothing is demanded, a fact is recorded",
        };
        facts.line("level", meaning);
        facts.line("source", case.source);
        facts.line("category", case.category().name());
        facts
    }

    /// Another line.
    pub(super) fn line(&mut self, what: &str, text: &str) {
        let _ = writeln!(self.out, "{what:<9} {text}");
    }

    /// The rules that lead to the case.
    pub(super) fn rules(&mut self, case: &str) {
        for rule in rules_of(case) {
            self.line("rule", &format!("{}: {} ({})", rule.id, rule.text, rule.source));
        }
    }

    /// What is sent and how to fix it; the whole text.
    pub(super) fn advice(mut self, claim: &str, advice: Option<Advice>) -> String {
        if let Some(advice) = advice {
            self.line("sent", advice.sends);
            self.line("expected", claim);
            self.line("to fix", advice.fix);
        }
        self.out
    }
}
