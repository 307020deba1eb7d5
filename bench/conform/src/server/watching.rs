//! Cases that only watch a stream, for half a minute: they run beside all others.

use std::thread;

use super::run::{Observer, run_case, stops_those_after};
use super::sanity::Sanity;
use super::{Case, CaseResult, Deviations, Selection, Target, Verdict};
use crate::judge;

/// Whether a case runs beside the others: not where a second stream is refused, and not where a case
/// stops the process meanwhile.
pub(super) fn is_beside(case: &Case, target: &Target) -> bool {
    case.is_watch(target) && target.parallel() > 1 && target.control().is_none()
}

/// Runs them and `others` at the same time; all results in the order of the ids.
pub(super) fn beside(
    sanity: &Sanity<'_>,
    selection: &Selection,
    deviations: &Deviations,
    observer: &dyn Observer,
    others: impl FnOnce() -> Vec<CaseResult>,
) -> Vec<CaseResult> {
    let target = sanity.target();
    let mut watching = selection.cases(target);
    watching.retain(|case| is_beside(case, target));
    let watch = |case: &&Case| {
        observer.begins(case);
        run_case(case, target, deviations)
    };
    thread::scope(|scope| {
        let watched = scope.spawn(|| judge::parallel_map(&watching, watching.len(), watch));
        let mut results = others();
        let mut watched = watched.join().expect("cases' panics are caught");
        // The others may have ended before the server did.
        if watched.iter().any(CaseResult::is_miss) {
            sanity.ask();
            sanity.doubt(&mut watched);
        }
        for (case, mut result) in watching.iter().zip(watched) {
            let broken = results
                .iter()
                .find(|it| stops_those_after(it.verdict) && case.after.contains(&it.id.as_str()));
            // A case that could not be tried has its own reason.
            if let Some(broken) = broken.filter(|_| result.verdict != Verdict::Skip) {
                result = judge::blank(case, deviations);
                result.verdict = Verdict::Blocked;
                let id = broken.because.clone().unwrap_or_else(|| broken.id.clone());
                result.actual = Some(judge::because(&id));
                result.because = Some(id);
            }
            observer.ended(&result);
            results.push(result);
        }
        judge::in_order(&mut results);
        results
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_that_dies_below_a_case_that_watches_is_not_blamed() {
        let selection = Selection::new(&["S5.05".into()], &[]).unwrap();
        let judged = |is_gone: bool, cases: usize| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/events", listener.local_addr().unwrap());
            let target = Target::url(&url, Duration::from_millis(200)).unwrap();
            let sanity = Sanity::new(&target, cases);
            // The other cases have ended well; then the stream ends, and perhaps the whole server.
            let others = || {
                let (mut socket, _) = listener.accept().unwrap();
                assert!(socket.read(&mut [0; 4096]).unwrap() > 0, "a request comes");
                if !is_gone {
                    thread::spawn(move || answers_each(&listener));
                }
                let _ = socket.shutdown(Shutdown::Both);
                Vec::new()
            };
            let results = beside(&sanity, &selection, &Deviations::default(), &|_: &_| {}, others);
            results[0].verdict
        };
        assert_eq!(judged(true, 2), Verdict::Blocked, "it is gone");
        assert_eq!(judged(true, 1), Verdict::NonStrict, "nothing else can be the cause");
        assert_eq!(judged(false, 2), Verdict::NonStrict, "it still answers");
    }

    fn answers_each(listener: &TcpListener) {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        }
    }
}
