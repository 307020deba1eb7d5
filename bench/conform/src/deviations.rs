//! Known deviations of a server or a client, as a file lists them: `deviations.toml`, a baseline.

use std::path::Path;

use serde::Deserialize;

use super::verdict::{CaseResult, Known};

/// Whether there is a case with this id.
pub type IsCase = fn(&str) -> bool;

/// The known deviations of a server or a client, with their reasons.
///
/// `[[deviation]]` names a case of the suite. `[[parity]]` names a request of `tests/parity` that
/// the framework itself answers, otherwise than the other servers do. `[[lifecycle]]` names a check
/// of `tests/lifecycle` that the framework cannot pass, and `[[attack]]` one of `sse-bench attack`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviations {
    /// The entries in the order of the file.
    #[serde(rename = "deviation", default)]
    entries: Vec<Deviation>,
    #[serde(default)]
    parity: Vec<ParityDeviation>,
    #[serde(default)]
    lifecycle: Vec<LifecycleDeviation>,
    #[serde(rename = "attack", default)]
    attacks: Vec<AttackDeviation>,
}

/// One request that is answered otherwise; one that is answered like the others' is stale.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParityDeviation {
    /// The name of the request.
    pub request: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Where upstream knows of it.
    pub upstream: Option<String>,
    /// The version it was seen with.
    pub version: String,
}

/// One check of a server's life that fails; one that passes is stale.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleDeviation {
    /// The name of the check.
    pub check: String,
    /// The words of its failure, or a part of them: another failure is not this deviation.
    pub failure: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Where upstream knows of it.
    pub upstream: Option<String>,
    /// The version it was seen with.
    pub version: String,
}

/// One attack that a server does not withstand; one that it withstands is stale.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackDeviation {
    /// The name of the attack.
    pub attack: String,
    /// The build that it holds for, `debug` or `release`; both if absent.
    pub build: Option<String>,
    /// The words of its failure, or a part of them: another failure is not this deviation.
    pub failure: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Where upstream knows of it.
    pub upstream: Option<String>,
    /// The version it was seen with.
    pub version: String,
}

/// One entry: a listed case that fails is expected, a listed case that passes is stale.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// The id of the case.
    pub case: String,
    /// The encoding it holds for; both if absent.
    pub encoding: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// Where upstream knows of it.
    pub upstream: Option<String>,
    /// The version it was seen with.
    pub version: String,
}

impl Deviation {
    /// A failure as an entry; one that was known keeps its reason and its link.
    pub(super) fn seen(
        result: &CaseResult,
        encoding: Option<String>,
        version: String,
    ) -> Deviation {
        let known = result.deviation.as_ref();
        let words = known.map(|it| &it.reason).or(result.actual.as_ref());
        Deviation {
            case: result.id.clone(),
            encoding,
            reason: words.unwrap_or(&result.claim).clone(),
            upstream: known.and_then(|it| it.upstream.clone()),
            version,
        }
    }
}

