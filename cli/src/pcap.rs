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

use crate::{Stop, console::complain};

/// Times in nanoseconds, numbers as this machine has them.
const MAGIC: u32 = 0xa1b2_3c4d;
/// Larger than any packet.
const SNAPSHOT: u32 = 262_144;
const LINKTYPE_RAW: u32 = 101;

/// Begins a file and gives what writes to it, and what tells how that went; the rest is written when the first is
/// dropped.
pub(crate) fn tap(path: &Path) -> Result<(Tap, Outcome), Stop> {
    let name = path.display().to_string();
    let fail = |cause: io::Error| Stop::usage(format!("{name}: {cause}"));
    let mut out = BufWriter::with_capacity(1 << 16, File::create(path).map_err(fail)?);
    let begun = begin(&mut out).and_then(|()| out.flush());
    begun.map_err(|cause| Stop::lost(format!("{name}: {cause}")))?;
    let outcome = Outcome::default();
    let mut recording = Recording { out, name, outcome: outcome.clone() };
    let tap = Box::new(move |wall_ns, packet: &[u8]| {
        recording.put(|out| record(out, wall_ns, packet));
    });
    Ok((tap, outcome))
}

/// How a recording went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome(Arc<AtomicBool>);

impl Outcome {
    /// Its end could not be written.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A file that packets are written to.
struct Recording {
    out: BufWriter<File>,
    name: String,
    outcome: Outcome,
}

impl Recording {
    fn put(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if self.outcome.is_cut() {
            return;
        }
        if let Err(cause) = write(&mut self.out) {
            self.outcome.0.store(true, Ordering::Relaxed);
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
    out.write_all(&MAGIC.to_ne_bytes())?;
    out.write_all(&2_u16.to_ne_bytes())?;
    out.write_all(&4_u16.to_ne_bytes())?;
    for word in [0, 0, SNAPSHOT, LINKTYPE_RAW] {
        out.write_all(&word.to_ne_bytes())?;
    }
    Ok(())
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
