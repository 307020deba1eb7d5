//! A piece of the block being read: a place in the buffer, or a copy once it has to survive.

use std::ops::Range;

/// One of the standard's buffers (data, event type, id).
///
/// The copy is kept after [`take`](Self::take), so that its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Text {
    place: Place,
    copy: String,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Unset,
    Buffer(Range<usize>),
    Copy,
}

impl Text {
    #[inline]
    pub(super) fn is_set(&self) -> bool {
        !matches!(self.place, Place::Unset)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match &self.place {
            Place::Unset => 0,
            Place::Buffer(range) => range.len(),
            Place::Copy => self.copy.len(),
        }
    }

    #[inline]
    pub(super) fn set(&mut self, start: usize, end: usize) {
        self.place = Place::Buffer(start..end);
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.place = Place::Unset;
    }

    /// Adds a line: the first is borrowed, from the second on they are joined by LF in the copy.
    #[inline]
    pub(super) fn append_line(&mut self, start: usize, end: usize, buffer: &str) {
        if !self.is_set() {
            self.set(start, end);
            return;
        }
        self.detach(buffer);
        self.copy.push('\n');
        self.copy.push_str(&buffer[start..end]);
    }

    /// Makes the text independent of the buffer.
    #[inline]
    pub(super) fn detach(&mut self, buffer: &str) {
        if let Place::Buffer(range) = &self.place {
            self.copy.clear();
            self.copy.push_str(&buffer[range.clone()]);
            self.place = Place::Copy;
        }
    }

    /// The text, empty if unset; unset from now on.
    #[inline]
    pub(super) fn take<'a>(&'a mut self, buffer: &'a str) -> &'a str {
        match std::mem::take(&mut self.place) {
            Place::Unset => "",
            Place::Buffer(range) => &buffer[range],
            Place::Copy => &self.copy,
        }
    }
}
