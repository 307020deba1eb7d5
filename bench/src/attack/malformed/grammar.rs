//! Malformed requests: valid ones that are mutated, in parts, in framing, in bytes and in time.
//!
//! A seed and a number give the same request again.

use fastrand::Rng;

/// One connection's worth of it.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The bytes, as they are written one after the other.
    pub pieces: Vec<Vec<u8>>,
    /// Then.
    pub end: End,
}

/// The end of a client that has sent all.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// It ends its side, and reads.
    HalfClose,
    /// It stays, and reads for a moment.
    Open,
    /// It is gone.
    Reset,
}

/// Requests on a connection, at most.
const PIPELINED: usize = 8;
/// Mutations of a request's parts, and of its bytes.
const MUTATIONS: usize = 4;
const BYTE_MUTATIONS: usize = 3;

/// Longer than a server takes in its target, in its fields, in a message.
const LONG_TARGET: usize = 9 * 1024;
const LONG_FIELD: usize = 40 * 1024;
const LONG_BODY: usize = 80 * 1024;

const METHODS: &[&[u8]] =
    &[b"get", b"GE T", b"", b"CONNECT", b"TRACE", b"OPTIONS", b"PUT", b"PRI", b"G\0T", b"\xff"];

const TARGETS: &[&[u8]] = &[
    b"",
    b"*",
    b"//",
    b"/%",
    b"/%zz",
    b"/\0",
    b"/?\xc2\x9b31m",
    b"http://other.example/healthz",
    b"http://",
    b"/../../etc/passwd",
    b"/messages/",
    b"/messages/%00",
    b"/messages/%0d%0aX:%20y",
    b"/messages/%ff%fe",
    b"/messages/a/b",
    b"/messages/t?last_event_id=%0a",
    b"/ticks?interval_ms=-1",
    b"/ticks?interval_ms=99999999999999999999",
    b"/ticks?count=0x10&count=2",
    b"/ticks?pad=1000000000",
    b"/ticks?&&&===",
    b"/simulation?symbols=\xe2\x80\xae",
];

const VERSIONS: &[&[u8]] = &[
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/11",
    b"http/1.1",
    b"HTP/1.1",
    b"",
    b"HTTP/1.1 ",
];

const HOSTS: &[&[u8]] =
    &[b"", b"a b", b"x/../y@z", b"other.example", b"[::1", b"localhost:99999", b"local\0host"];

const LENGTHS: &[&[u8]] = &[
    b"-1",
    b"+5",
    b"5, 5",
    b"5,6",
    b"0x5",
    b"",
    b"5 5",
    b"1000",
    b"18446744073709551615",
    b"99999999999999999999999",
    b"\x0b5",
];

const CODINGS: &[&[u8]] = &[
    b"chunked, identity",
    b"identity",
    b"gzip, chunked",
    b"chunked, chunked",
    b"xchunked",
    b"\x0bchunked",
    b"chunked\r\nTransfer-Encoding: identity",
    b"",
];

const CHUNK_SIZES: &[&[u8]] = &[
    b"0x5",
    b"-5",
    b"5 ",
    b"5\t",
    b"g",
    b"",
    b"ffffffffffffffff",
    b"10000000000000005",
    b"5;\0",
    b"5;a=\"",
    b"00000000000000000005",
    b"6",
];

/// Whole lines, with their names.
const FIELDS: &[&[u8]] = &[
    b"no colon",
    b": no name",
    b"Name : x",
    b" Folded: x",
    b"A: b\0c",
    b"A: b\rC: d",
    b"A: b\nC: d",
    b"\x7f: x",
    b"A: \xff\xfe",
    b"Expect: 100-continue",
    b"Expect: miracles",
    b"Upgrade: websocket\r\nConnection: upgrade",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings",
    b"Connection: close",
    b"Connection: \x01",
    b"Last-Event-ID: 18446744073709551615",
    b"Last-Event-ID: \xf0\x9f\x92\xa9",
    b"Last-Event-ID: a\tb",
    b"Origin: null",
    b"Origin: http://evil.example",
    b"Origin: \x1b[31m",
    b"Range: bytes=0-,0-,0-",
    b"Authorization: Bearer \0",
    b"Accept: ,,,;q=2",
    b"Content-Type: \xc3\x28",
    b"Trailer: Content-Length",
];

