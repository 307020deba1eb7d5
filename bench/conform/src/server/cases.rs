//! The cases, in one file or a few for each category; the categories' numbers are frozen.

mod observed;
mod published_broadcast;
mod published_flow;
mod published_requests;
mod published_text;
mod resumed;
mod s01_handshake;
mod s02_framing;
mod s03_events;
mod s03_grammar;
mod s04_fidelity;
mod s05_timing;
mod s06_resume;
mod s07_broadcast;
mod s08_disconnect;
mod s09_framing;
mod s09_http;
mod s09_requests;
mod s10_injection;
mod s11_shutdown;
mod s12_http2;
mod s12_streams;

use super::room::Room;
use super::{Case, Need, Target};

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

/// The room of the server's author, where there are no topics of the contract.
fn author_room(target: &Target) -> Option<&Room> {
    target.room().filter(|_| !target.capabilities().contains(&Need::Topics))
}

/// All cases in the order of their ids; those that stop processes come last.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        s01_handshake::CASES,
        s02_framing::CASES,
        s03_grammar::CASES,
        s03_events::CASES,
        s04_fidelity::CASES,
        s05_timing::CASES,
        s06_resume::CASES,
        s07_broadcast::CASES,
        s08_disconnect::CASES,
        s09_http::CASES,
        s09_framing::CASES,
        s09_requests::CASES,
        s10_injection::CASES,
        s11_shutdown::CASES,
        s12_http2::CASES,
        s12_streams::CASES,
    ]
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
