//! The cases, category 13: what nodes do together, then what becomes of it when one of them dies.

mod delivery;
mod ids;
mod killed;
mod restarted;
mod resumed;

use super::{Case, Means};
use crate::Level;

/// Common fields of most cases about nodes.
const CASE: Case = Case {
    level: Level::MustContract,
    since: "2026-11-29",
    needs: &[Means::Publish],
    after: DELIVERED,
    ..Case::COMMON
};
/// Nothing can be said of what a text does that is read at one node alone.
const DELIVERED: &[&str] = &["S13.01"];
/// Nor of a reader that goes from node to node, where the first move fails.
const MOVED: &[&str] = &["S13.01", "S13.03", "S13.05", "S13.07", "S13.08"];

/// All cases in the order of their ids; those that kill nodes come last.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [delivery::CASES, ids::CASES, resumed::CASES, killed::CASES, restarted::CASES]
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::catalogue;

    #[test]
    fn ids_are_well_formed_and_ascend_without_a_gap() {
        catalogue::ids_ascend_without_a_gap('S', all());
    }

    #[test]
    fn slugs_and_claims_read_well() {
        catalogue::texts_read_well(all());
    }
}
