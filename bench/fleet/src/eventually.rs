use std::thread;
use std::time::{Duration, Instant};

/// Looks until it finds something, with this pause between two looks; when the time is over, the
/// last error. It looks once in any case.
///
/// # Errors
/// Those of `look`.
pub fn eventually<T, E>(
    within: Duration,
    pause: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Err(_) if Instant::now() < deadline => thread::sleep(pause),
            found => return found,
        }
    }
}
