//! The order that a chart shows, in words: a winner is named only where its range shows one.

use load::stats::Spread;

use super::Unit;

/// The value of each server in one figure, lowest first.
pub(super) struct Ranking {
    values: Vec<(String, Spread)>,
    unit: Unit,
}

impl Ranking {
    /// Of these servers; the floor is none of them.
    pub(super) fn of(mut values: Vec<(String, Spread)>, unit: Unit) -> Ranking {
        values.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
        Ranking { values, unit }
    }

    /// The finding, or nothing without a value: who wins (`takes the least`), or only how far the figure (`CPU time`) reaches.
    pub(super) fn words(&self, figure: &str, wins: &str) -> Option<String> {
        let suffix = self.unit.suffix();
        let write = |it: &Spread| self.unit.write(it.median);
        let ((best, lowest), others) = self.values.split_first()?;
        let low = write(lowest);
        let Some((_, highest)) = others.last() else {
            return Some(format!("{low}{suffix} {figure}, of {best} alone"));
        };
        let high = write(highest);
        if self.values.iter().all(|it| it.1.n == 1) {
            return Some(format!("{low} to {high}{suffix} {figure}; one round is not a ranking"));
        }
        // Ranges that overlap show no order.
        let overlap: Vec<&str> =
            others.iter().filter(|it| it.1.min <= lowest.max).map(|it| it.0.as_str()).collect();
        let (count, all) = (overlap.len(), others.len());
        if count > 1 && 2 * count > all {
            let those = if count == all {
                "the ranges of all others overlap with its own".to_owned()
            } else {
                format!("the ranges of {count} of {all} others overlap with its own")
            };
            return Some(format!(
                "{low} to {high}{suffix} {figure}; the lowest is {best}, but {those}"
            ));
        }
        let but = match overlap.as_slice() {
            [] => String::new(),
            [one] => format!("; the range of {one} overlaps with its own"),
            _ => format!("; the ranges of {count} of {all} others overlap with its own"),
        };
        Some(format!("{best} {wins}, {low}{suffix}{but}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(values: &[(f64, f64, f64)]) -> String {
        let spread = |&(min, median, max): &(f64, f64, f64)| Spread { median, min, max, n: 5 };
        let values = values.iter().zip('a'..).map(|(it, name)| (name.to_string(), spread(it)));
        Ranking::of(values.collect(), Unit::Nanoseconds).words("CPU time", "takes least").unwrap()
    }

    #[test]
    fn a_winner_is_named_where_the_ranges_show_one() {
        let low = (1.0, 2.0, 3.0);
        let (within, beyond) = ((3.0, 4.0, 9.0), (5.0, 6.0, 9.0));
        assert_eq!(words(&[beyond, low]), "b takes least, 2 ns");
        assert_eq!(
            words(&[low, within, beyond]),
            "a takes least, 2 ns; the range of b overlaps with its own"
        );
        assert_eq!(
            words(&[low, within, within, beyond, beyond, beyond]),
            "a takes least, 2 ns; the ranges of 2 of 5 others overlap with its own"
        );
        assert_eq!(
            words(&[low, within, within, beyond]),
            "2 to 6 ns CPU time; the lowest is a, but the ranges of 2 of 3 others overlap with its own"
        );
        assert_eq!(
            words(&[low, within, within]),
            "2 to 4 ns CPU time; the lowest is a, but the ranges of all others overlap with its own"
        );
    }

    #[test]
    fn one_server_and_one_round_are_no_ranking() {
        assert_eq!(words(&[(1.0, 2.0, 3.0)]), "2 ns CPU time, of a alone");
        let once = |name: &str, value| {
            (name.to_owned(), Spread { median: value, min: value, max: value, n: 1 })
        };
        let ranking = Ranking::of(vec![once("b", 4.0), once("a", 2.0)], Unit::Milliseconds);
        let ranking = Ranking { unit: Unit::Nanoseconds, ..ranking };
        assert_eq!(
            ranking.words("CPU time", "takes least").unwrap(),
            "2 to 4 ns CPU time; one round is not a ranking"
        );
        assert_eq!(Ranking::of(Vec::new(), Unit::Number).words("CPU time", "wins"), None);
    }
}
