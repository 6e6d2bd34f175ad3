//! Whether a file can be a plugin for this machine, seen without loading any of it.
//!
//! The dynamic linker maps what a header claims and dies with a bus error where the file ends
//! early; so what it will map is checked against what there is.
//!
//! Source: System V Application Binary Interface, chapters 4 and 5 (ELF-64).

/// `e_machine` of this build.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else if cfg!(target_arch = "riscv64") {
    243
} else {
    0
};
const HEADER_OCTETS: usize = 64;
const PROGRAM_HEADER_OCTETS: usize = 56;
const TYPE_SHARED: u16 = 3;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_DYNAMIC: u32 = 2;
const SEGMENT_INTERPRETER: u32 = 3;
/// No plugin needs more address space than this for its code and static data.
const MAX_SEGMENT_OCTETS: u64 = 1 << 30;

/// Says in a few words why `image` cannot be loaded.
pub(crate) fn check(image: &[u8]) -> Result<(), String> {
    if image.is_empty() {
        return Err("it is empty".into());
    }
    if image.get(..4) != Some(b"\x7fELF") {
        return Err("it is not an ELF file".into());
    }
    if image.len() < HEADER_OCTETS {
        return Err("its ELF header is cut off".into());
    }
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    let [class, data] = [image[4], image[5]];
    if class != 2 || data != order {
        return Err("it is for a machine with another word size or byte order".into());
    }
    let machine = u16_at(image, 18)?;
    if machine != MACHINE {
        return Err(format!("it is for machine type {machine}, this is {MACHINE}"));
    }
    if u16_at(image, 16)? != TYPE_SHARED {
        return Err("it is an object file or a program".into());
    }
    segments(image)?;
    sections_are_there(image)
}

fn segments(image: &[u8]) -> Result<(), String> {
    let table = u64_at(image, 32)?;
    let entry_octets = u16_at(image, 54)?;
    let entries = u16_at(image, 56)?;
    if usize::from(entry_octets) != PROGRAM_HEADER_OCTETS {
        return Err(format!("its program headers have {entry_octets} octets instead of 56"));
    }
    let mut loaded = 0;
    let mut dynamic = false;
    for index in 0..u64::from(entries) {
        let at = table
            .checked_add(index * PROGRAM_HEADER_OCTETS as u64)
            .and_then(|at| usize::try_from(at).ok())
            .ok_or("its program headers are out of range")?;
        let (offset, in_file, in_memory) = (
            u64_at(image, at.saturating_add(8))?,
            u64_at(image, at + 32)?,
            u64_at(image, at + 40)?,
        );
        match u32_at(image, at)? {
            SEGMENT_LOAD => {
                loaded += 1;
                let end = offset.checked_add(in_file).ok_or("a segment is out of range")?;
                if end > image.len() as u64 {
                    return Err(truncated(image, end));
                }
                if in_memory > MAX_SEGMENT_OCTETS {
                    return Err(format!("a segment of it wants {in_memory} octets of memory"));
                }
            }
            SEGMENT_DYNAMIC => dynamic = true,
            SEGMENT_INTERPRETER => return Err("it is a program".into()),
            _ => {}
        }
    }
    if loaded == 0 || !dynamic {
        return Err("it has nothing to load".into());
    }
    Ok(())
}

/// The section table is last in most files and not loaded; where it is missing the file was cut.
fn sections_are_there(image: &[u8]) -> Result<(), String> {
    let table = u64_at(image, 40)?;
    let octets = u64::from(u16_at(image, 58)?) * u64::from(u16_at(image, 60)?);
    match table.checked_add(octets) {
        Some(end) if table == 0 || end <= image.len() as u64 => Ok(()),
        end => Err(truncated(image, end.unwrap_or(u64::MAX))),
    }
}

fn truncated(image: &[u8], end: u64) -> String {
    format!("it is cut off: it has {} octets and should have at least {end}", image.len())
}

fn bytes_at<const N: usize>(image: &[u8], at: usize) -> Result<[u8; N], String> {
    at.checked_add(N)
        .and_then(|end| image.get(at..end))
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| truncated(image, (at as u64).saturating_add(N as u64)))
}

fn u16_at(image: &[u8], at: usize) -> Result<u16, String> {
    bytes_at(image, at).map(u16::from_ne_bytes)
}

fn u32_at(image: &[u8], at: usize) -> Result<u32, String> {
    bytes_at(image, at).map(u32::from_ne_bytes)
}

fn u64_at(image: &[u8], at: usize) -> Result<u64, String> {
    bytes_at(image, at).map(u64::from_ne_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One loaded and one dynamic segment in `octets` octets.
    pub(crate) fn library(octets: usize) -> Vec<u8> {
        let mut image = vec![0; octets.max(HEADER_OCTETS + 2 * PROGRAM_HEADER_OCTETS)];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[16..18].copy_from_slice(&TYPE_SHARED.to_ne_bytes());
        image[18..20].copy_from_slice(&MACHINE.to_ne_bytes());
        image[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        image[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        image[56..58].copy_from_slice(&2_u16.to_ne_bytes());
        image[64..68].copy_from_slice(&SEGMENT_LOAD.to_ne_bytes());
        image[96..104].copy_from_slice(&(octets as u64).to_ne_bytes());
        image[120..124].copy_from_slice(&SEGMENT_DYNAMIC.to_ne_bytes());
        image
    }

    #[test]
    fn whole_library_is_let_through_and_a_cut_one_is_not() {
        assert_eq!(check(&library(400)), Ok(()));
        assert_eq!(
            check(&library(400)[..399]),
            Err("it is cut off: it has 399 octets and should have at least 400".into())
        );
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        assert_eq!(check(b""), Err("it is empty".into()));
        assert_eq!(check(b"#!/bin/sh\n"), Err("it is not an ELF file".into()));
        assert_eq!(check(b"\x7fELF\x02"), Err("its ELF header is cut off".into()));
        let mut other = library(400);
        other[18] = 8;
        assert_eq!(check(&other), Err(format!("it is for machine type 8, this is {MACHINE}")));
        let mut object = library(400);
        object[16] = 1;
        assert_eq!(check(&object), Err("it is an object file or a program".into()));
        let mut program = library(400);
        program[120] = 3;
        assert_eq!(check(&program), Err("it is a program".into()));
    }

    #[test]
    fn own_test_program_is_no_library() {
        let image = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check(&image), Err("it is a program".into()));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(
            noise in proptest::collection::vec((0..184_usize, any::<u8>()), 0..24),
            length in 0..400_usize,
        ) {
            let mut image = library(400);
            for (at, value) in noise {
                image[at] = value;
            }
            let _ = check(&image[..length]);
        }
    }
}
