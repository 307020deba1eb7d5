//! The frames of HTTP/2 (RFC 9113, 4 and 6).

use std::fmt;

/// The first bytes of a client's connection (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest frame that a peer may send which was not told otherwise.
pub const PAYLOAD_LIMIT: usize = 16_384;
/// Length, type, flags, stream.
const HEAD_BYTES: usize = 9;
/// How much of a frame's data a log shows.
const SHOWN_BYTES: usize = 200;

/// END_STREAM of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// ACK of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// END_HEADERS of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 0x4;
/// PADDED of DATA and HEADERS.
const PADDED: u8 = 0x8;
/// PRIORITY of HEADERS.
const PRIORITY: u8 = 0x20;

/// One frame, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: Kind,
    /// Its flags, all of them.
    pub flags: u8,
    /// The stream that it belongs to; 0 is the connection.
    pub stream: u32,
    /// The bytes behind its head, padding included.
    pub payload: Vec<u8>,
}

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of RFC 9113, 6")]
pub enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Of an extension: to be ignored.
    Other(u8),
}

/// Why a stream or a connection ended (RFC 9113, 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// Nothing went wrong.
    pub const NO_ERROR: Code = Code(0);
    /// The stream is no longer needed.
    pub const CANCEL: Code = Code(8);
}

impl Frame {
    /// A frame of this type.
    pub fn new(kind: Kind, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
        Frame { kind, flags, stream, payload: payload.into() }
    }

    /// Takes a frame off the front of the input, if it is whole.
    ///
    /// # Errors
    /// It is larger than [`PAYLOAD_LIMIT`].
    pub fn take(input: &mut Vec<u8>) -> Result<Option<Frame>, String> {
        let Some(&[a, b, c, kind, flags, s0, s1, s2, s3]) = input.first_chunk::<HEAD_BYTES>()
        else {
            return Ok(None);
        };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let kind = Kind::of(kind);
        if length > PAYLOAD_LIMIT {
            return Err(format!("a {kind} frame of {length} bytes, more than {PAYLOAD_LIMIT}"));
        }
        if input.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        let rest = input.split_off(HEAD_BYTES + length);
        let payload = std::mem::replace(input, rest).split_off(HEAD_BYTES);
        // The first bit is reserved.
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        Ok(Some(Frame { kind, flags, stream, payload }))
    }

    /// The bytes as they go out.
    ///
    /// # Panics
    /// When the payload has 16 MiB or more, which no frame can have.
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).ok().filter(|it| *it < 1 << 24);
        let length = length.expect("a frame of less than 16 MiB").to_be_bytes();
        let head = [length[1], length[2], length[3], self.kind.number(), self.flags];
        [&head[..], &self.stream.to_be_bytes(), &self.payload].concat()
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The data of DATA, or the part of a block in HEADERS: without padding and priority.
    ///
    /// # Errors
    /// The padding is longer than the frame.
    pub fn content(&self) -> Result<&[u8], String> {
        let broken = || format!("a {} frame with more padding than it is long", self.kind);
        let mut rest = &self.payload[..];
        if !matches!(self.kind, Kind::Data | Kind::Headers) {
            return Ok(rest);
        }
        if self.has(PADDED) {
            let (&padding, after) = rest.split_first().ok_or_else(broken)?;
            let end = after.len().checked_sub(usize::from(padding)).ok_or_else(broken)?;
            rest = &after[..end];
        }
        if self.kind == Kind::Headers && self.has(PRIORITY) {
            rest = rest.get(5..).ok_or_else(broken)?;
        }
        Ok(rest)
    }

    /// A number of 32 bits in the payload.
    pub(super) fn number_at(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// Number and value of each setting.
    ///
    /// # Errors
    /// The frame does not hold whole settings.
    pub fn settings(&self) -> Result<Vec<(u16, u32)>, String> {
        let (settings, rest) = self.payload.as_chunks::<6>();
        if !rest.is_empty() || (self.has(ACK) && !settings.is_empty()) {
            return Err(format!("a SETTINGS frame of {} bytes", self.payload.len()));
        }
        let setting = |&[n0, n1, v0, v1, v2, v3]: &[u8; 6]| {
            (u16::from_be_bytes([n0, n1]), u32::from_be_bytes([v0, v1, v2, v3]))
        };
        Ok(settings.iter().map(setting).collect())
    }

    /// Type, stream and flags on one line, and the payload where it is short and is no header block.
    pub fn describe(&self) -> String {
        let mut text = self.kind.to_string();
        if self.stream != 0 {
            text += &format!(" stream {}", self.stream);
        }
        let is_one = |kinds: &[Kind], flag| kinds.contains(&self.kind) && self.has(flag);
        for (kinds, flag, name) in [
            (&[Kind::Settings, Kind::Ping][..], ACK, "ACK"),
            (&[Kind::Data, Kind::Headers], END_STREAM, "END_STREAM"),
            (&[Kind::Headers, Kind::Continuation], END_HEADERS, "END_HEADERS"),
        ] {
            if is_one(kinds, flag) {
                text = text + " " + name;
            }
        }
        match self.kind {
            Kind::Data => text += &format!(" {}", shown(self.content().unwrap_or_default())),
            Kind::RstStream => text += &format!(" {}", Code(self.number_at(0).unwrap_or_default())),
            Kind::GoAway => {
                let (last, code) = (self.number_at(0), self.number_at(4));
                let code = Code(code.unwrap_or_default());
                text += &format!(" last stream {}, {code}", last.unwrap_or_default());
            }
            Kind::WindowUpdate => text += &format!(" +{}", self.number_at(0).unwrap_or_default()),
            Kind::Settings => {
                for (number, value) in self.settings().unwrap_or_default() {
                    text += &format!(" {}={value}", setting_name(number));
                }
            }
            _ => {}
        }
        text
    }
}

