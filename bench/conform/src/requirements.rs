//! Requirements that are frozen by date: what a server or client that passes today is still held to tomorrow.
//!
//! The catalogue grows, and a new case would turn yesterday's pass into a failure. So a set of a date is a
//! file that lists the MUST cases of that day, and never changes: a case that comes later is in the next set.

use std::path::Path;

use anyhow::{Context, Result};

use super::report::Run;
use super::{Category, Scope, Verdict, described};

/// The MUST cases of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// The day, `2026-11-20`.
    pub date: String,
    /// Ids in the order of the catalogue, of servers and of clients.
    pub cases: Vec<String>,
}

/// How a run stands to the requirements on its side of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Cases that hold, or of which a recommendation alone failed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: Vec<String>,
    /// Cases whose needs are not offered.
    pub skipped: usize,
    /// Cases without a verdict: blocked, an error, or not yet in the suite when it ran.
    pub unjudged: usize,
}

impl Standing {
    /// Whether each case was judged that could be, and none failed.
    pub fn passes(&self) -> bool {
        self.failed.is_empty() && self.unjudged == 0 && self.passed > 0
    }
}

impl Requirements {
    /// Reads `DATE.txt` of a folder, the oldest first: an id a line, `#` begins a comment.
    ///
    /// # Errors
    /// When the folder or a file cannot be read.
    pub fn read_all(folder: &Path) -> Result<Vec<Requirements>> {
        let cannot = || format!("cannot read {}", folder.display());
        let mut sets = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            if path.extension().is_none_or(|it| it != "txt") {
                continue;
            }
            let text = std::fs::read_to_string(&path).with_context(cannot)?;
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
            let cases = lines.filter(|it| !it.is_empty()).map(str::to_owned).collect();
            let date = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            sets.push(Requirements { date, cases });
        }
        sets.sort_by(|a, b| a.date.cmp(&b.date));
        Ok(sets)
    }

    /// How a run stands to those of these requirements that are about its side, and of this scope if one is given.
    pub fn standing(&self, run: &Run, scope: Option<Scope>) -> Standing {
        let mut standing = Standing::default();
        for case in described().iter().filter(|it| scope.is_none_or(|scope| it.scope == scope)) {
            let is_of_this_side = Category::of(case.id).side == run.side();
            if !is_of_this_side || !self.cases.iter().any(|id| id == case.id) {
                continue;
            }
            match run.result(case.id).map(|it| it.verdict) {
                Some(Verdict::Pass | Verdict::NonStrict | Verdict::Info) => standing.passed += 1,
                Some(Verdict::Fail) => standing.failed.push(case.id.to_owned()),
                Some(Verdict::Skip) => standing.skipped += 1,
                Some(Verdict::Blocked | Verdict::Adapter | Verdict::Error) | None => {
                    standing.unjudged += 1;
                }
            }
        }
        standing
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::report::tests::sample;
    use super::*;
    use crate::Level;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements")
    }

    /// An id that is gone, or that demands less, would change what an old badge says.
    #[test]
    fn frozen_cases_exist_are_no_younger_than_their_set_and_demand_as_much() {
        let catalogue = described();
        let sets = Requirements::read_all(&folder()).unwrap();
        assert!(!sets.is_empty());
        for set in &sets {
            for id in &set.cases {
                let case = catalogue.iter().find(|it| it.id == id);
                let case = case.unwrap_or_else(|| panic!("{}: {id} is no case", set.date));
                assert!(case.level == Level::Must, "{}: {id} is no MUST any more", set.date);
                assert!(case.since <= set.date.as_str(), "{}: {id} came later", set.date);
            }
        }
        for pair in sets.windows(2) {
            let lost = pair[0].cases.iter().find(|id| !pair[1].cases.contains(id));
            assert_eq!(lost, None, "{} has less than {}", pair[1].date, pair[0].date);
        }
    }

    /// `SSE_FREEZE=2026-11-29 cargo test -p sse-conform --lib freeze` writes the set of a day.
    #[test]
    fn freeze() {
        let Ok(date) = std::env::var("SSE_FREEZE") else { return };
        let path = folder().join(format!("{date}.txt"));
        assert!(!path.exists(), "{} is frozen", path.display());
        let is_in = |it: &&crate::Described| it.level == Level::Must && it.since <= date.as_str();
        let lines = described();
        let lines = lines.iter().filter(is_in).map(|it| format!("{} # {}\n", it.id, it.slug));
        std::fs::write(path, lines.collect::<String>()).unwrap();
    }

    #[test]
    fn a_case_that_comes_later_changes_no_standing() {
        let document = sample();
        let set = |cases: &[&str]| Requirements {
            date: "2026-11-20".to_owned(),
            cases: cases.iter().map(|it| (*it).to_owned()).collect(),
        };
        // S1.01 passes, S1.02 fails: by the set that does not know it, the run passes.
        let run = &document.runs[0];
        assert!(set(&["S1.01"]).standing(run, Some(Scope::Sse)).passes());
        let both = set(&["S1.01", "S1.02"]).standing(run, Some(Scope::Sse));
        assert_eq!((both.passed, both.failed.as_slice()), (1, &["S1.02".to_owned()][..]));
        // A case that the run did not have is no pass, and neither is one of the other side.
        assert!(!set(&["S1.01", "S1.03"]).standing(run, Some(Scope::Sse)).passes());
        assert!(!set(&["C2.01"]).standing(run, Some(Scope::Sse)).passes());
    }
}
