//! An answer with its times: a recording and the faults that were asked for, worked out once for all
//! connections.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::StatusCode;
use reqwest::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, HeaderValue, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::cli::recording::{End, Recording};

/// The header fields that say how the body is framed. A replay frames it anew.
const OURS: [HeaderName; 5] = [CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Codings of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Coding {
    /// Each piece can be read as soon as it is there
    Gzip,
    /// All of it comes when the coder is full, or at the end
    GzipUnflushed,
}

/// The differences from the recording.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) cut_at: Option<u64>,
    pub(super) end: Option<End>,
    pub(super) stall_at: Option<u64>,
    /// None is for ever.
    pub(super) stall: Option<Duration>,
    pub(super) clump: Option<Duration>,
    pub(super) coding: Option<Coding>,
    pub(super) status: Option<StatusCode>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// An answer to be played. Its times count from the request.
#[derive(Debug)]
pub(super) struct Score {
    pub(super) status: StatusCode,
    pub(super) head_at: Duration,
    /// Those of the answer but for [`OURS`].
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<Chunk>,
    pub(super) end: End,
    pub(super) end_at: Duration,
    /// It begins again at its end.
    pub(super) repeats: bool,
}

/// One chunk of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) at: Duration,
    pub(super) bytes: Bytes,
    /// The size that its head says: more than it has, if it is cut.
    pub(super) announced: usize,
}

impl Chunk {
    fn new(at: Duration, bytes: impl Into<Bytes>) -> Chunk {
        let bytes = bytes.into();
        Chunk { at, announced: bytes.len(), bytes }
    }

    /// Makes two chunks of it; the rest may still be cut.
    fn split_off(&mut self, at: usize) -> Chunk {
        let rest =
            Chunk { bytes: self.bytes.split_off(at), announced: self.announced - at, ..*self };
        self.announced = at;
        rest
    }
}

impl Score {
    /// Works it out.
    ///
    /// # Errors
    /// One line: a fault that the recording has no place for.
    pub(super) fn of(
        recording: &Recording,
        speed: f64,
        repeats: bool,
        faults: &Faults,
    ) -> Result<Score, String> {
        let faster = |at: Duration| at.div_f64(speed);
        let chunks = recording.body.iter();
        let mut score = Score {
            status: recording.status,
            head_at: faster(recording.head_at),
            headers: recording.headers.clone(),
            body: chunks.map(|it| Chunk::new(faster(it.at), it.bytes.clone())).collect(),
            end: recording.end,
            end_at: faster(recording.end_at),
            repeats,
        };
        if repeats && score.end_at.is_zero() {
            return Err("--loop needs times; this would play it without a pause".to_owned());
        }
        if let Some(coding) = faults.coding {
            score.code(coding).map_err(|error| error.to_string())?;
        }
        score.replace_head(faults);
        if let Some(time) = faults.clump.filter(|it| !it.is_zero()) {
            score.clump(time);
        }
        if let Some(at) = faults.cut_at {
            score.cut(score.place(at, "--cut-at")?);
        }
        score.end = faults.end.unwrap_or(score.end);
        if score.end == End::Whole {
            score.body.iter_mut().for_each(|it| it.announced = it.bytes.len());
        }
        if let Some(at) = faults.stall_at {
            score.stall(score.place(at, "--stall-at")?, faults.stall);
        }
        Ok(score)
    }

    /// For people: what is going to be sent.
    pub(super) fn description(&self) -> String {
        let (chunks, seconds) = (self.body.len(), self.end_at.as_secs_f64());
        let end = if self.repeats { "again and again" } else { self.end.word() };
        format!("{}, {chunks} chunks, {} bytes in {seconds:.1} s, {end}", self.status, self.bytes())
    }

    fn bytes(&self) -> u64 {
        self.body.iter().map(|it| it.bytes.len() as u64).sum()
    }

