//! `--write-baseline`: the failures of a run as a list of known ones.

use anyhow::Result;

use crate::client::cases::is_case;
use crate::{CaseResult, Deviation, Deviations, Verdict};

/// A file in the form of `deviations.toml`. Why each fails its author may know better.
pub(super) fn baseline_text<'r>(
    results: impl Iterator<Item = &'r CaseResult>,
    version: &str,
) -> Result<String> {
    let missed = results.filter(|it| it.is_miss() || it.verdict == Verdict::Adapter);
    let entries = missed.map(|it| Deviation::seen(it, None, version.to_owned())).collect();
    Ok(Deviations::of(entries, is_case).map_err(anyhow::Error::msg)?.to_toml())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge;

    #[test]
    fn what_was_written_is_read() {
        let case = crate::client::cases().find(|it| it.id == "C3.04").unwrap();
        let mut result = judge::blank(case, &Deviations::default());
        result.actual = Some("\"a\" \\ \u{fffd}\nb".to_owned());
        let read = |result: &CaseResult| {
            let file = std::env::temp_dir().join(format!("sse-baseline-{}", std::process::id()));
            std::fs::write(&file, baseline_text([result].into_iter(), "x 1").unwrap()).unwrap();
            let read = Deviations::read_file(&file, is_case).unwrap();
            std::fs::remove_file(&file).unwrap();
            read.known("C3.04")
        };
        result.verdict = Verdict::Pass;
        assert_eq!(read(&result), None);
        result.verdict = Verdict::Fail;
        let known = read(&result).unwrap();
        assert_eq!((Some(known.reason), known.version.as_str()), (result.actual.clone(), "x 1"));
    }
}
