//! `--slo 'first-event<200ms,gap<50ms'`: the limits that make a stream a good one.

use std::str::FromStr;

use super::condition::nanoseconds;
use super::waits::Wait;

/// Upper limits on the waits of one stream; a gap's holds for each of its gaps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slo {
    limits: Vec<(Wait, u64)>,
    text: String,
}

impl Slo {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a stream with these waits keeps to all limits. A wait that has not ended keeps none.
    pub(super) fn is_kept(&self, wait_ns: impl Fn(Wait) -> Option<u64>) -> bool {
        self.limits.iter().all(|(wait, limit_ns)| wait_ns(*wait).is_some_and(|it| it < *limit_ns))
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Slo, String> {
        let advice = || {
            format!(
                "{text:?} is no list of limits; write waits (headers first-event second-event gap \
                 mean-gap duration), <, and a time: 'first-event<200ms,gap<50ms'"
            )
        };
        let limit = |part: &str| {
            let (name, limit) = part.split_once('<')?;
            Some((Wait::named(name.trim())?, nanoseconds(limit.trim())? as u64))
        };
        let limits: Option<Vec<_>> = text.split(',').map(limit).collect();
        Ok(Slo { limits: limits.ok_or_else(advice)?, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_to_hold_and_silence_keeps_none() {
        let slo: Slo = "first-event<200ms, gap < 50ms".parse().unwrap();
        for (first_ns, gap_ns, kept) in [
            (Some(199_999_999), 49_999_999, true),
            (Some(200_000_000), 0, false),
            (Some(0), 50_000_000, false),
            (None, 0, false),
        ] {
            let found = slo.is_kept(|wait| match wait {
                Wait::FirstEvent => first_ns,
                _ => Some(gap_ns),
            });
            assert_eq!(found, kept, "{first_ns:?} {gap_ns}");
        }
    }

    #[test]
    fn what_is_no_limit_is_answered_with_an_example() {
        for text in ["", "gap", "gap>5ms", "gap<5", "gap<5ms,", "p99<5ms", "gap<xms"] {
            let error = text.parse::<Slo>().unwrap_err();
            assert!(error.contains("'first-event<200ms,gap<50ms'"), "{text}: {error}");
        }
    }
}
