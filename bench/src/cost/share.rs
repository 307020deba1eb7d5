//! Which code asked for the work of Rust's library and of the C library.
//!
//! They do nothing by themselves: a lock, a clock or an allocation costs the code that wants it. So
//! what their functions cost goes to the callers, each in proportion to the instructions of its calls.

use std::collections::HashMap;
use std::hash::Hash;

use super::profile::{Place, Profile};

/// A function, by the numbers of its object and its name.
type Function = (usize, usize);

/// Callers of callers that are looked at; deeper ones are recursions.
const DEPTH: usize = 24;

/// Code that instructions belong to: a layer, or a line of source.
pub trait Owner: Clone + Eq + Hash {
    /// True if it works only for its caller.
    fn is_called(&self) -> bool;
}

/// The instructions of each owner and of what it calls in the two libraries.
pub fn with_libraries<O: Owner>(
    profile: &Profile,
    owner: &mut dyn FnMut(Place) -> O,
) -> HashMap<O, f64> {
    let mut callers: Callers<O> = HashMap::new();
    for call in &profile.calls {
        let from = (call.from.object, call.from.function);
        if from != call.to {
            let caller = (from, owner(call.from), call.inclusive as f64);
            callers.entry(call.to).or_default().push(caller);
        }
    }
    let mut sum = HashMap::new();
    let mut called: HashMap<Function, (O, f64)> = HashMap::new();
    for cost in &profile.own {
        let (of, instructions) = (owner(cost.at), cost.instructions as f64);
        if of.is_called() {
            called.entry((cost.at.object, cost.at.function)).or_insert((of, 0.0)).1 += instructions;
        } else {
            *sum.entry(of).or_default() += instructions;
        }
    }
    for (function, (of, instructions)) in called {
        assign(function, of, instructions, &callers, DEPTH, &mut sum);
    }
    sum
}

/// For each function the callers, their code, and what those calls cost.
type Callers<O> = HashMap<Function, Vec<(Function, O, f64)>>;

fn assign<O: Owner>(
    function: Function,
    of: O,
    instructions: f64,
    callers: &Callers<O>,
    depth: usize,
    sum: &mut HashMap<O, f64>,
) {
    let from = callers.get(&function).map_or(&[][..], Vec::as_slice);
    let all: f64 = from.iter().map(|it| it.2).sum();
    if all == 0.0 || depth == 0 || instructions < 1.0 {
        // It was running when the count began, or nothing calls it.
        *sum.entry(of).or_default() += instructions;
        return;
    }
    for (caller, owner, inclusive) in from {
        let share = instructions * inclusive / all;
        if owner.is_called() {
            assign(*caller, owner.clone(), share, callers, depth - 1, sum);
        } else {
            *sum.entry(owner.clone()).or_default() += share;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::layer::Layer;
    use crate::cost::profile::{Call, Cost};

    #[test]
    fn what_the_libraries_do_goes_to_their_callers() {
        let place = |function| Place { object: 0, function, address: function as u64 };
        let own =
            |function, instructions| Cost { at: place(function), instructions, system_calls: 0 };
        let call =
            |from, to, inclusive| Call { from: place(from), to: (0, to), count: 1, inclusive };
        let profile = Profile {
            own: vec![own(0, 10), own(1, 20), own(2, 30), own(3, 40)],
            // feed and runtime call std, which calls libc.
            calls: vec![call(0, 2, 50), call(1, 2, 20), call(2, 3, 40), call(3, 3, 7)],
            ..Profile::default()
        };
        let layers = [Layer::Feed, Layer::Runtime, Layer::Std, Layer::Libc];
        let sum = with_libraries(&profile, &mut |at: Place| layers[at.function]);
        assert_eq!(sum.len(), 2, "feed and the runtime");
        assert!(
            (sum[&Layer::Feed] - 60.0).abs() < 1e-9 && (sum[&Layer::Runtime] - 40.0).abs() < 1e-9
        );
    }
}
