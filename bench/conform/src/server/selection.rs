//! Which cases run: profiles and filters.

use super::{Case, Need, RULES, Target, cases, is_selected};
use crate::Profile;
use crate::case::check_words;

/// Which cases to run: by profile, by id, by category, by slug.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    only: Vec<String>,
    skip: Vec<String>,
    profile: Profile,
    pace: Pace,
}

/// Cases by the time that they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// All.
    #[default]
    Any,
    /// Those that end within ten seconds.
    Short,
    /// Those that wait for a minute and do next to nothing meanwhile.
    Waiting,
    /// All but those that wait.
    Busy,
}

/// All needs. The process comes last: only the full profile stops it.
const NEEDS: &[Need] = &[
    Need::Script,
    Need::Topics,
    Need::Text,
    Need::Publish,
    Need::Metrics,
    Need::Endpoints,
    Need::KeepAlive,
    Need::Http2,
    Need::Process,
];

impl Profile {
    /// The needs that the cases may have.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Profile::Generic => &[],
            Profile::Contract => &NEEDS[..NEEDS.len() - 1],
            Profile::Full => NEEDS,
        }
    }

    /// The least profile that this case is part of.
    pub fn of(case: &Case, target: &Target) -> Profile {
        let fits = |profile: &Profile| {
            case.needs.iter().all(|need| profile.needs().contains(need))
                && (*profile == Profile::Full || !case.is_long(target))
        };
        [Profile::Generic, Profile::Contract].into_iter().find(fits).unwrap_or(Profile::Full)
    }
}

impl Selection {
    /// Cases that match one of `only` (all if it is empty) and none of `skip`.
    ///
    /// `S3` is a category, `S9.10` a case, `empty-data` a slug, `resume` a category's name.
    ///
    /// # Errors
    /// One line with advice, if a word matches no case.
    pub fn new(only: &[String], skip: &[String]) -> Result<Selection, String> {
        check_words(only.iter().chain(skip), "servers", cases, RULES)?;
        let (profile, pace) = (Profile::default(), Pace::default());
        Ok(Selection { only: only.to_vec(), skip: skip.to_vec(), profile, pace })
    }

    /// Of the same cases only those of this pace.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Selection {
        self.pace = pace;
        self
    }

    /// The same cases within a profile; those outside are skipped, and said to be.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Selection {
        self.profile = profile;
        self
    }

    /// The profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The cases to run against this target.
    pub fn cases(&self, target: &Target) -> Vec<&'static Case> {
        let waits = |case: &Case| case.is_long(target) && !case.is_flood() && !case.is_alone();
        let fits = |case: &Case| match self.pace {
            Pace::Any => true,
            Pace::Short => !case.is_long(target),
            Pace::Waiting => waits(case),
            Pace::Busy => !waits(case),
        };
        cases().filter(|case| self.has(case) && fits(case)).collect()
    }

    /// Whether a case is asked for by its own name, and so runs whatever the profile.
    pub fn names(&self, case: &Case) -> bool {
        self.only.iter().any(|word| case.is_named(word))
    }

    /// The questions of a probe: the needs of the profile, and of the cases that are named.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = self.profile.needs().to_vec();
        for need in cases().filter(|case| self.names(case)).flat_map(|case| case.needs) {
            if !needs.contains(need) {
                needs.push(*need);
            }
        }
        needs
    }

    /// Whether a case is selected by the filters.
    pub fn has(&self, case: &Case) -> bool {
        is_selected(&self.only, &self.skip, |word| case.matches(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_match_ids_categories_and_slugs() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let names = |only: &[&str], skip: &[&str]| {
            let selection = Selection::new(&words(only), &words(skip)).unwrap();
            cases().filter(|case| selection.has(case)).map(|case| case.id).collect::<Vec<_>>()
        };
        assert_eq!(names(&["S1.02", "empty-data"], &[]), ["S1.02", "S4.06"]);
        assert!(
            names(&["S1"], &["S1.01"]).iter().all(|id| id.starts_with("S1.") && *id != "S1.01")
        );
        assert_eq!(names(&["resume"], &[]), names(&["S6"], &[]));
        assert!(Selection::new(&words(&["S99"]), &[]).unwrap_err().contains("\"S99\""));
    }

    #[test]
    fn a_case_that_is_named_is_asked_for_whatever_the_profile() {
        let only = ["S4.01", "resume"].map(str::to_owned);
        let selection = Selection::new(&only, &[]).unwrap().with_profile(Profile::Generic);
        let named: Vec<_> = cases().filter(|case| selection.names(case)).map(|it| it.id).collect();
        assert_eq!(named, ["S4.01"], "the others belong to a category");
        assert_eq!(selection.needs(), [Need::Script]);
    }

    #[test]
    fn profiles_grow() {
        let target = Target::contract(([127, 0, 0, 1], 1).into(), None);
        let of = |id: &str| Profile::of(cases().find(|it| it.id == id).unwrap(), &target);
        assert_eq!(of("S1.01"), Profile::Generic);
        assert_eq!(of("S4.01"), Profile::Contract);
        assert_eq!(of("S11.03"), Profile::Full);
    }
}
