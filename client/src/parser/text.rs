//! Where a line ends, and its text.
//!
//! Lines are short, so the search stands inline, sixteen bytes at a step; a long rest is memchr's. On
//! the way it sees whether a line is ASCII, as most are: then it is text as it is.
//!
//! `unsafe`, for two things without which a short event takes a quarter longer: the instructions of
//! SSE2, which every x86-64 has; and ASCII as `&str` without looking at it once more. The check
//! and the conversion cannot come apart: only [`Text`] has both, and only this file makes one.
//! Elsewhere memchr searches, and everything is decoded.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    _mm_setzero_si128,
};

use memchr::{memchr2, memchr3};

/// How many bytes a step of the search looks at.
const STEP: usize = 16;
/// From here on, setting up a search with the widest vectors pays.
const LONG: usize = 256;

/// Bytes of one line, without its end.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    bytes: &'a [u8],
    /// All of them are known to be ASCII.
    ascii: bool,
    /// One of them is NUL; known for ids only.
    pub(super) has_nul: bool,
}

impl<'a> Text<'a> {
    /// The bytes before the first line end, if there is one.
    #[inline]
    pub(super) fn of_line(bytes: &'a [u8]) -> Option<Self> {
        find::<false>(bytes).ok()
    }

    /// The same for a line that may be an id, which must not have a NUL.
    ///
    /// Without a line end the error says whether there was a NUL.
    #[inline]
    pub(super) fn of_id(bytes: &'a [u8]) -> Result<Self, bool> {
        find::<true>(bytes)
    }

    /// The same for the rest of a line whose beginning is kept; NULs are reported on request.
    #[inline]
    pub(super) fn of_rest(bytes: &'a [u8], may_be_id: bool) -> Result<Self, bool> {
        match (bytes.len(), may_be_id) {
            (..STEP, true) => find::<true>(bytes),
            (..STEP, false) => find::<false>(bytes),
            (_, true) => find_far::<true>(bytes, 0, false),
            (_, false) => find_far::<false>(bytes, 0, false),
        }
    }

    /// Any bytes.
    #[inline]
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, ascii: false, has_nul: false }
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The value behind a colon: without one leading space.
    #[inline]
    pub(super) fn value(self) -> Self {
        Self { bytes: self.bytes.strip_prefix(b" ").unwrap_or(self.bytes), ..self }
    }

    /// How many bytes have to be looked at again before this is text.
    #[cfg(test)]
    pub(super) fn unseen(self) -> usize {
        if self.ascii { 0 } else { self.bytes.len() }
    }

    /// As text; malformed bytes are replaced, in the buffer.
    #[inline]
    pub(super) fn decode(self, replaced: &'a mut String) -> &'a str {
        self.valid().unwrap_or_else(|| {
            replaced.clear();
            self.replace_malformed(replaced);
            replaced
        })
    }

    /// The same, into the buffer.
    #[inline]
    pub(super) fn decode_into(self, text: &mut String) {
        text.clear();
        match self.valid() {
            Some(valid) => text.push_str(valid),
            None => self.replace_malformed(text),
        }
    }

    #[inline]
    fn valid(self) -> Option<&'a str> {
        if self.ascii {
            // SAFETY: `find` saw each of the bytes, and that it is ASCII.
            return Some(unsafe { str::from_utf8_unchecked(self.bytes) });
        }
        match self.bytes.len() {
            ..LONG => str::from_utf8(self.bytes).ok(),
            _ => simdutf8::basic::from_utf8(self.bytes).ok(),
        }
    }

    #[cold]
    fn replace_malformed(self, text: &mut String) {
        for chunk in self.bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
}

/// The text before the first line end; without one, whether there is a NUL, if that is asked for.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn find<const NUL: bool>(bytes: &[u8]) -> Result<Text<'_>, bool> {
    let (steps, tail) = bytes.as_chunks::<STEP>();
    // SAFETY: every x86-64 has SSE2.
    let mut scan = Scan { bytes: unsafe { _mm_setzero_si128() }, beyond_ascii: 0, nuls: 0 };
    for (n, step) in steps.iter().take(LONG / STEP).enumerate() {
        if let Some(len) = scan.step::<NUL>(step, u32::MAX) {
            return Ok(scan.text(&bytes[..STEP * n + len]));
        }
    }
    if bytes.len() >= LONG {
        return find_far::<NUL>(bytes, LONG, scan.nuls != 0);
    }
    let last = padded(tail).expect("the tail is shorter than a step");
    // Do not count padding bytes as NULs.
    match scan.step::<NUL>(&last, (1 << tail.len()) - 1) {
        Some(len) => Ok(scan.text(&bytes[..bytes.len() - tail.len() + len])),
        None => Err(scan.nuls != 0),
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn find<const NUL: bool>(bytes: &[u8]) -> Result<Text<'_>, bool> {
    find_far::<NUL>(bytes, 0, false)
}

