//! The order of measurement: balanced, and random.
//!
//! In a Williams design each contestant comes at each place equally often and after each other one
//! equally often, so that neither a warming host nor a heavy predecessor falls on one of them.

/// Orders for `rounds` rounds of `n` contestants.
///
/// Balanced over `n` rounds (`2n` if `n` is odd); which contestant plays which part, and which
/// rows come first, is random.
pub fn balanced(n: usize, rounds: usize, random: &mut fastrand::Rng) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new(); rounds];
    }
    let mut names: Vec<usize> = (0..n).collect();
    random.shuffle(&mut names);
    let mut rows = williams(n);
    random.shuffle(&mut rows);
    let row = |round: usize| rows[round % rows.len()].iter().map(|it| names[*it]).collect();
    (0..rounds).map(row).collect()
}

fn williams(n: usize) -> Vec<Vec<usize>> {
    // 0, 1, n-1, 2, n-2, …: every difference once.
    let first: Vec<usize> =
        (0..n).map(|at| if at % 2 == 1 { at.div_ceil(2) } else { (n - at / 2) % n }).collect();
    let mut rows: Vec<Vec<usize>> =
        (0..n).map(|shift| first.iter().map(|it| (it + shift) % n).collect()).collect();
    if n % 2 == 1 {
        let mirrored: Vec<Vec<usize>> =
            rows.iter().map(|row| row.iter().rev().copied().collect()).collect();
        rows.extend(mirrored);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_and_every_predecessor_comes_equally_often() {
        for n in [2, 5, 6, 13] {
            let rounds = if n % 2 == 0 { n } else { 2 * n };
            let mut random = fastrand::Rng::with_seed(3);
            let mut after = vec![vec![0; n]; n];
            let mut place = vec![vec![0; n]; n];
            for order in balanced(n, rounds, &mut random) {
                for (at, it) in order.iter().enumerate() {
                    place[*it][at] += 1;
                    if at > 0 {
                        after[order[at - 1]][*it] += 1;
                    }
                }
            }
            let each = rounds / n;
            for one in 0..n {
                assert!(place[one].iter().all(|it| *it == each), "{n}: places of {one}");
                let others = after[one].iter().enumerate().filter(|(it, _)| *it != one);
                assert!(others.into_iter().all(|(_, it)| *it == each), "{n}: after {one}");
            }
        }
    }

    #[test]
    fn the_seed_gives_the_order_again_and_another_seed_another() {
        let orders = |seed| balanced(8, 4, &mut fastrand::Rng::with_seed(seed));
        assert_eq!(orders(1), orders(1));
        assert_ne!(orders(1), orders(2));
    }
}
