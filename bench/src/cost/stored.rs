//! `cost.json` in a server's folder: the counts that it had, and a guard against more.
//!
//! A server with this file is counted by `./test.sh`. Fewer instructions than stored are wrong too,
//! lest a later loss hide behind an old limit.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use fleet::Package;
use serde::{Deserialize, Serialize};

use super::report::{Report, Row, TOLERANCE};
use crate::report::Environment;

/// The name of the file.
pub const FILE: &str = "cost.json";

/// How far a count may be from the stored one with another compiler or processor, where other code
/// may run.
const TOLERANCE_ELSEWHERE: f64 = 0.3;

/// The counts of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    /// The compiler and the processor that they hold for.
    rustc: String,
    cpu: String,
    /// Instructions for one delivered event, by encoding.
    instructions: BTreeMap<String, f64>,
}

/// Whether the server has stored counts.
pub fn has(package: &Package) -> bool {
    path(package).exists()
}

fn path(package: &Package) -> PathBuf {
    package.folder.join(FILE)
}

/// Writes the counts of each server into its folder.
///
/// # Errors
/// If a file cannot be written.
pub fn store(report: &Report, packages: &[Package]) -> Result<()> {
    for package in packages {
        let path = path(package);
        let json = serde_json::to_string_pretty(&Stored::of(report, package))? + "\n";
        fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The counts that are not as stored, in words.
///
/// # Errors
/// If a file cannot be read.
pub fn check(report: &Report, packages: &[Package]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in packages {
        let path = path(package);
        let shown = path.display();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        let stored: Stored = serde_json::from_str(&text)
            .with_context(|| format!("{shown} is damaged; --store writes it"))?;
        wrong.extend(stored.differences(report, package.short_name()));
    }
    Ok(wrong)
}

impl Stored {
    fn of(report: &Report, package: &Package) -> Stored {
        let Environment { rustc, cpu, .. } = report.environment.clone();
        let mine = report.rows.iter().filter(|it| it.server == package.short_name());
        // A hundredth of an instruction says nothing, and each digit more would be a change.
        let count = |row: &Row| (row.event.instructions * 100.0).round() / 100.0;
        let instructions = mine.map(|row| (row.encoding.clone(), count(row))).collect();
        Stored { rustc, cpu, instructions }
    }

    fn differences(&self, report: &Report, server: &str) -> Vec<String> {
        let Environment { rustc, cpu, .. } = &report.environment;
        let is_same = (rustc, cpu) == (&self.rustc, &self.cpu);
        let tolerance = if is_same { TOLERANCE } else { TOLERANCE_ELSEWHERE };
        let mut wrong = Vec::new();
        for Row { encoding, event, .. } in report.rows.iter().filter(|it| it.server == server) {
            let now = event.instructions;
            let Some(before) = self.instructions.get(encoding) else {
                wrong.push(format!("{server} {encoding}: no count is stored; --store writes it"));
                continue;
            };
            let change = now / before - 1.0;
            if change.abs() > tolerance {
                wrong.push(format!(
                    "{server} {encoding}: {now:.0} instructions, {before:.0} stored: {:+.1} %; if \
                     that is meant: cargo sse-bench cost {server} --store",
                    change * 100.0
                ));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Load, Sums};

    fn report(cpu: &str, instructions: f64) -> Report {
        let environment = Environment { cpu: cpu.into(), ..Environment::default() };
        let event = Sums { instructions, ..Sums::default() };
        let (server, encoding) = ("newcomer".into(), "shared".into());
        let row = Row { server, encoding, event, ..Row::default() };
        let load = Load { subscribers: 2, uncounted: 1, counted: 3, opened: 1 };
        Report::new(environment, load, vec![row])
    }

    #[test]
    fn a_count_must_be_near_the_stored_one() {
        let stored = Stored {
            rustc: String::new(),
            cpu: "a".into(),
            instructions: [("shared".into(), 1000.0)].into(),
        };
        let found = |cpu, instructions| stored.differences(&report(cpu, instructions), "newcomer");
        for fine in [971.0, 1029.0] {
            assert_eq!(found("a", fine), [""; 0]);
        }
        assert!(found("a", 1031.0)[0].contains("1031 instructions, 1000 stored: +3.1 %"));
        assert!(found("a", 969.0)[0].contains("-3.1 %"));
        assert_eq!(found("b", 1290.0), [""; 0], "another processor");
        assert_eq!(found("b", 1310.0).len(), 1);
        let nothing = Stored { instructions: BTreeMap::new(), ..stored };
        assert!(nothing.differences(&report("a", 1.0), "newcomer")[0].contains("no count"));
    }
}
