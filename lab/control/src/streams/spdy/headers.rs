//! Header blocks: name and value pairs, deflated over the whole connection with a dictionary both sides know.

use std::collections::HashMap;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// How far back a deflated text may refer.
const REACH: usize = 32 << 10;
/// Room for one block; a larger one ends the connection.
const ROOM: usize = 256 << 10;

/// The inflating half of a connection.
pub struct Inflate {
    state: Box<DecompressorOxide>,
    /// What has been inflated lately, the dictionary first, then room.
    text: Vec<u8>,
    at: usize,
    begun: bool,
}

// === impl Inflate ===

impl Inflate {
    /// Nothing read yet.
    pub fn new() -> Self {
        let mut text = vec![0; REACH + ROOM];
        let dictionary = super::dictionary::bytes();
        text[..dictionary.len()].copy_from_slice(&dictionary);
        Self { state: Box::default(), text, at: dictionary.len(), begun: false }
    }

    /// The headers of the next block; `None` when it makes no sense.
    pub fn block(&mut self, mut b: &[u8]) -> Option<HashMap<String, String>> {
        if !self.begun {
            // zlib: method and flags, then (flag 0x20) the checksum of the dictionary.
            let head = *b.first_chunk::<2>()?;
            b = b.get(if head[1] & 0x20 == 0 { 2 } else { 6 }..)?;
            self.begun = true;
        }
        if self.at > REACH {
            self.text.copy_within(self.at - REACH..self.at, 0);
            self.at = REACH;
        }
        let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT
            | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let from = self.at;
        let (status, read, written) = decompress(&mut self.state, b, &mut self.text, from, flags);
        let good = matches!(status, TINFLStatus::NeedsMoreInput | TINFLStatus::Done) && read == b.len();
        self.at += written;
        if good { pairs(&self.text[from..self.at]) } else { None }
    }
}

fn pairs(b: &[u8]) -> Option<HashMap<String, String>> {
    fn number(b: &mut &[u8]) -> Option<usize> {
        let (head, rest) = b.split_first_chunk::<4>()?;
        *b = rest;
        usize::try_from(u32::from_be_bytes(*head)).ok()
    }
    fn word(b: &mut &[u8]) -> Option<String> {
        let n = number(b)?;
        let (head, rest) = b.split_at_checked(n)?;
        *b = rest;
        Some(String::from_utf8_lossy(head).into_owned())
    }
    let mut b = b;
    let n = number(&mut b)?;
    let mut out = HashMap::new();
    for _ in 0..n {
        let (k, v) = (word(&mut b)?.to_lowercase(), word(&mut b)?);
        out.insert(k, v);
    }
    Some(out)
}

/// A block without headers, the only kind we send: a stored, not final deflate block of four zero bytes, which is the
/// number of pairs, and an empty one, at which an inflater gives out what it has. Before the first block of a connection stands the zlib header.
pub fn empty(first: bool) -> &'static [u8] {
    const BLOCKS: &[u8] = &[0x78, 0x01, 0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    if first { BLOCKS } else { &BLOCKS[2..] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_each_other() {
        // A zlib header that names the dictionary stands before the first block only.
        let mut i = Inflate::new();
        let stored = |pairs: &[u8]| {
            let n = u16::try_from(pairs.len()).expect("short");
            let mut b = vec![0x00];
            b.extend_from_slice(&n.to_le_bytes());
            b.extend_from_slice(&(!n).to_le_bytes());
            b.extend_from_slice(pairs);
            b
        };
        let text = b"\0\0\0\x01\0\0\0\nStreamType\0\0\0\x05error";
        let mut first = vec![0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
        first.extend(stored(text));
        assert_eq!(i.block(&first).expect("headers")["streamtype"], "error");
        assert_eq!(i.block(&stored(text)).expect("headers")["streamtype"], "error");
        assert_eq!(i.block(&[0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn lengths_that_lie() {
        assert_eq!(pairs(b"\0\0\0\x01\xff\xff\xff\xff"), None);
        assert_eq!(pairs(b"\xff\xff\xff\xff"), None);
        assert_eq!(pairs(b"\0\0"), None);
        assert_eq!(pairs(b"\0\0\0\0"), Some(HashMap::new()));
    }
}
