//! The cases, one file a category; the categories' numbers are frozen.

mod s01_handshake;
mod s02_framing;
mod s03_grammar;
mod s04_fidelity;
mod s05_timing;
mod s06_resume;
mod s07_broadcast;
mod s08_disconnect;
mod s09_http;
mod s09_requests;
mod s10_injection;
mod s11_shutdown;

use super::Case;

/// Common fields of most cases about servers.
const CASE: Case = Case { after: HANDSHAKE, ..Case::COMMON };
/// Nothing can be said of a stream that does not open. Cases about other requests stand alone.
pub(super) const HANDSHAKE: &[&str] = &["S1.01", "S1.02"];
/// If simple events are corrupted, a failure with a hard one adds nothing.
const SIMPLE_EVENT: &[&str] = &["S1.01", "S1.02", "S4.01"];
/// The same for resuming …
const RESUMED: &[&str] = &["S1.01", "S1.02", "S6.01"];
/// … and for streams that share a topic.
const BROADCAST: &[&str] = &["S1.01", "S1.02", "S7.01"];

/// All cases in the order of their ids; those that stop processes come last.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        s01_handshake::CASES,
        s02_framing::CASES,
        s03_grammar::CASES,
        s04_fidelity::CASES,
        s05_timing::CASES,
        s06_resume::CASES,
        s07_broadcast::CASES,
        s08_disconnect::CASES,
        s09_http::CASES,
        s09_requests::CASES,
        s10_injection::CASES,
        s11_shutdown::CASES,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_well_formed_ascending_and_unique() {
        let key = |case: &Case| {
            let (category, number) = case.id.strip_prefix('S')?.split_once('.')?;
            let digits = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
            digits.then_some((category.parse::<u32>().ok()?, number.parse::<u32>().ok()?))
        };
        let keys: Vec<_> = all().map(|case| key(case).expect(case.id)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        assert!(all().all(|case| Some(case.category().number) == key(case).map(|(category, _)| category)));
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
}