impl Kind {
    fn of(number: u8) -> Kind {
        match number {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::RstStream,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            other => Kind::Other(other),
        }
    }

    fn number(self) -> u8 {
        match self {
            Kind::Data => 0,
            Kind::Headers => 1,
            Kind::Priority => 2,
            Kind::RstStream => 3,
            Kind::Settings => 4,
            Kind::PushPromise => 5,
            Kind::Ping => 6,
            Kind::GoAway => 7,
            Kind::WindowUpdate => 8,
            Kind::Continuation => 9,
            Kind::Other(other) => other,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Data => "DATA",
            Kind::Headers => "HEADERS",
            Kind::Priority => "PRIORITY",
            Kind::RstStream => "RST_STREAM",
            Kind::Settings => "SETTINGS",
            Kind::PushPromise => "PUSH_PROMISE",
            Kind::Ping => "PING",
            Kind::GoAway => "GOAWAY",
            Kind::WindowUpdate => "WINDOW_UPDATE",
            Kind::Continuation => "CONTINUATION",
            Kind::Other(number) => return write!(f, "frame of type {number}"),
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}

fn setting_name(number: u16) -> String {
    const NAMES: [&str; 6] = [
        "HEADER_TABLE_SIZE",
        "ENABLE_PUSH",
        "MAX_CONCURRENT_STREAMS",
        "INITIAL_WINDOW_SIZE",
        "MAX_FRAME_SIZE",
        "MAX_HEADER_LIST_SIZE",
    ];
    let name = usize::from(number).checked_sub(1).and_then(|at| NAMES.get(at));
    name.map_or_else(|| number.to_string(), ToString::to_string)
}

/// Data for a log: on one line, and not all of it.
fn shown(data: &[u8]) -> String {
    let text = crate::shown(&data[..data.len().min(SHOWN_BYTES)]);
    match data.len().checked_sub(SHOWN_BYTES) {
        None | Some(0) => text,
        Some(more) => format!("{text} … {more} more bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_at_any_split() {
        let frames = [
            Frame::new(Kind::Settings, 0, 0, [0, 3, 0, 0, 0, 100]),
            Frame::new(Kind::Data, END_STREAM | PADDED, 7, *b"\x02data: 1\n\n\0\0"),
            Frame::new(Kind::Other(0xfa), 0, 1, *b"?"),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        for step in [1, 2, 7, bytes.len()] {
            let (mut input, mut taken) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(step) {
                input.extend_from_slice(piece);
                while let Some(frame) = Frame::take(&mut input).unwrap() {
                    taken.push(frame);
                }
            }
            assert_eq!((taken.as_slice(), input.len()), (&frames[..], 0));
        }
        assert_eq!(frames[1].content(), Ok(&b"data: 1\n\n"[..]));
        assert_eq!(frames[1].describe(), "DATA stream 7 END_STREAM data: 1\\n\\n");
        assert_eq!(frames[0].describe(), "SETTINGS MAX_CONCURRENT_STREAMS=100");
        assert_eq!(frames[2].describe(), "frame of type 250 stream 1");
    }

    #[test]
    fn broken_frames_are_refused() {
        assert!(Frame::take(&mut vec![0, 0x40, 1, 0, 0, 0, 0, 0, 1]).is_err());
        assert!(Frame::new(Kind::Data, PADDED, 1, [9, 0]).content().is_err());
        assert!(Frame::new(Kind::Headers, PRIORITY, 1, [0; 4]).content().is_err());
        assert!(Frame::new(Kind::Settings, 0, 0, [0; 5]).settings().is_err());
        assert!(Frame::new(Kind::Settings, ACK, 0, [0; 6]).settings().is_err());
    }
}