/// The same behind `start`, before which there is no line end. Whether it is ASCII is not asked:
/// `decode` is quick with long texts.
#[inline(never)]
fn find_far<const NUL: bool>(
    bytes: &[u8],
    start: usize,
    mut has_nul: bool,
) -> Result<Text<'_>, bool> {
    let far = &bytes[start..];
    let mut end = if NUL { memchr3(b'\n', b'\r', 0, far) } else { memchr2(b'\n', b'\r', far) };
    if let Some(at) = end
        && far[at] == 0
    {
        has_nul = true;
        end = memchr2(b'\n', b'\r', &far[at..]).map(|after| at + after);
    }
    let end = end.ok_or(has_nul)?;
    Ok(Text { bytes: &bytes[..start + end], ascii: false, has_nul })
}

/// A search for the end of a line, and its findings about the bytes before it.
#[cfg(target_arch = "x86_64")]
struct Scan {
    /// The bytes of all steps, combined by OR.
    bytes: __m128i,
    /// Bits for those before the line end.
    beyond_ascii: u32,
    nuls: u32,
}

#[cfg(target_arch = "x86_64")]
impl Scan {
    #[inline(always)]
    fn text(self, bytes: &[u8]) -> Text<'_> {
        Text { bytes, ascii: self.beyond_ascii == 0, has_nul: self.nuls != 0 }
    }

    /// Looks at a step, up to the first line end, or all; NULs count if they are `valid`.
    #[inline(always)]
    fn step<const NUL: bool>(&mut self, step: &[u8; STEP], valid: u32) -> Option<usize> {
        // SAFETY: every x86-64 has SSE2, and the load takes the sixteen bytes that are there.
        unsafe {
            let bytes = _mm_loadu_si128(step.as_ptr().cast());
            let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
            // A bit for each byte, the lowest for the first.
            let bits = |bytes| _mm_movemask_epi8(bytes).cast_unsigned();
            let ends = bits(_mm_or_si128(is(b'\n'), is(b'\r')));
            let nuls = if NUL { bits(is(0)) & valid } else { 0 };
            if ends == 0 {
                self.bytes = _mm_or_si128(self.bytes, bytes);
                self.nuls |= nuls;
                return None;
            }
            let up_to_end = ends ^ (ends - 1);
            self.beyond_ascii = bits(bytes) & up_to_end | bits(self.bytes);
            self.nuls |= nuls & up_to_end;
            Some(ends.trailing_zeros() as usize)
        }
    }
}

/// Fewer bytes than a step, with NULs behind them.
#[inline(always)]
pub(super) fn padded(bytes: &[u8]) -> Option<[u8; STEP]> {
    // Two words that overlap hold the same as one that is copied by length.
    let len = bytes.len();
    let padded = match len {
        0..4 => bytes.iter().rev().fold(0, |padded, byte| padded << 8 | u128::from(*byte)),
        4..8 => {
            let (first, last) = (bytes.first_chunk()?, bytes.last_chunk()?);
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (len - 4));
            u128::from(u64::from(u32::from_le_bytes(*first)) | last)
        }
        8..STEP => {
            let (first, last) = (bytes.first_chunk()?, bytes.last_chunk()?);
            let last = u128::from(u64::from_le_bytes(*last)) << (8 * (len - 8));
            u128::from(u64::from_le_bytes(*first)) | last
        }
        _ => return None,
    };
    Some(padded.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All ways of finding agree with the plain one, wherever line end, NUL and the rest stand.
    #[test]
    fn what_is_seen_is_what_is_there() {
        for len in (0..70).chain(LONG - 20..LONG + 40) {
            for special in [None, Some(b'\n'), Some(b'\r'), Some(0), Some(0x80), Some(0xff)] {
                for at in 0..len {
                    for end in [None, Some(len / 2), Some(len - 1)] {
                        let mut bytes = vec![b'x'; len];
                        if let Some(end) = end {
                            bytes[end] = b'\n';
                        }
                        if let Some(special) = special {
                            bytes[at] = special;
                        }
                        check(&bytes);
                    }
                }
            }
        }
        for (found, text) in [(Text::of_line(b"a\n\0"), "a"), (Text::of_line(b"\n"), "")] {
            assert_eq!(found.map(Text::bytes), Some(text.as_bytes()));
        }
    }

    fn check(bytes: &[u8]) {
        let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let has_nul = line.contains(&0);
        let found = Text::of_line(bytes);
        assert_eq!(found.map(Text::bytes), end.map(|_| line), "{bytes:?}");
        for found in [Text::of_id(bytes), Text::of_rest(bytes, true)] {
            match (found, end) {
                (Ok(found), Some(_)) => assert_eq!((found.bytes, found.has_nul), (line, has_nul)),
                (Err(nul), None) => assert_eq!(nul, has_nul, "{bytes:?}"),
                _ => panic!("{bytes:?}"),
            }
        }
        for text in found.into_iter().chain(Text::of_id(bytes)) {
            assert_eq!(text.ascii, line.is_ascii() && line.len() < LONG, "{bytes:?}");
            assert_eq!(text.decode(&mut String::new()), String::from_utf8_lossy(line));
        }
    }
}
