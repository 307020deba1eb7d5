//! JUnit XML, for whatever shows test results in CI.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::paint::Paint;
use super::terminal::failure_text;
use super::{Document, Run};
use crate::{CaseResult, Verdict};

/// One suite a run, one test a case.
///
/// An unexpected result is a failure, a case that could not be judged an error; a known deviation
/// and a skip are skipped tests that say why. A failed recommendation is a success with a remark,
/// unless the run was strict.
pub fn junit(document: &Document) -> String {
    let mut report = Report::new("sse-bench conform");
    for run in &document.runs {
        let mut suite = TestSuite::new(run.label());
        suite.set_time(Duration::from_millis(run.took_ms));
        suite.add_property((run.side_word(), run.subject()));
        suite.add_property(("suite-version", run.suite_version.to_string().as_str()));
        suite.add_test_cases(run.results.iter().map(|result| test_case(run, result)));
        report.add_test_suite(suite);
    }
    report.to_string().expect("writing to memory, of valid characters only")
}

fn test_case(run: &Run, result: &CaseResult) -> TestCase {
    let actual = result.actual.as_deref().unwrap_or_default();
    let status = match result.verdict {
        Verdict::Adapter if result.is_known() => TestCaseStatus::success(),
        Verdict::Blocked | Verdict::Adapter | Verdict::Error => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type(result.verdict.word()).set_message(actual);
            status
        }
        _ if result.is_unexpected(run.strict) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let kind = if result.is_stale() { "STALE" } else { result.verdict.word() };
            status.set_type(kind).set_message(result.claim.as_str());
            status.set_description(failure_text(result, Paint::plain()));
            status
        }
        Verdict::Skip => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(actual);
            status
        }
        _ if result.is_known() => {
            let mut status = TestCaseStatus::skipped();
            let reason = result.deviation.as_ref().map_or("", |known| &known.reason);
            status.set_message(format!("known deviation: {reason}"));
            status
        }
        _ => TestCaseStatus::success(),
    };
    let is_success = matches!(status, TestCaseStatus::Success { .. });
    let mut case = TestCase::new(result.name(), status);
    case.set_classname(format!("{}.{}", run.label(), result.category().name()));
    case.set_time(Duration::from_secs_f64(result.took_ms.max(0.0) / 1e3));
    if is_success && !actual.is_empty() {
        case.set_system_out(format!("{}: {actual}", result.verdict.word()));
    }
    case
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn a_parser_reads_it_back() {
        let text = junit(&sample());
        let report = Report::deserialize_from_str(&text).unwrap();
        let counts = |suite: &TestSuite| (suite.tests, suite.failures, suite.errors);
        let counts: Vec<_> = report.test_suites.iter().map(counts).collect();
        // The unlisted failure and the stale entry; what was blocked and the harness's own.
        assert_eq!(counts, [(4, 2, 0), (5, 0, 2)]);
        assert_eq!(report.test_suites[0].name.as_str(), "one <&>");
        assert!(text.contains("known deviation: upstream &lt;does&gt; it"), "{text}");
        assert!(text.contains("NON-STRICT: almost"), "{text}");
        assert!(!text.contains('\u{1b}'), "control characters are not XML");
    }
}