impl Deviations {
    /// Reads a file of this form: a baseline.
    ///
    /// # Errors
    /// One line that names the file, if it cannot be read or names a case that does not exist.
    pub fn read_file(path: &Path, is_case: IsCase) -> Result<Deviations, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {shown}: {error}"))?;
        Self::parse(&text, is_case).map_err(|error| format!("{shown}: {error}"))
    }

    /// The entries that hold for this encoding.
    #[must_use]
    pub fn for_encoding(&self, encoding: &str) -> Deviations {
        let holds = |entry: &&Deviation| entry.encoding.as_deref().is_none_or(|it| it == encoding);
        let entries = self.entries.iter().filter(holds).cloned().collect();
        Deviations { entries, ..self.clone() }
    }

    /// The requests that are answered otherwise.
    pub fn parity(&self) -> &[ParityDeviation] {
        &self.parity
    }

    /// The checks of a server's life that fail.
    pub fn lifecycle(&self) -> &[LifecycleDeviation] {
        &self.lifecycle
    }

    /// The attacks that the server does not withstand.
    pub fn attacks(&self) -> &[AttackDeviation] {
        &self.attacks
    }

    /// The entries.
    pub fn entries(&self) -> &[Deviation] {
        &self.entries
    }

    /// Why this case is expected to be missed, if it is.
    pub fn known(&self, id: &str) -> Option<Known> {
        let entry = self.entries.iter().find(|entry| entry.case == id)?;
        Some(Known {
            reason: entry.reason.clone(),
            upstream: entry.upstream.clone(),
            version: entry.version.clone(),
        })
    }

    /// These entries.
    ///
    /// # Errors
    /// When one names a case that does not exist, or two the same.
    pub fn of(entries: Vec<Deviation>, is_case: IsCase) -> Result<Deviations, String> {
        Deviations { entries, ..Deviations::default() }.checked(is_case)
    }

    /// The text of a file that [`Deviations::read_file`] reads.
    pub(super) fn to_toml(&self) -> String {
        let mut out =
            "# Known failures: an entry is expected to fail, and fails the run once it passes.\n"
                .to_owned();
        for it in &self.entries {
            out += "\n[[deviation]]\n";
            for (key, value) in [
                ("case", Some(&it.case)),
                ("encoding", it.encoding.as_ref()),
                ("reason", Some(&it.reason)),
                ("upstream", it.upstream.as_ref()),
                ("version", Some(&it.version)),
            ] {
                if let Some(value) = value {
                    // A string of JSON is one of TOML, but for DEL, which no report holds.
                    out += &format!("{key} = {}\n", serde_json::Value::from(value.as_str()));
                }
            }
        }
        out
    }

    fn parse(text: &str, is_case: IsCase) -> Result<Deviations, String> {
        let deviations: Deviations =
            toml::from_str(text).map_err(|error| error.to_string().replace('\n', " "))?;
        deviations.checked(is_case)
    }

    fn checked(self, is_case: IsCase) -> Result<Deviations, String> {
        for entry in &self.entries {
            if !is_case(&entry.case) {
                return Err(format!("no case {:?}; see sse-bench list cases", entry.case));
            }
            let same = |it: &&Deviation| it.case == entry.case && it.encoding == entry.encoding;
            if self.entries.iter().filter(same).count() > 1 {
                return Err(format!("case {:?} is listed twice", entry.case));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[[deviation]]\ncase = \"S4.06\"\nencoding = \"native\"\nreason = \"lost\"\n\
                        upstream = \"https://example.org/1\"\nversion = \"x 1.2.3\"\n";

    const IS_CASE: IsCase = |id| id == "S4.06";

    #[test]
    fn entries_hold_for_their_encoding() {
        let reason = |deviations: &Deviations, encoding| {
            deviations.for_encoding(encoding).known("S4.06").map(|known| known.reason)
        };
        let deviations = Deviations::parse(TEXT, IS_CASE).unwrap();
        assert_eq!(reason(&deviations, "native").as_deref(), Some("lost"));
        assert_eq!(reason(&deviations, "shared"), None);
        let both =
            Deviations::parse(&TEXT.replace("encoding = \"native\"\n", ""), IS_CASE).unwrap();
        assert_eq!(reason(&both, "shared").as_deref(), Some("lost"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let quotes = TEXT.replace("\"lost\"", "'\"lost\" \\u{1b}'");
        let deviations = Deviations::parse(&quotes, IS_CASE).unwrap();
        let again = Deviations::parse(&deviations.to_toml(), IS_CASE).unwrap();
        assert_eq!(again.for_encoding("native").known("S4.06"), deviations.known("S4.06"));
        assert!(again.for_encoding("shared").entries().is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| Deviations::parse(text, IS_CASE).unwrap_err();
        assert!(error(&TEXT.replace("S4.06", "S4.99")).contains("S4.99"));
        assert!(error(&TEXT.replace("reason", "raison")).contains("raison"));
        assert!(error(&TEXT.repeat(2)).contains("twice"));
    }
}
