//! Names that are written wrong.

/// Names that are less alike are no slip of the same name.
const ALIKE: f64 = 0.6;

/// The most names that are shown, where several are equally near.
const SHOWN: usize = 3;

/// ` (did you mean ticks?)` if a name is near this one, and nothing otherwise.
pub fn did_you_mean<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    let wrong = wrong.to_lowercase();
    let (mut best, mut near) = (ALIKE, Vec::new());
    for name in names {
        let alike = strsim::normalized_damerau_levenshtein(&wrong, &name.to_lowercase());
        if alike > best {
            near.clear();
            best = alike;
        }
        if alike == best && !near.contains(&name) {
            near.push(name);
        }
    }
    near.truncate(SHOWN);
    if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_suggested_and_far_ones_are_not() {
        let suggested =
            |wrong| did_you_mean(wrong, ["ticks", "firehose", "idle", "S5.01", "S5.11"]);
        assert_eq!(suggested("tiks"), " (did you mean ticks?)");
        assert_eq!(suggested("Tikcs"), " (did you mean ticks?)");
        assert_eq!(suggested("S5.21"), " (did you mean S5.01 or S5.11?)");
        for far in ["nginx-nchan", "", "http://127.0.0.1:8003/ticks"] {
            assert_eq!(suggested(far), "", "{far}");
        }
    }
}
