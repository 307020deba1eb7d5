//! The reason why a server cannot serve, in one line for its operator.

use std::error::Error;
use std::{fmt, iter};

/// The error type of `main`: any error, printed as one line.
///
/// `anyhow` prints each cause on a separate line and, with `RUST_BACKTRACE=1` in the environment, a
/// backtrace. That helps a programmer; an operator has mistyped a port.
pub struct Failure(String);

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let causes = iter::successors(error.source(), |&cause| cause.source());
        let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        Failure(text.replace('\n', " "))
    }
}

/// As `main` prints it, behind `Error: `.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot\nlisten")]
    struct CannotListen(#[source] io::Error);

    #[test]
    fn is_one_line_with_its_causes() {
        let failure = Failure::from(CannotListen(io::Error::other("the port is taken")));
        assert_eq!(format!("{failure:?}"), "cannot listen: the port is taken");
    }
}
