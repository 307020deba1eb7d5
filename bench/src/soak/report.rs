//! The results of a soak, as data and as a table.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::course::{Course, Growth, courses, warm_up};
use super::guests::Guests;
use super::reading::Reading;
use super::station::{Outcome, is_idle};
use super::{Plan, Subject};
use crate::report::Environment;

/// The version of the JSON. It grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// One server over a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// Its name without `sse-`.
    pub server: String,
    /// Framework and version.
    pub framework: String,
    /// Why there is no result, if there is none.
    pub not_judged: Option<String>,
    /// Broken promises, in words: lost messages, odd answers, growth, things that the server has not given back.
    pub findings: Vec<String>,
    /// How long the load was held, seconds.
    pub lasted_s: f64,
    /// The part of it that is not in the slopes, seconds.
    pub warm_up_s: f64,
    /// Readings, those of the warm-up among them.
    pub readings: usize,
    /// The slopes.
    pub courses: Vec<Course>,
    /// Before the first client came.
    pub idle_before: Reading,
    /// When the last one had left.
    pub idle_after: Reading,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Events that readers of the topic saw, all of them together.
    pub delivered: u64,
    /// Readers that were moved.
    pub moves: u64,
    /// Connections that were cut at a byte.
    pub cuts: u64,
    /// Streams that ended under their readers.
    pub breaks: u64,
    /// Attempts to publish that were repeated.
    pub repeats: u64,
    /// Ends of requests that are not judged: this host was so late that the deadline of the server explains them.
    pub host_was_late: u64,
    /// Its guests.
    pub guests: Guests,
}

impl Row {
    /// The row of a server, from the end of its run.
    pub(super) fn of(subject: &Subject, plan: &Plan, outcome: Result<Outcome>) -> Row {
        let named = Row {
            server: subject.name.clone(),
            framework: subject.framework.clone(),
            ..Row::default()
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return Row { not_judged: Some(format!("{error:#}")), ..named },
        };
        let courses = courses(&outcome.readings, plan.lasts.min(outcome.lasted));
        let judgement = &outcome.judgement;
        let mut findings = outcome.odd;
        for (name, it) in judgement.of_servers().iter().filter(|it| it.1.count > 0) {
            findings.push(format!("{} {name}: {}", it.count, it.examples.join("; ")));
        }
        let grows = courses.iter().filter(|it| it.growth == Growth::Grows);
        findings.extend(grows.map(|it| format!("grows: {}", it.words())));
        let [before, after] = outcome.idle;
        if !is_idle(&before, &after) {
            let Reading { descriptors, streams, sources, .. } = after;
            findings.push(format!(
                "not given back when all clients had left: {descriptors} descriptors ({} before), {streams} streams, \
                 {sources} sources",
                before.descriptors
            ));
        }
        Row {
            not_judged: outcome.failure,
            findings,
            lasted_s: outcome.lasted.as_secs_f64(),
            warm_up_s: warm_up(plan.lasts.min(outcome.lasted)).as_secs_f64(),
            readings: outcome.readings.len(),
            courses,
            idle_before: before,
            idle_after: after,
            acknowledged: judgement.acknowledged,
            delivered: judgement.delivered,
            moves: outcome.moves,
            cuts: outcome.cuts,
            breaks: outcome.breaks,
            repeats: outcome.repeats,
            host_was_late: outcome.host_was_late,
            guests: outcome.guests,
            ..named
        }
    }

    /// Whether the server has broken a promise.
    pub fn has_failed(&self) -> bool {
        !self.findings.is_empty()
    }

    /// The ends that are not judged, if there are any.
    fn late_words(&self) -> Option<String> {
        let count = self.host_was_late;
        (count > 0).then(|| {
            format!("{count} ends of requests not judged: this host sent, or may have sent, behind the deadline")
        })
    }

    fn verdict(&self) -> &'static str {
        if self.has_failed() {
            "FAILED"
        } else if self.not_judged.is_some() {
            "not judged"
        } else if self.courses.is_empty()
            || self.courses.iter().any(|it| it.growth == Growth::CannotTell)
        {
            "kept; growth: cannot tell"
        } else {
            "holds"
        }
    }

    fn cells(&self) -> Vec<String> {
        let slope = |name: &str| match self.courses.iter().find(|it| it.measure == name) {
            Some(it) => {
                format!("{:.1}, {:+.2} ({:+.2} to {:+.2})", it.mean, it.per_hour, it.low, it.high)
            }
            None => "too few readings".to_owned(),
        };
        let back = format!("{} → {}", self.idle_before.descriptors, self.idle_after.descriptors);
        vec![
            self.server.clone(),
            self.verdict().to_owned(),
            slope("memory"),
            slope("descriptors"),
            slope("threads"),
            slope("streams"),
            back,
            self.acknowledged.to_string(),
            self.delivered.to_string(),
            (self.moves + self.cuts).to_string(),
        ]
    }
}

const HEADINGS: [&str; 10] = [
    "server",
    "verdict",
    "memory MiB, per hour",
    "descriptors, per hour",
    "threads, per hour",
    "streams, per hour",
    "idle descriptors",
    "messages",
    "deliveries",
    "moves and cuts",
];

