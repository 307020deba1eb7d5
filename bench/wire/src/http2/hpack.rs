//! Header blocks of HTTP/2 (RFC 7541), decoded strictly, and encoded as plainly as can be.

use std::collections::VecDeque;

/// A field: name and value, as they were sent.
pub type Field = (Vec<u8>, Vec<u8>);

/// The table that a peer may use, in bytes as RFC 7541 4.1 counts them: the initial value.
const TABLE_BYTES: usize = 4096;
/// The cost of an entry beside its text.
const ENTRY_BYTES: usize = 32;
/// More fields in a block than any answer has.
const FIELDS_LIMIT: usize = 1000;

/// RFC 7541, appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""),
    ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""),
    ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""),
    ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""),
    ("retry-after", ""), ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""),
    ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

/// How many bits the code of each byte has, and last that of the end of a text (RFC 7541, appendix B). The code
/// is canonical: shorter ones first, then by value, each one more than the one before.
#[rustfmt::skip]
const CODE_BITS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
const LONGEST_CODE: usize = 30;

/// Decodes the header blocks of one direction of a connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    /// The newest entry first.
    table: VecDeque<Field>,
    bytes: usize,
    max_bytes: usize,
    huffman: Huffman,
}

impl Decoder {
    /// A decoder with an empty table.
    pub fn new() -> Decoder {
        let (table, huffman) = (VecDeque::new(), Huffman::new());
        Decoder { table, bytes: 0, max_bytes: TABLE_BYTES, huffman }
    }

    /// The fields of one block.
    ///
    /// # Errors
    /// Words for the rule of RFC 7541 that it breaks.
    pub fn decode(&mut self, mut block: &[u8]) -> Result<Vec<Field>, String> {
        let input = &mut block;
        let mut fields = Vec::new();
        while let Some(&first) = input.first() {
            if fields.len() == FIELDS_LIMIT {
                return Err(format!("a header block of more than {FIELDS_LIMIT} fields"));
            }
            if first & 0x80 != 0 {
                let index = integer(input, 7)?;
                fields.push(self.entry(index)?);
            } else if first & 0xe0 == 0x20 {
                self.resize(integer(input, 5)?)?;
            } else {
                let is_kept = first & 0x40 != 0;
                let name = match integer(input, if is_kept { 6 } else { 4 })? {
                    0 => self.text(input)?,
                    index => self.entry(index)?.0,
                };
                let field = (name, self.text(input)?);
                if is_kept {
                    self.keep(field.clone());
                }
                fields.push(field);
            }
        }
        Ok(fields)
    }

    fn entry(&self, index: usize) -> Result<Field, String> {
        let at = index.checked_sub(1).ok_or("a header field with index 0")?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        let field = self.table.get(at - STATIC.len()).cloned();
        field.ok_or_else(|| format!("header index {index}, beyond the table"))
    }

    fn keep(&mut self, field: Field) {
        self.bytes += size(&field);
        self.table.push_front(field);
        self.evict();
    }

    fn resize(&mut self, max_bytes: usize) -> Result<(), String> {
        if max_bytes > TABLE_BYTES {
            return Err(format!("a header table of {max_bytes} bytes, more than was offered"));
        }
        self.max_bytes = max_bytes;
        self.evict();
        Ok(())
    }

    fn evict(&mut self) {
        while self.bytes > self.max_bytes {
            let Some(oldest) = self.table.pop_back() else { break };
            self.bytes -= size(&oldest);
        }
    }

