//! Care with servers of other people: how many requests they get, when, and which cases they are spared.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use wire::Budget;

use super::{Case, Fault, Need, Target};
use crate::judge::Attempt;

/// The most requests to a server on another host, unless its user says otherwise: a run of all cases
/// for any URL sends fewer.
const FOREIGN_MAX: u64 = 300;
/// The most requests with another method than GET: each may cost somebody an answer of a model.
const OTHER_METHOD_MAX: u64 = 40;
/// The longest wait that a server is granted by `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The wait where 429 says none.
const USUAL_WAIT: Duration = Duration::from_secs(1);
/// How often a case is tried again after 429.
const TRIES: usize = 3;

/// Cases whose claim is about GET, or about HEAD, which is a GET without the body; the other methods have no
/// such rule.
const ABOUT_GET: [&str; 7] = ["S9.01", "S9.02", "S9.03", "S9.04", "S9.05", "S9.07", "S9.25"];

/// Cases that ask many times, with the number. They are left out where that is a large part of what may be sent.
const MANY_REQUESTS: [(&str, u64); 2] = [("S5.09", 100), ("S12.09", 20)];
const LARGE_PART: u64 = 10;

/// The time before which the server wants no more requests; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<Option<Instant>>>);

impl Gate {
    /// Waits until the server may be asked; `false` if that is too far away.
    fn pass(&self) -> bool {
        let opens = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = opens.map_or(Duration::ZERO, |it| it.saturating_duration_since(Instant::now()));
        if wait > LONGEST_WAIT {
            return false;
        }
        // The server itself has named this time.
        thread::sleep(wait);
        true
    }

    fn close_for(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut opens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *opens = Some(opens.map_or(until, |it| it.max(until)));
    }
}

impl Target {
    /// Whether it is the user's own: it is on this host, or the user says so.
    pub fn is_at_home(&self) -> bool {
        self.is_own() || self.is_loopback()
    }

    /// The same server with the budget of its user, or the usual one for a server like this.
    #[must_use]
    pub fn with_max_requests(self, max: Option<u64>) -> Target {
        let usual = match (self.is_own(), self.asks_with_get()) {
            (true, _) => u64::MAX,
            (false, false) => OTHER_METHOD_MAX,
            (false, true) if self.is_loopback() => u64::MAX,
            (false, true) => FOREIGN_MAX,
        };
        self.with_budget(Budget::new(max.unwrap_or(usual)))
    }

