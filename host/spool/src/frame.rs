//! How a record lies in a segment: a header of 28 octets, then its octets. Numbers are little-endian.
//!
//! | octets | what |
//! |---|---|
//! | 0–3 | mark |
//! | 4–7 | kind: 1 result, 2 acknowledgement |
//! | 8–11 | octets of the body; an acknowledgement has none |
//! | 12–19 | sequence number of the result |
//! | 20–23 | CRC-32 of the body |
//! | 24–27 | CRC-32 of the salt and octets 0–23 |

/// Begins every frame; what a search after damage looks for.
const MARK: [u8; 4] = *b"\xA5snd";
/// Octets before the body.
pub(crate) const HEADER_OCTETS: usize = 28;

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Result,
    Acknowledgement,
}

/// A frame whose checksums are right, without its body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) sequence: u64,
    /// Octets of the body.
    pub(crate) length: usize,
}

impl Frame {
    /// Header and body.
    pub(crate) fn octets(&self) -> usize {
        HEADER_OCTETS + self.length
    }
}

/// Appends a frame to `out`. `body` is at most [`crate::RECORD_LIMIT_OCTETS`] long.
pub(crate) fn emit(out: &mut Vec<u8>, salt: u32, kind: Kind, sequence: u64, body: &[u8]) {
    let begin = out.len();
    let number: u32 = match kind {
        Kind::Result => 1,
        Kind::Acknowledgement => 2,
    };
    out.extend(MARK);
    out.extend(number.to_le_bytes());
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend(crc32fast::hash(body).to_le_bytes());
    let check = salted(salt, &out[begin..]);
    out.extend(check.to_le_bytes());
    out.extend_from_slice(body);
}

/// The frame at the beginning of `octets`, and its body; `None` where there is none that is whole.
pub(crate) fn parse(octets: &[u8], salt: u32) -> Option<(Frame, &[u8])> {
    let (header, rest) = octets.split_first_chunk::<HEADER_OCTETS>()?;
    let number = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if header[..4] != MARK || salted(salt, &header[..24]) != number(24) {
        return None;
    }
    let kind = match number(4) {
        1 => Kind::Result,
        2 => Kind::Acknowledgement,
        _ => return None,
    };
    let length = usize::try_from(number(8)).ok()?;
    let body = rest.get(..length)?;
    let sequence = u64::from(number(12)) | u64::from(number(16)) << 32;
    (crc32fast::hash(body) == number(20)).then_some((Frame { kind, sequence, length }, body))
}

/// Where the next frame could begin, behind the first octet.
pub(crate) fn next_mark(octets: &[u8]) -> Option<usize> {
    octets.windows(MARK.len()).skip(1).position(|window| window == MARK).map(|index| index + 1)
}

fn salted(salt: u32, octets: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(octets);
    hasher.finalize()
}
