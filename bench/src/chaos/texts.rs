//! The texts of the messages: each says its number, and can be told from a text that was changed on its way.

use fastrand::Rng;

/// A text of usual length, one of some pieces on the wire, and one that fills several buffers.
const USUAL: usize = 100;
const LONG: usize = 2_000;
const HUGE: usize = 30_000;

/// The length of a line: an event has its data in several lines then.
const LINE: usize = 700;

/// The text of the message with this number.
pub(super) fn text(number: u64) -> String {
    let mut rng = Rng::with_seed(number);
    let most = match rng.u8(..) {
        0 => HUGE,
        1..=16 => LONG,
        _ => USUAL,
    };
    let mut text = format!("message {number} ");
    for at in 0..rng.usize(..most) {
        text.push(if at % LINE == LINE - 1 { '\n' } else { rng.lowercase() });
    }
    text.push('.');
    text
}

/// The number of a text, if it is one of ours and whole.
pub(super) fn number(data: &str) -> Option<u64> {
    let digits = data.strip_prefix("message ")?.split(' ').next()?;
    let number = digits.parse().ok()?;
    (text(number) == data).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_its_number_and_a_changed_one_says_nothing() {
        let mut longest = 0;
        for it in 0..2000 {
            assert_eq!(number(&text(it)), Some(it));
            longest = longest.max(text(it).len());
        }
        assert!(longest > LONG && text(1).len() < LONG);
        for data in ["", "message", "message x.", "message 7 .", &format!("{} ", text(7))] {
            assert_eq!(number(data), None, "{data}");
        }
        assert_eq!(number(&text(7).replacen('7', "8", 1)), None);
    }
}