const LINE_ENDS: &[&[u8]] = &[b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\r\n", b""];

/// Bytes that stand between the parts of a request, or must never stand in one.
const BYTES: &[u8] = b"\0\r\n\t \x0b\x1b\x7f\x80\xff:;,/?%\"";

/// The beginnings of other protocols.
const PROTOCOLS: &[&[u8]] = &[
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03",
    b"SSH-2.0-x\r\n",
    b"\r\n\r\n\r\n",
    b"\x05\x01\x00",
];

impl Attempt {
    /// The attempt of this number.
    pub fn new(seed: u64, number: u64) -> Attempt {
        // Neighbours shall have nothing in common.
        let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bytes = Vec::new();
        if rng.u8(0..20) == 0 {
            bytes.extend_from_slice(pick(&mut rng, PROTOCOLS));
        }
        let requests = if rng.bool() { 1 } else { rng.usize(1..=PIPELINED) };
        for _ in 0..requests {
            bytes.extend(request(&mut rng));
        }
        if rng.bool() {
            for _ in 0..rng.usize(1..=BYTE_MUTATIONS) {
                mutate_bytes(&mut rng, &mut bytes);
            }
        }
        let end = match rng.u8(0..16) {
            0 => End::Open,
            1..4 => End::Reset,
            _ => End::HalfClose,
        };
        Attempt { pieces: cut(&mut rng, bytes), end }
    }

    /// Whether the peer may answer with frames.
    pub fn begins_http2(&self) -> bool {
        self.pieces.concat().starts_with(b"PRI ")
    }

    /// The beginning, for a report.
    pub fn shown(&self) -> String {
        const SHOWN: usize = 160;
        let bytes = self.pieces.concat();
        let begin = wire::shown(&bytes[..bytes.len().min(SHOWN)]);
        format!("{} bytes in {} pieces: \"{begin}\"", bytes.len(), self.pieces.len())
    }
}

/// A request in its parts.
struct Parts {
    method: Vec<u8>,
    target: Vec<u8>,
    version: Vec<u8>,
    /// Lines without their ends.
    fields: Vec<Vec<u8>>,
    /// As it is on the wire.
    body: Vec<u8>,
    line_end: Vec<u8>,
}

fn request(rng: &mut Rng) -> Vec<u8> {
    let mut parts = valid(rng);
    for _ in 0..rng.usize(0..=MUTATIONS) {
        mutate(rng, &mut parts);
    }
    parts.to_bytes()
}

/// A request that each server answers.
fn valid(rng: &mut Rng) -> Parts {
    let gets: [&[u8]; 8] = [
        b"/",
        b"/healthz",
        b"/metrics",
        b"/ticks?count=3&interval_ms=0",
        b"/time",
        b"/tasks",
        b"/messages/t",
        b"/nope",
    ];
    let is_post = rng.bool();
    let method: &[u8] = match (is_post, rng.bool()) {
        (true, _) => b"POST",
        (false, true) => b"GET",
        (false, false) => pick(rng, &[b"GET", b"HEAD", b"OPTIONS"]),
    };
    let target: &[u8] = if is_post { b"/messages/t" } else { pick(rng, &gets) };
    let mut parts = Parts {
        method: method.to_vec(),
        target: target.to_vec(),
        version: b"HTTP/1.1".to_vec(),
        fields: vec![b"Host: localhost".to_vec()],
        body: Vec::new(),
        line_end: b"\r\n".to_vec(),
    };
    let message = vec![b'm'; rng.usize(1..200)];
    match (is_post, rng.bool()) {
        (true, true) => {
            parts.fields.push(format!("Content-Length: {}", message.len()).into_bytes());
            parts.body = message;
        }
        (true, false) => {
            parts.fields.push(b"Transfer-Encoding: chunked".to_vec());
            let size = format!("{:x}", message.len());
            parts.body = chunks(size.as_bytes(), &message, b"\r\n");
        }
        _ => {}
    }
    parts
}

fn chunks(size: &[u8], data: &[u8], line_end: &[u8]) -> Vec<u8> {
    [size, line_end, data, line_end, b"0", line_end, line_end].concat()
}

/// Makes one part wrong.
fn mutate(rng: &mut Rng, parts: &mut Parts) {
    match rng.u8(0..13) {
        0 => parts.method = pick(rng, METHODS).to_vec(),
        1 => parts.target = pick(rng, TARGETS).to_vec(),
        2 => parts.version = pick(rng, VERSIONS).to_vec(),
        3 => parts.fields[0] = [b"Host: ", pick(rng, HOSTS)].concat(),
        4 => parts.fields.push([b"Content-Length: ", pick(rng, LENGTHS)].concat()),
        5 => parts.fields.push([b"Transfer-Encoding: ", pick(rng, CODINGS)].concat()),
        6 => {
            parts.fields.push(b"Transfer-Encoding: chunked".to_vec());
            let line_end: &[u8] = if rng.bool() { b"\r\n" } else { pick(rng, LINE_ENDS) };
            parts.body = chunks(pick(rng, CHUNK_SIZES), b"hello", line_end);
        }
        7..10 => {
            let at = rng.usize(0..=parts.fields.len());
            parts.fields.insert(at, pick(rng, FIELDS).to_vec());
        }
        10 => parts.line_end = pick(rng, LINE_ENDS).to_vec(),
        11 => {
            let at = rng.usize(0..parts.fields.len());
            if rng.bool() {
                let twice = parts.fields[at].clone();
                parts.fields.insert(at, twice);
            } else if parts.fields.len() > 1 {
                parts.fields.remove(at);
            }
        }
        _ => enlarge(rng, parts),
    }
}

/// Makes one part larger than it may be.
fn enlarge(rng: &mut Rng, parts: &mut Parts) {
    match rng.u8(0..5) {
        0 => parts.target.extend(vec![b'a'; LONG_TARGET]),
        1 => parts.method = vec![b'M'; LONG_TARGET],
        2 => parts.fields.push([b"Long: ".to_vec(), vec![b'v'; LONG_FIELD]].concat()),
        3 => parts.fields.extend((0..200).map(|it| format!("Field-{it}: v").into_bytes())),
        _ => {
            parts.fields.retain(|it| !it.starts_with(b"Content-Length"));
            parts.fields.push(format!("Content-Length: {LONG_BODY}").into_bytes());
            parts.body = vec![b'b'; LONG_BODY];
        }
    }
}

impl Parts {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.method[..], &self.target, &self.version].join(&b' ');
        bytes.extend_from_slice(&self.line_end);
        for field in &self.fields {
            bytes.extend_from_slice(field);
            bytes.extend_from_slice(&self.line_end);
        }
        bytes.extend_from_slice(&self.line_end);
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Makes some bytes wrong, wherever they stand.
fn mutate_bytes(rng: &mut Rng, bytes: &mut Vec<u8>) {
    // Mostly where the parts are, and not in the middle of a long filler.
    let reach = bytes.len().min(if rng.bool() { 300 } else { usize::MAX });
    let at = rng.usize(0..=reach);
    match rng.u8(0..5) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, BYTES[rng.usize(0..BYTES.len())]),
        2 => bytes.iter_mut().skip(at).take(1).for_each(|it| *it ^= 1 << rng.u8(0..8)),
        3 => {
            let end = (at + rng.usize(0..60)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        _ => {
            let end = (at + rng.usize(0..20)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
}

/// Cuts the bytes into pieces: mostly one or two, sometimes many.
fn cut(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<Vec<u8>> {
    let cuts = match rng.u8(0..8) {
        0..4 => 0,
        4..7 => rng.usize(1..3),
        _ => rng.usize(3..20),
    };
    let mut pieces = Vec::new();
    for _ in 0..cuts {
        let rest = bytes.split_off(rng.usize(0..=bytes.len().min(300)));
        pieces.push(std::mem::replace(&mut bytes, rest));
    }
    pieces.push(bytes);
    pieces
}

fn pick<'t>(rng: &mut Rng, table: &[&'t [u8]]) -> &'t [u8] {
    table[rng.usize(0..table.len())]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_and_a_number_give_the_same_request_again_and_others_differ() {
        let bytes = |seed, number| Attempt::new(seed, number).pieces;
        assert_eq!(bytes(7, 9), bytes(7, 9));
        let all: HashSet<_> = (0..1000).flat_map(|it| [bytes(7, it), bytes(8, it)]).collect();
        assert!(all.len() > 1800, "{} of 2000 differ", all.len());
    }

    /// Each table is used, and the ends and lengths that are rare come at all.
    #[test]
    fn every_kind_of_mutation_comes_within_the_short_size() {
        let attempts: Vec<_> = (0..3000).map(|number| Attempt::new(1, number)).collect();
        let all: Vec<_> = attempts.iter().map(|it| it.pieces.concat()).collect();
        let tables =
            [METHODS, TARGETS, VERSIONS, HOSTS, LENGTHS, CODINGS, CHUNK_SIZES, FIELDS, PROTOCOLS];
        for word in tables.iter().flat_map(|it| it.iter()).filter(|it| it.len() > 3) {
            let is_there = all.iter().any(|it| memchr::memmem::find(it, word).is_some());
            assert!(is_there, "{}", word.escape_ascii());
        }
        for end in ["HalfClose", "Open", "Reset"] {
            assert!(attempts.iter().any(|it| format!("{:?}", it.end) == end), "{end}");
        }
        assert!(all.iter().any(Vec::is_empty) || all.iter().any(|it| it.len() < 20));
        assert!(all.iter().any(|it| it.len() > LONG_BODY));
        assert!(attempts.iter().any(|it| it.pieces.len() > 10));
    }
}
