//! The cases, one file a category; the categories' numbers are frozen.

mod c01_request;
mod c02_lines;
mod c03_fields;
mod c04_encoding;
mod c05_dispatch;
mod c06_reconnect;
mod c06_retry;
mod c07_answers;
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
        c07_answers::CASES,
        c08_limits::CASES,
        c08_streams::CASES,
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
    use crate::client::vectors;

    #[test]
    fn ids_are_well_formed_ascending_and_unique() {
        let key = |case: &Case| {
            let (category, number) = case.id.strip_prefix('C')?.split_once('.')?;
            let digits = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
            digits.then_some((category.parse::<u32>().ok()?, number.parse::<u32>().ok()?))
        };
        let keys: Vec<_> = all().map(|case| key(case).expect(case.id)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        let counts = [11, 16, 26, 10, 10, 25, 17, 11, 5];
        for (count, category) in counts.iter().zip(1..) {
            let cases = all().filter(|case| case.category().number == category);
            assert_eq!(cases.count(), *count, "category {category}");
        }
    }

    #[test]
    fn slugs_and_claims_read_well() {
        for case in all() {
            let slug_is_fine = case
                .slug
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"-0123456789".contains(&byte));
            assert!(slug_is_fine, "{}", case.name());
            assert!(case.claim.ends_with('.') && case.claim.len() < 140, "{}", case.name());
            assert!(!case.source.is_empty(), "{}", case.name());
            assert!(!case.sends.is_empty() && !case.fix.is_empty(), "{}", case.name());
            assert!(case.since.len() == 10 && case.since.starts_with("20"), "{}", case.name());
            assert!(case.after.iter().all(|id| all().any(|it| it.id == *id)), "{}", case.name());
        }
    }

    #[test]
    fn cases_that_are_data_have_data() {
        let plays = [vectors::run as *const (), vectors::run_at_every_cut as *const ()];
        let data: Vec<_> = all().filter(|case| plays.contains(&(case.run as *const ()))).collect();
        assert!(data.len() > 35, "{}", data.len());
        for case in data {
            assert!(!vectors::of_case(case.id).is_empty(), "{} has no vector", case.name());
        }
    }
}
