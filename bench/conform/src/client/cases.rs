//! The cases, in one file or a few for each category; the categories' numbers are frozen.

mod c01_request;
mod c02_lines;
mod c03_fields;
mod c04_encoding;
mod c05_dispatch;
mod c06_ends;
mod c06_reconnect;
mod c06_retry;
mod c07_again;
mod c07_answers;
mod c07_bodies;
mod c08_growth;
mod c08_limits;
mod c08_streams;
mod c09_browser;

use super::Case;

/// The header that this is often about.
const ID: &str = "Last-Event-ID";

/// Common fields of most cases about clients.
const CASE: Case = Case { after: EVENT, ..Case::COMMON };
/// A client asks, and reports an event: without that no case can be judged.
const EVENT: &[&str] = &["C1.01", "C2.01"];
/// It reconnects: without that nothing can be said of how.
const RECONNECTED: &[&str] = &["C1.01", "C2.01", "C6.01"];
/// It sends the last event id: without that nothing can be said of which.
const ID_SENT: &[&str] = &["C1.01", "C2.01", "C6.01", "C6.14"];
/// It waits as long as it was asked to: without that nothing can be said of what sets the time.
const PUNCTUAL: &[&str] = &["C1.01", "C2.01", "C6.01", "C6.05"];

/// It reports a stream open when the head is there: earlier, it says nothing of the answer.
const OPENED: &[&str] = &["C1.01", "C2.01", "C5.01"];

/// The cases that run before all others: cases that rest on one that did not hold are not tried. A case that
/// rests on any other is tried, and its failure only counts if that one holds.
pub(super) const PREREQUISITES: &[&str] = RECONNECTED;

/// All cases in the order of their ids.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        c01_request::CASES,
        c02_lines::CASES,
        c03_fields::CASES,
        c04_encoding::CASES,
        c05_dispatch::CASES,
        c06_reconnect::FAILURES,
        c06_retry::CASES,
        c06_reconnect::IDS,
        c06_ends::CASES,
        c07_answers::CASES,
        c07_bodies::CASES,
        c07_again::CASES,
        c08_limits::CASES,
        c08_streams::CASES,
        c08_growth::CASES,
        c09_browser::CASES,
    ]
    .into_iter()
    .flatten()
}

/// Whether there is a case about clients with this id.
pub(super) fn is_case(id: &str) -> bool {
    all().any(|case| case.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::catalogue;
    use crate::client::vectors;

    #[test]
    fn ids_are_well_formed_and_ascend_without_a_gap() {
        catalogue::ids_ascend_without_a_gap('C', all());
    }

    #[test]
    fn slugs_and_claims_read_well() {
        catalogue::texts_read_well(all());
    }

    #[test]
    fn cases_that_are_data_have_data() {
        let plays = [
            vectors::run as *const (),
            vectors::run_at_every_cut as *const (),
            vectors::run_with_any_replacements as *const (),
        ];
        let data: Vec<_> = all().filter(|case| plays.contains(&(case.run as *const ()))).collect();
        assert!(data.len() > 35, "{}", data.len());
        for case in data {
            assert!(!vectors::of_case(case.id).is_empty(), "{} has no vector", case.name());
        }
    }
}