    fn replace_head(&mut self, faults: &Faults) {
        self.status = faults.status.unwrap_or(self.status);
        let is_replaced = |name: &HeaderName| faults.headers.iter().any(|(new, _)| new == name);
        self.headers.retain(|(name, _)| !is_replaced(name) && !is_ours(name));
        self.headers.extend(faults.headers.clone());
    }

    fn code(&mut self, coding: Coding) -> io::Result<()> {
        let mut coder = GzEncoder::new(Vec::new(), Compression::default());
        for chunk in &mut self.body {
            coder.write_all(&chunk.bytes)?;
            if coding == Coding::Gzip {
                coder.flush()?;
            }
            *chunk = Chunk::new(chunk.at, std::mem::take(coder.get_mut()));
        }
        self.body.retain(|it| !it.bytes.is_empty());
        // A stream that did not end has no end of its coding either.
        if self.end == End::Whole {
            self.body.push(Chunk::new(self.end_at, coder.finish()?));
        }
        self.headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        Ok(())
    }

    /// Puts chunks together that fall into the same stretch of time.
    fn clump(&mut self, time: Duration) {
        let due = |at: Duration| {
            let ns = (at.as_nanos() / time.as_nanos() + 1) * time.as_nanos();
            Duration::from_nanos(ns.try_into().unwrap_or(u64::MAX))
        };
        let mut clumps: Vec<(Duration, Vec<u8>)> = Vec::new();
        for chunk in &self.body {
            match clumps.last_mut().filter(|(at, _)| *at == due(chunk.at)) {
                Some((_, bytes)) => bytes.extend_from_slice(&chunk.bytes),
                None => clumps.push((due(chunk.at), chunk.bytes.to_vec())),
            }
        }
        self.body = clumps.into_iter().map(|(at, bytes)| Chunk::new(at, bytes)).collect();
        self.end_at = self.end_at.max(self.body.last().map_or(Duration::ZERO, |it| it.at));
    }

    /// The chunk that has the byte behind so many, and how many of them it has.
    fn place(&self, bytes: u64, option: &str) -> Result<(usize, usize), String> {
        let mut before = 0;
        for (index, chunk) in self.body.iter().enumerate() {
            let inside = bytes - before;
            if inside < chunk.bytes.len() as u64 {
                return Ok((index, usize::try_from(inside).expect("it is less than a length")));
            }
            before += chunk.bytes.len() as u64;
        }
        if bytes > before {
            return Err(format!("{option} {bytes} is beyond the body, which has {before} bytes"));
        }
        Ok((self.body.len(), 0))
    }

    fn cut(&mut self, (index, inside): (usize, usize)) {
        if let Some(chunk) = self.body.get_mut(index) {
            self.end_at = chunk.at;
            chunk.bytes.truncate(inside);
        }
        self.body.truncate(index + usize::from(inside > 0));
        self.end = End::Cut;
    }

    fn stall(&mut self, (index, inside): (usize, usize), time: Option<Duration>) {
        let mut first = index;
        if inside > 0 {
            let rest = self.body[index].split_off(inside);
            first += 1;
            self.body.insert(first, rest);
        }
        match time {
            None => {
                self.body.truncate(first);
                self.end = End::Open;
            }
            Some(time) => {
                for chunk in &mut self.body[first..] {
                    chunk.at += time;
                }
                self.end_at += time;
            }
        }
    }
}

