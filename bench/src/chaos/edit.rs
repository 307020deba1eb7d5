//! Faults that are planted into the bytes of a stream, between two whole events: so the ledger is seen to find them.

/// A fault for the next whole event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not come.
    Swallow,
    /// It comes twice.
    Repeat,
}

/// An answer on its way from a node to a client, in the chunked coding.
#[derive(Debug, Default)]
pub(super) struct Editor {
    waiting: Vec<u8>,
    has_head: bool,
    /// The last chunk ended in the middle of an event.
    is_inside: bool,
}

impl Editor {
    /// The bytes to pass on, of those that came; `faults` are done to the next whole events.
    pub(super) fn pass(&mut self, piece: &[u8], faults: &mut Vec<Fault>) -> Vec<u8> {
        self.waiting.extend_from_slice(piece);
        let mut out = Vec::new();
        if !self.has_head {
            let Some(end) = memchr::memmem::find(&self.waiting, b"\r\n\r\n") else { return out };
            self.has_head = true;
            out.extend(self.waiting.drain(..end + 4));
        }
        while let Some((start, end)) = chunk(&self.waiting) {
            let whole: Vec<u8> = self.waiting.drain(..end + 2).collect();
            let data = &whole[start..end];
            match self.edited(data, faults) {
                Some(edited) if edited.is_empty() => {}
                Some(edited) => {
                    out.extend_from_slice(format!("{:x}\r\n", edited.len()).as_bytes());
                    out.extend_from_slice(&edited);
                    out.extend_from_slice(b"\r\n");
                }
                None => out.extend_from_slice(&whole),
            }
        }
        out
    }

    /// The data of a chunk with the first fault in it; nothing if there is no fault, or no place for it.
    fn edited(&mut self, data: &[u8], faults: &mut Vec<Fault>) -> Option<Vec<u8>> {
        let was_inside = std::mem::replace(&mut self.is_inside, !data.ends_with(b"\n\n"));
        let end = memchr::memmem::find(data, b"\n\n").map(|it| it + 2)?;
        let (event, rest) = data.split_at(end);
        let is_message = memchr::memmem::find(event, b"data:").is_some();
        if was_inside || !is_message || faults.is_empty() {
            return None;
        }
        match faults.remove(0) {
            Fault::Swallow => Some(rest.to_vec()),
            Fault::Repeat => Some([event, event, rest].concat()),
        }
    }
}

/// The range of the data of the first chunk, if that is whole.
fn chunk(bytes: &[u8]) -> Option<(usize, usize)> {
    let line = memchr::memmem::find(bytes, b"\r\n")?;
    let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?, 16).ok()?;
    let (start, end) = (line + 2, line + 2 + size);
    (bytes.len() >= end + 2).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

    fn chunked(events: &[&str]) -> String {
        events.iter().map(|it| format!("{:x}\r\n{it}\r\n", it.len())).collect()
    }

    /// The output for this input, in pieces of each size.
    fn passed(input: &str, faults: &[Fault]) -> (String, usize) {
        let outputs = [1, 7, 1000].map(|size| {
            let (mut editor, mut faults) = (Editor::default(), faults.to_vec());
            let pieces = input.as_bytes().chunks(size);
            let out: Vec<u8> = pieces.flat_map(|it| editor.pass(it, &mut faults)).collect();
            (String::from_utf8(out).unwrap(), faults.len())
        });
        assert!(outputs.iter().all(|it| *it == outputs[0]), "{outputs:?}");
        outputs[0].clone()
    }

    #[test]
    fn without_a_fault_the_bytes_are_the_same() {
        let input = format!("{HEAD}{}", chunked(&["data: a\n\n", ": \n\n", "data: b\n", "\n"]));
        assert_eq!(passed(&input, &[]), (input, 0));
    }

    #[test]
    fn a_whole_event_is_swallowed_or_repeated_and_the_framing_stays_right() {
        let (a, b) = ("id: 1\ndata: a\n\n", "id: 2\ndata: b\n\n");
        let two = format!("{a}{b}");
        for (chunks, fault, expected) in [
            (vec![a, b], Fault::Swallow, vec![b]),
            (vec![&two], Fault::Swallow, vec![b]),
            (vec![": \n\n", a], Fault::Swallow, vec![": \n\n"]),
            // The end of an event, then a whole one.
            (
                vec!["id: 0\n", "data: x\n\n", a, b],
                Fault::Swallow,
                vec!["id: 0\n", "data: x\n\n", b],
            ),
            (vec![b], Fault::Repeat, vec!["id: 2\ndata: b\n\nid: 2\ndata: b\n\n"]),
        ] {
            let input = format!("{HEAD}{}", chunked(&chunks));
            let output = format!("{HEAD}{}", chunked(&expected));
            assert_eq!(passed(&input, &[fault]), (output, 0), "{chunks:?}");
        }
        let comment = format!("{HEAD}{}", chunked(&[": \n\n"]));
        assert_eq!(passed(&comment, &[Fault::Swallow]), (comment, 1));
    }
}