/// All rows, and where they were made.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of the JSON.
    pub schema: u32,
    /// That of `sse-bench`.
    pub version: &'static str,
    /// When, in UTC.
    pub began: String,
    /// The command that does it again.
    pub command: String,
    /// Of all that is random.
    pub seed: u64,
    /// How long the load was to be held, seconds.
    pub duration_s: u64,
    /// Readers of each server's topic.
    pub clients: usize,
    /// Messages a second to each server.
    pub rate: u64,
    /// Whether release builds ran.
    pub release: bool,
    /// Whether Ctrl-C ended the run.
    pub interrupted: bool,
    /// Where.
    pub environment: Environment,
    /// Server by server.
    pub rows: Vec<Row>,
}

impl Report {
    /// A report of a plan, without rows.
    pub fn new(plan: &Plan) -> Report {
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            began: String::new(),
            command: String::new(),
            seed: plan.seed,
            duration_s: plan.lasts.as_secs(),
            clients: plan.clients,
            rate: plan.rate,
            release: false,
            interrupted: false,
            environment: Environment::default(),
            rows: Vec::new(),
        }
    }

    /// For a terminal: a paragraph for each server, since the table is wide.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let _ = writeln!(text, "{} ({}): {}", row.server, row.framework, row.verdict());
            for it in row.findings.iter().chain(&row.not_judged) {
                let _ = writeln!(text, "  {it}");
            }
            for it in &row.courses {
                let _ = writeln!(text, "  {:<12} {}", growth(it.growth), it.words());
            }
            let Row { acknowledged, delivered, moves, cuts, guests, .. } = row;
            let _ = writeln!(
                text,
                "  {acknowledged} messages, {delivered} deliveries, {moves} moves, {cuts} cuts, {} visits, {} of {} \
                 stalled readers closed",
                guests.visits, guests.stalls_closed, guests.stalls
            );
            if let Some(words) = row.late_words() {
                let _ = writeln!(text, "  {words}");
            }
        }
        let build = if self.release { "release" } else { "debug" };
        let early = if self.interrupted { ", ended early" } else { "" };
        let _ =
            writeln!(text, "\nseed {}, {build} builds{early}; again: {}", self.seed, self.command);
        text
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let lasted = self.rows.iter().map(|it| it.lasted_s).fold(0.0, f64::max);
        let warm_up = self.rows.iter().map(|it| it.warm_up_s).fold(0.0, f64::max);
        let early = if self.interrupted { " It was ended early." } else { "" };
        let mut text = self.environment.head("Soak", &self.command, &self.began);
        let _ = write!(
            text,
            ", load {} at the beginning.\nThe load was held for {lasted:.0} s, of which {warm_up:.0} s warm \
             up.{early} A slope has its 95 % interval in brackets. Memory is heap and stacks.\n\n",
            self.environment.load()
        );
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text += &line(&HEADINGS.map(str::to_owned));
        text += &line(&HEADINGS.map(|_| "---".to_owned()));
        self.rows.iter().for_each(|it| text += &line(&it.cells()));
        text += "\n\"Holds\": the whole interval of each slope is below 1 an hour, for memory below 1 MiB or 2 % an \
                 hour. \"Kept\": nothing was lost, doubled or out of order, and all was given back. Descriptors are \
                 those without a client, before and after.\n";
        for row in &self.rows {
            for words in row.findings.iter().chain(&row.not_judged) {
                let _ = write!(text, "\n- {} {}: {words}", row.verdict(), row.server);
            }
            if let Some(words) = row.late_words() {
                let _ = write!(text, "\n- {}: {words}", row.server);
            }
        }
        text.trim_end().to_owned() + "\n"
    }
}

fn growth(it: Growth) -> &'static str {
    match it {
        Growth::Grows => "GROWS",
        Growth::Holds => "holds",
        Growth::CannotTell => "cannot tell",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_row_has_each_finding_in_words_and_one_that_could_not_run_says_why() {
        let subject = Subject { name: "axum".into(), ..Subject::default() };
        let plan = Plan { seed: 1, lasts: Duration::from_secs(60), clients: 2, rate: 5 };
        let idle = Reading { descriptors: 20, ..Reading::default() };
        let left = Reading { descriptors: 70, streams: 3, ..idle };
        let outcome =
            Outcome { idle: [idle, left], odd: vec!["status 500".into()], ..Outcome::default() };
        let rows = vec![
            Row::of(&subject, &plan, Ok(outcome)),
            Row::of(&subject, &plan, Err(anyhow::anyhow!("it does not start"))),
            Row::of(&subject, &plan, Ok(Outcome { idle: [idle, idle], ..Outcome::default() })),
            Row::of(
                &subject,
                &plan,
                Ok(Outcome { failure: Some("no answer".into()), ..Outcome::default() }),
            ),
        ];
        assert_eq!(
            rows.iter().map(Row::has_failed).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        assert!(rows[3].not_judged.is_some());
        let report = Report { rows, ..Report::new(&plan) };
        for text in [report.text(), report.markdown()] {
            for words in [
                "status 500",
                "70 descriptors (20 before), 3 streams",
                "it does not start",
                "cannot tell",
            ] {
                assert!(text.contains(words), "{text}");
            }
        }
    }
}