/// Whether a replay writes this field by itself.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    OURS.contains(name) || name == "keep-alive"
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A recording of these pieces, which ends whole 100 ms behind the last.
    fn recording(pieces: &[(u64, &str)]) -> Recording {
        let mut text = "sse-recording 1\n10 status 200\nheader connection: close\n".to_owned();
        for (at, bytes) in pieces {
            text += &format!("{at} \"{bytes}\"\n");
        }
        text += &format!("{} whole\n", pieces.last().unwrap().0 + 100);
        Recording::parse(&text).unwrap()
    }

    fn body(score: &Score) -> Vec<(Duration, &[u8])> {
        score.body.iter().map(|it| (it.at, &*it.bytes)).collect()
    }

    #[test]
    fn a_factor_changes_the_recorded_times_and_no_other() {
        let recording = recording(&[(20, "ab"), (400, "c")]);
        let plain = Score::of(&recording, 1.0, false, &Faults::default()).unwrap();
        assert_eq!(body(&plain), [(ms(20), &b"ab"[..]), (ms(400), b"c")]);
        assert_eq!((plain.head_at, plain.end, plain.end_at), (ms(10), End::Whole, ms(500)));
        assert!(plain.headers.is_empty(), "{:?}", plain.headers);
        let stalled = Faults { stall_at: Some(1), stall: Some(ms(1000)), ..Faults::default() };
        let score = Score::of(&recording, 2.0, false, &stalled).unwrap();
        let expected = [(ms(10), &b"a"[..]), (ms(1010), b"b"), (ms(1200), b"c")];
        assert_eq!((body(&score).as_slice(), score.end_at), (&expected[..], ms(1250)));
        let score = Score::of(&recording, f64::INFINITY, false, &Faults::default()).unwrap();
        assert_eq!(body(&score), [(ms(0), &b"ab"[..]), (ms(0), b"c")]);
        assert_eq!((score.head_at, score.end_at), (ms(0), ms(0)));
    }

    #[test]
    fn a_chunk_that_is_cut_stays_cut_behind_a_stall() {
        let faults =
            Faults { cut_at: Some(4), stall_at: Some(1), stall: Some(ms(9)), ..Faults::default() };
        let score = Score::of(&recording(&[(20, "abcdef")]), 1.0, false, &faults).unwrap();
        let sizes: Vec<_> = score.body.iter().map(|it| (it.bytes.len(), it.announced)).collect();
        assert_eq!((sizes, score.end, score.end_at), (vec![(1, 1), (3, 5)], End::Cut, ms(29)));
    }

    #[test]
    fn clumps_are_due_at_the_end_of_their_stretch() {
        let recording = recording(&[(20, "a"), (99, "b"), (100, "c"), (350, "d")]);
        let faults = Faults { clump: Some(ms(100)), ..Faults::default() };
        let score = Score::of(&recording, 1.0, false, &faults).unwrap();
        assert_eq!(body(&score), [(ms(100), &b"ab"[..]), (ms(200), b"c"), (ms(400), b"d")]);
        let faults = Faults { clump: Some(ms(1000)), ..Faults::default() };
        let score = Score::of(&recording, 1.0, false, &faults).unwrap();
        assert_eq!((body(&score), score.end_at), (vec![(ms(1000), &b"abcd"[..])], ms(1000)));
    }

    #[test]
    fn a_coder_that_flushes_gives_each_piece_at_once_and_the_other_does_not() {
        let recording = recording(&[(20, "data: a"), (300, "data: b")]);
        let decoded = |bytes: &[u8]| {
            let mut text = Vec::new();
            // Of a part of a stream, as much as can be had.
            let _ = GzDecoder::new(bytes).read_to_end(&mut text);
            text
        };
        for (coding, at_first) in [(Coding::Gzip, &b"data: a"[..]), (Coding::GzipUnflushed, b"")] {
            let faults = Faults { coding: Some(coding), ..Faults::default() };
            let score = Score::of(&recording, 1.0, false, &faults).unwrap();
            let early: Vec<_> = score.body.iter().filter(|it| it.at < ms(300)).collect();
            let early: Vec<u8> = early.iter().flat_map(|it| it.bytes.to_vec()).collect();
            assert_eq!(decoded(&early), at_first, "{coding:?}");
            let all: Vec<u8> = score.body.iter().flat_map(|it| it.bytes.to_vec()).collect();
            assert_eq!(decoded(&all), b"data: adata: b");
        }
    }
}
