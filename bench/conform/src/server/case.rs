//! A case about a server, and its costs.

use super::{Cost, Need, Target};

/// One claim about a server, with the dialogue that tests it.
pub type Case = super::super::Case<Target, Need>;

impl Case {
    /// Whether it takes more than 10 s against this target: a case for the full profile.
    pub fn is_long(&self, target: &Target) -> bool {
        self.cost.iter().any(|cost| match cost {
            Cost::Long => true,
            Cost::KeepAlive => target.keep_alive().is_none(),
            Cost::Flood | Cost::Alone | Cost::Timed | Cost::Watch => false,
        })
    }

    /// Whether it does nothing but watch, for longer than all others together may take.
    pub fn is_watch(&self, target: &Target) -> bool {
        self.cost.contains(&Cost::Watch) && target.keep_alive().is_none()
    }

    /// Whether it sends enough to disturb another operator's server.
    pub fn is_flood(&self) -> bool {
        self.cost.contains(&Cost::Flood)
    }

    /// Whether other cases that run at the same time would spoil what it counts.
    pub fn is_alone(&self) -> bool {
        self.cost.contains(&Cost::Alone)
    }
}
