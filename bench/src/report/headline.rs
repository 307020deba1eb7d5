//! The narrow table of a README: the cost of a delivered event, and the number of failed cases.

use conform::report::Run;
use conform::report::table::Table;
use load::stats::CONFIDENCE;

use super::figure::{CPU, LATENCY_P99};
use super::render::{HEADLINE, NOTHING, broadcast, doubt, median, memory, name, ratio};
use super::{Figure, Report, Row};

/// The table and where it was measured. `verdicts` are runs of the whole suite: they replace the counts of the
/// report, which leaves out the cases that take a minute, and add rows of servers that were judged only.
pub fn headline_markdown(report: &Report, verdicts: &[Run]) -> String {
    let header =
        ["server", "encoding", "CPU × floor", "p99 × floor", "KiB a stream", "failed cases"];
    let mut table = Table::new(2, header);
    let measured: Vec<&Row> = report.rows.iter().filter(|it| it.twin_of.is_none()).collect();
    let mut judged: Vec<&Run> = verdicts.iter().collect();
    for (at, row) in measured.iter().enumerate() {
        let is_this = |run: &&Run| row.names(run);
        let verdict = judged.iter().position(is_this).map(|at| judged.remove(at));
        let failed = match (verdict, &row.conformance) {
            (Some(run), _) => failures(run.summary.failed, run.summary.non_strict),
            (None, Some(it)) => failures(it.failed as usize, it.recommendations()),
            (None, None) => NOTHING.into(),
        };
        let headline = row.cell(HEADLINE).and_then(|it| it.summary.as_ref());
        let of = |figure: &Figure| headline.and_then(|it| it.get(figure));
        // A fault of another workload is a line below the table.
        let here = || row.cell(HEADLINE).and_then(super::Cell::fault);
        match row.error.clone().or_else(here) {
            Some(fault) => table.error(name(row), &format!("error: {fault}")),
            None => {
                let mut cells = name(row);
                cells.extend([ratio(of(&CPU)), ratio(of(&LATENCY_P99)), memory(row), failed]);
                table.row(cells);
            }
        }
        // Behind the last encoding of a server, its rows without a measurement.
        let is_last = measured.get(at + 1).is_none_or(|next| next.server != row.server);
        let of_this_server = |run: &&Run| is_last && run.name == row.server;
        for run in judged.extract_if(.., |run| of_this_server(&*run)) {
            let mut cells = name(row);
            cells.truncate(1);
            cells.push(run.encoding.clone().unwrap_or_else(|| NOTHING.into()));
            cells.extend([NOTHING, NOTHING, NOTHING].map(str::to_owned));
            cells.push(failures(run.summary.failed, run.summary.non_strict));
            table.row(cells);
        }
    }
    let it = &report.environment;
    let machine = if it.virtual_machine { "virtual " } else { "" };
    let cell = measured.iter().find_map(|row| row.cell(HEADLINE)?.summary.as_ref());
    let elsewhere = measured.iter().filter(|it| it.error.is_none()).flat_map(|row| {
        let others = row.cells.iter().filter(|it| it.workload != HEADLINE);
        others.filter_map(move |it| Some(format!("{} {}: {}", row.key(), it.workload, it.fault()?)))
    });
    let elsewhere: Vec<String> = elsewhere.collect();
    let elsewhere = match elsewhere.join("; ") {
        none if none.is_empty() => none,
        some => format!(" In the report without numbers: {some}."),
    };
    format!(
        "{}\n{}CPU and p99 of {}, over {} rounds; in brackets the {:.0} % interval, and beside the failed cases the failed \
         recommendations. {} on {} {machine}cores of {}, Linux {}, {}, commit {}; loopback, one core for the \
         server and one for the load.{elsewhere}\n",
        table.markdown(),
        doubt(report),
        broadcast(report).unwrap_or_else(|| "no broadcast".into()),
        cell.map_or(0, |it| it.rounds),
        100.0 * CONFIDENCE,
        report.began,
        it.cores,
        it.cpu,
        it.kernel,
        it.rustc,
        it.commit,
    )
}

/// The cost of a server in each encoding: CPU for an event of a broadcast and its multiple of the floor, that of the
/// 99th percentile, memory of an idle stream; or why there is no number.
pub fn cost_rows(report: &Report, server: &str) -> Vec<(String, Result<[String; 4], String>)> {
    let is_it = |row: &&Row| row.server == server && row.twin_of.is_none();
    let cost = |row: &Row| {
        let encoding = row.encoding.clone().unwrap_or_else(|| NOTHING.into());
        let headline = row.cell(HEADLINE);
        let fault = row.error.clone().or_else(|| headline.and_then(super::Cell::fault));
        if let Some(fault) = fault {
            return (encoding, Err(format!("error: {fault}")));
        }
        let summary = headline.and_then(|it| it.summary.as_ref());
        let of = |figure: &Figure| summary.and_then(|it| it.get(figure));
        let cpu = median(of(&CPU), CPU.unit);
        (encoding, Ok([cpu, ratio(of(&CPU)), ratio(of(&LATENCY_P99)), memory(row)]))
    };
    report.rows.iter().filter(is_it).map(cost).collect()
}

/// `1 (+2)`: demands, and recommendations beside them.
fn failures(failed: usize, recommendations: usize) -> String {
    if recommendations == 0 { failed.to_string() } else { format!("{failed} (+{recommendations})") }
}

impl Row {
    /// Whether a run of the suite is about this server in this encoding.
    fn names(&self, run: &Run) -> bool {
        run.name == self.server && run.encoding == self.encoding
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::render::tests::report;
    use super::*;

    fn run(name: &str, encoding: &str, failed: usize, non_strict: usize) -> Run {
        let summary = json!({
            "passed": 0, "non_strict": non_strict, "failed": failed, "deviations": 0, "info": 0,
            "skipped": 0, "not_judged": 0, "unexpected": 0,
        });
        let run = json!({
            "name": name, "server": null, "encoding": encoding, "framework": null, "suite_version": 2,
            "profile": null, "strict": false, "time_scale": 1.0, "began": "", "took_ms": 0,
            "summary": summary, "results": [],
        });
        serde_json::from_value(run).unwrap()
    }

    #[test]
    fn the_whole_suite_has_the_last_word_and_examples_are_rows() {
        let report = report();
        let server = report.rows.iter().find(|it| it.encoding.is_some()).unwrap();
        let (name, encoding) = (server.server.clone(), server.encoding.clone().unwrap());
        let text = headline_markdown(
            &report,
            &[
                run(&name, &encoding, 3, 2),
                run(&name, "smallest", 4, 0),
                run("another", "shared", 7, 0),
            ],
        );
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
        assert!(
            rows.iter().any(|it| it.contains(&encoding) && it.ends_with("| 3 (+2) |")),
            "{text}"
        );
        assert!(rows.iter().any(|it| it.contains("| smallest | – | – | – | 4 |")), "{text}");
        assert!(!text.contains("| 7 |"), "{text}");
        assert!(rows.iter().all(|it| it.matches(" | ").count() == 5), "{text}");
    }
}
