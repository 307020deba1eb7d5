//! Delta debugging: the fewest steps that still show a failure, found by playing fewer and fewer of them.

/// Makes a list of steps shorter as long as `shows` says that the failure is still there, with at most `limit` calls of
/// it; the shortest list that showed it, and the calls.
///
/// This is ddmin (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002): halves first, then
/// the list without one of ever smaller parts. A failure that needs luck may not show in a replay, so the outcome need
/// not be the shortest; but it has shown the failure.
///
/// # Errors
/// Those of `shows`.
pub fn shrink<T: Clone, E>(
    steps: &[T],
    limit: usize,
    mut shows: impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<(Vec<T>, usize), E> {
    let mut shortest = steps.to_vec();
    let (mut parts, mut calls) = (2, 0);
    while shortest.len() > 1 {
        let size = shortest.len().div_ceil(parts);
        let chunks: Vec<Vec<T>> = shortest.chunks(size).map(<[T]>::to_vec).collect();
        let rest_of = |at: usize| {
            let others = chunks.iter().enumerate().filter(|it| it.0 != at);
            others.flat_map(|it| it.1.clone()).collect::<Vec<T>>()
        };
        let mut tries: Vec<(Vec<T>, usize)> = chunks.iter().map(|it| (it.clone(), 2)).collect();
        // Of two parts the one is the rest of the other.
        if chunks.len() > 2 {
            let fewer = (parts - 1).max(2);
            tries.extend((0..chunks.len()).map(|at| (rest_of(at), fewer)));
        }
        let mut next = None;
        for (attempt, parts) in tries {
            if calls >= limit {
                return Ok((shortest, calls));
            }
            calls += 1;
            if shows(&attempt)? {
                next = Some((attempt, parts));
                break;
            }
        }
        match next {
            Some(shorter) => (shortest, parts) = shorter,
            None if parts >= shortest.len() => break,
            None => parts = (parts * 2).min(shortest.len()),
        }
    }
    Ok((shortest, calls))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps that are left of 0 to 99, if the failure needs all of these.
    fn left(needed: &[u32], limit: usize) -> (Vec<u32>, usize) {
        let all: Vec<u32> = (0..100).collect();
        let shows = |steps: &[u32]| Ok::<_, ()>(needed.iter().all(|it| steps.contains(it)));
        shrink(&all, limit, shows).unwrap()
    }

    #[test]
    fn one_step_or_several_are_found() {
        for needed in [&[0][..], &[99], &[37], &[3, 60], &[10, 11, 80], &[0, 50, 99]] {
            assert_eq!(left(needed, 1000).0, needed);
        }
        assert!(left(&[37], 1000).1 <= 14, "{:?}", left(&[37], 1000));
    }

    #[test]
    fn the_calls_are_bounded_and_the_outcome_shows_the_failure() {
        let (steps, calls) = left(&[3, 60], 9);
        assert_eq!(calls, 9);
        assert!(steps.len() < 100 && steps.contains(&3) && steps.contains(&60));
        assert_eq!(left(&[3, 60], 0), ((0..100).collect(), 0));
    }

    #[test]
    fn a_failure_that_never_shows_again_leaves_the_list_as_it_is() {
        let all: Vec<u32> = (0..8).collect();
        let (steps, calls) = shrink(&all, 50, |_| Ok::<_, ()>(false)).unwrap();
        assert_eq!(steps, all);
        assert!(calls < 50);
    }
}