    fn text(&self, input: &mut &[u8]) -> Result<Vec<u8>, String> {
        let is_coded = input.first().ok_or("a header block that ends early")? & 0x80 != 0;
        let length = integer(input, 7)?;
        let text = input.split_off(..length).ok_or("a header block that ends within a text")?;
        if is_coded { self.huffman.decode(text) } else { Ok(text.to_vec()) }
    }
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

/// A block of these fields: each a literal that no table keeps, no text coded.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: impl IntoIterator<Item = (N, V)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            push_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

fn size((name, value): &Field) -> usize {
    name.len() + value.len() + ENTRY_BYTES
}

/// RFC 7541, 5.1: an integer whose first bits share a byte with others.
fn integer(input: &mut &[u8], bits: u32) -> Result<usize, String> {
    let early = "a header block that ends within a number";
    let mask = (1 << bits) - 1;
    let mut value = usize::from(*input.split_off_first().ok_or(early)?) & mask;
    if value < mask {
        return Ok(value);
    }
    // Four further bytes are 28 bits: more than any length that is taken.
    for shift in [0, 7, 14, 21] {
        let byte = usize::from(*input.split_off_first().ok_or(early)?);
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number in a header block that is too large".to_owned())
}

fn push_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(0x7f) else {
        block.push(u8::try_from(length).unwrap_or(0x7f));
        return;
    };
    block.push(0x7f);
    while rest >= 0x80 {
        block.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    block.push(u8::try_from(rest).unwrap_or_default());
}

/// The decoder of a canonical code: for each length the first code, and the symbols from there on.
#[derive(Debug)]
struct Huffman {
    symbols: Vec<usize>,
    /// For each length: its first code, where its symbols begin, and how many there are.
    lengths: [(u32, usize, usize); LONGEST_CODE + 1],
}

impl Huffman {
    fn new() -> Huffman {
        let mut symbols: Vec<usize> = (0..CODE_BITS.len()).collect();
        symbols.sort_by_key(|&symbol| CODE_BITS[symbol]);
        let mut lengths = [(0, 0, 0); LONGEST_CODE + 1];
        let (mut code, mut begin) = (0, 0);
        for (length, row) in lengths.iter_mut().enumerate() {
            let count = CODE_BITS.iter().filter(|&&bits| usize::from(bits) == length).count();
            code <<= 1;
            *row = (code, begin, count);
            code += u32::try_from(count).unwrap_or_default();
            begin += count;
        }
        Huffman { symbols, lengths }
    }

    fn decode(&self, coded: &[u8]) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        let (mut code, mut length) = (0_u32, 0);
        for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
            code = code << 1 | u32::from(bit);
            length += 1;
            let (first, begin, count) = self.lengths[length];
            let at = code.wrapping_sub(first) as usize;
            if code >= first && at < count {
                let symbol = self.symbols[begin + at];
                let byte = u8::try_from(symbol).map_err(|_| "the end of a text within it")?;
                text.push(byte);
                (code, length) = (0, 0);
            }
        }
        // The rest of the last byte begins the code of the end, which is ones alone.
        let is_padding = length < 8 && code == (1 << length) - 1;
        if is_padding { Ok(text) } else { Err("a coded text with a wrong end".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    fn shown(fields: &[Field]) -> String {
        let line =
            |(name, value): &Field| format!("{}={}", name.escape_ascii(), value.escape_ascii());
        fields.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    /// RFC 7541, C.6: three answers on one connection, with a table of 256 bytes that evicts.
    #[test]
    fn the_examples_of_the_standard_decode() {
        let mut decoder = Decoder::new();
        decoder.resize(256).unwrap();
        let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b \
                     ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
        let fields = decoder.decode(&bytes(first)).unwrap();
        assert_eq!(
            shown(&fields),
            ":status=302 cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT \
             location=https://www.example.com"
        );
        let fields = decoder.decode(&bytes("4883 640e ffc1 c0bf")).unwrap();
        assert!(shown(&fields).starts_with(":status=307 cache-control=private date=Mon, 21 Oct"));
        let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad \
                     94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 \
                     65c0 03ed 4ee5 b106 3d50 07";
        let fields = decoder.decode(&bytes(third)).unwrap();
        assert!(shown(&fields).ends_with(
            "content-encoding=gzip set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
        ));
        assert_eq!(decoder.bytes, 215);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let long = "x".repeat(100_000);
        let fields = [(":status", "200"), ("a", ""), ("long", &long)];
        let decoded = Decoder::new().decode(&encode(fields)).unwrap();
        let back: Vec<_> = decoded.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        let expected = fields.map(|(a, b)| (a.as_bytes(), b.as_bytes()));
        assert_eq!(back, expected);
    }

    #[test]
    fn broken_blocks_are_refused() {
        for hex in [
            "80",
            "bf",
            "ff",
            "ffffffffff7f",
            "00",
            "0001",
            "00016101",
            "3fe2ff03",
            "000161 8101",
            "0001 61 84ffffffff",
        ] {
            assert!(Decoder::new().decode(&bytes(hex)).is_err(), "{hex}");
        }
    }
}
