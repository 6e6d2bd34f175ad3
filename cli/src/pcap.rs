//! `--pcap FILE`: probes and what belongs to them, in the file format of libpcap.
//!
//! Source: draft-ietf-opsawg-pcap, with nanoseconds; packets begin with their IP header (LINKTYPE_RAW).

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sonde_host::Tap;

use crate::{Stop, console::complain, outputs};

/// Times in nanoseconds, numbers as this machine has them.
const MAGIC: u32 = 0xa1b2_3c4d;
/// Larger than any packet.
const SNAPSHOT: u32 = 262_144;
const LINKTYPE_RAW: u32 = 101;

/// Opens a file and gives what writes packets to it, and what begins it and tells how that went; the rest is written when
/// the first is dropped.
pub(crate) fn tap(path: &Path) -> Result<(Tap, Head), Stop> {
    let name = path.display().to_string();
    let file = outputs::open(path)?;
    let own = file.try_clone().map_err(Stop::usage)?;
    let is_cut = Arc::<AtomicBool>::default();
    let head = Head { file, name: name.clone(), is_cut: Arc::clone(&is_cut) };
    let out = BufWriter::with_capacity(1 << 16, own);
    let mut recording = Recording { out, name, is_cut };
    let tap = Box::new(move |wall_ns, packet: &[u8]| {
        recording.put(|out| record(out, wall_ns, packet));
    });
    Ok((tap, head))
}

/// The head of a recording.
pub(crate) struct Head {
    file: File,
    name: String,
    is_cut: Arc<AtomicBool>,
}

impl Head {
    /// Writes it in the place of what the file holds; before the first packet.
    pub(crate) fn begin(&mut self) -> Result<(), Stop> {
        let begun = outputs::empty(&self.file).and_then(|()| begin(&mut self.file));
        begun.map_err(|cause| Stop::lost(format!("{}: {cause}", self.name)))
    }

    /// The end of the recording could not be written.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }
}

/// A file that packets are written to.
struct Recording {
    out: BufWriter<File>,
    name: String,
    is_cut: Arc<AtomicBool>,
}

impl Recording {
    fn put(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if self.is_cut.load(Ordering::Relaxed) {
            return;
        }
        if let Err(cause) = write(&mut self.out) {
            self.is_cut.store(true, Ordering::Relaxed);
            complain!("{}: {cause}; the end of the recording is missing", self.name);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.put(Write::flush);
    }
}

fn begin(out: &mut impl Write) -> io::Result<()> {
    let mut head = MAGIC.to_ne_bytes().to_vec();
    head.extend([2_u16, 4].into_iter().flat_map(u16::to_ne_bytes));
    head.extend([0, 0, SNAPSHOT, LINKTYPE_RAW].into_iter().flat_map(u32::to_ne_bytes));
    out.write_all(&head)
}

fn record(out: &mut impl Write, wall_ns: u64, packet: &[u8]) -> io::Result<()> {
    let (seconds, rest) = (wall_ns / 1_000_000_000, wall_ns % 1_000_000_000);
    let octets = packet.len() as u32;
    for word in [seconds as u32, rest as u32, octets, octets] {
        out.write_all(&word.to_ne_bytes())?;
    }
    out.write_all(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_time_to_the_nanosecond_and_its_length_twice() {
        let mut out = Vec::new();
        begin(&mut out).unwrap();
        assert_eq!(out.len(), 24);
        record(&mut out, 1_700_000_000_000_000_007, &[0x45, 1, 2]).unwrap();
        let word = |at: usize| u32::from_ne_bytes(out[at..at + 4].try_into().unwrap());
        assert_eq!([word(24), word(28), word(32), word(36)], [1_700_000_000, 7, 3, 3]);
        assert_eq!(out[40..], [0x45, 1, 2]);
    }
}