    /// The words before the first request, if there is a bound or a case is left out.
    pub fn notice(&self) -> Option<String> {
        let max = self.budget().max();
        let bound = (max < u64::MAX)
            .then(|| format!("at most {max} requests will be sent (--max-requests)"));
        let spared = (!self.is_at_home())
            .then(|| "hostile cases are left out (--i-own-this-server)".to_owned());
        let parts: Vec<_> = bound.into_iter().chain(spared).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Why this case is not for this server, however it behaves.
pub(super) fn spared(case: &Case, target: &Target) -> Option<String> {
    if ABOUT_GET.contains(&case.id) && !target.asks_with_get() {
        return Some(format!("it is about GET, and this stream answers {}", target.method()));
    }
    let max = target.budget().max();
    let many = MANY_REQUESTS.iter().find(|(id, _)| *id == case.id);
    if let Some((_, times)) = many.filter(|(_, times)| max < times * LARGE_PART) {
        return Some(format!("it asks {times} times, and at most {max} requests may be sent"));
    }
    let is_rough = case.hostile || case.is_flood() || case.needs.contains(&Need::Process);
    (is_rough && !target.is_at_home()).then(|| {
        "hostile bytes, floods and stops are not sent to other hosts without --i-own-this-server"
            .to_owned()
    })
}

/// Tries a case as often as the server asks for patience (429), and drops what came of a dialogue that
/// was not held to its end.
///
/// `attempt` gets the reason why the case is not to be tried, if there is one.
pub(super) fn tried(
    target: &Target,
    is_flood: bool,
    attempt: impl Fn(&Target, Option<Fault>) -> Attempt,
) -> Attempt {
    let mut tries = 1;
    loop {
        let target = target.for_case();
        // With a log of its own: what was watched before says nothing about it.
        let skip = |reason: String| attempt(&target.for_case(), Some(Fault::Skip(reason)));
        if !target.gate().pass() {
            return skip("the server wants no request for a while (429)".to_owned());
        }
        let found = attempt(&target, None);
        if target.log().is_spent() {
            let max = target.budget().max();
            return skip(wire::Error::Spent { max }.to_string());
        }
        // A limit is what a flood looks for.
        let Some(retry_after) = target.log().too_many().filter(|_| !is_flood) else {
            return found;
        };
        let wait = wait_of(retry_after.as_deref());
        target.gate().close_for(wait);
        if tries == TRIES || wait > LONGEST_WAIT {
            let asked = retry_after.map_or_else(String::new, |it| format!(", Retry-After: {it}"));
            return skip(format!("the server has had too many requests (429{asked})"));
        }
        tries += 1;
    }
}

/// RFC 9110, 10.2.3: seconds, or a date.
fn wait_of(retry_after: Option<&str>) -> Duration {
    const IMF_FIXDATE: &str = "%a, %d %b %Y %H:%M:%S GMT";
    let Some(text) = retry_after else { return USUAL_WAIT };
    if let Ok(seconds) = text.parse() {
        return Duration::from_secs(seconds);
    }
    let date = strtime::parse(IMF_FIXDATE, text).and_then(|time| time.to_datetime());
    let at = date.and_then(|it: DateTime| it.to_zoned(TimeZone::UTC));
    let wait = at.map(|it| it.timestamp().duration_since(jiff::Timestamp::now()));
    wait.ok().and_then(|it| it.try_into().ok()).unwrap_or(USUAL_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::cases;

    fn target(url: &str) -> Target {
        Target::url(url, Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn another_host_is_spared_unless_it_is_the_users() {
        let hostile = cases().find(|case| case.hostile).unwrap();
        let mild = cases().find(|case| case.id == "S1.01").unwrap();
        let foreign = target("http://192.0.2.1:1/x");
        assert!(spared(hostile, &foreign).unwrap().contains("--i-own-this-server"));
        assert_eq!(spared(mild, &foreign), None);
        assert_eq!(spared(hostile, &foreign.clone().owned(true)), None);
        assert_eq!(spared(hostile, &target("http://127.0.0.1:1/x")), None);
        let many = cases().find(|case| case.id == "S5.09").unwrap();
        assert_eq!(spared(many, &target("http://127.0.0.1:1/x")), None);
        let few = target("http://127.0.0.1:1/x").with_max_requests(Some(90));
        assert!(spared(many, &few).unwrap().contains("at most 90 requests"));
        let notice = foreign.with_max_requests(None).notice().unwrap();
        assert!(notice.contains("at most 300 requests") && notice.contains("hostile"), "{notice}");
    }

    #[test]
    fn each_method_has_its_budget() {
        let max = |url: &str, method: &str, own, max| {
            let wanted = client::arguments::Wanted {
                method: method.to_owned(),
                ..client::arguments::Wanted::default()
            };
            target(url).with_request(wanted).owned(own).with_max_requests(max).budget().max()
        };
        assert_eq!(max("http://127.0.0.1:1/", "GET", false, None), u64::MAX);
        assert_eq!(max("http://127.0.0.1:1/", "POST", false, None), 40);
        assert_eq!(max("http://192.0.2.1:1/", "POST", false, None), 40);
        assert_eq!(max("http://192.0.2.1:1/", "GET", true, None), u64::MAX);
        assert_eq!(max("http://192.0.2.1:1/", "GET", true, Some(7)), 7);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(wait_of(Some("7")), Duration::from_secs(7));
        assert_eq!(wait_of(None), USUAL_WAIT);
        assert_eq!(wait_of(Some("soon")), USUAL_WAIT);
        assert_eq!(wait_of(Some("Sun, 06 Nov 1994 08:49:37 GMT")), USUAL_WAIT);
        let far = wait_of(Some("Fri, 31 Dec 2100 00:00:00 GMT"));
        assert!(far > Duration::from_secs(3600), "{far:?}");
        assert!(Gate::default().pass());
        let gate = Gate::default();
        gate.close_for(far);
        assert!(!gate.pass());
    }
}
