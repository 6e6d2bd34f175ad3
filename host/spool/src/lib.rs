//! Results on disk: an append-only log that survives kills, power cuts and full volumes.
//!
//! A record counts when [`Spool::commit`] has returned, and is delivered, oldest first, until it is
//! acknowledged. What the octets of a record mean is not known here, nor who fetches them.
//!
//! * **Segments.** Records are appended to segment files of bounded size. A segment goes when
//!   everything in it is acknowledged and no older one is left: acknowledgements stand in the log
//!   too, always behind their record, so an older segment may need a younger one. Where half of the log is
//!   acknowledged, what waits in its oldest segment is copied behind everything else.
//! * **Group commit.** Any number of records are appended, then one `fdatasync` makes all of them
//!   count. Where it fails the segment is given up and the records are written to another: after a
//!   failed sync nobody knows what of a file is on disk.
//! * **Damage.** Every record has its own checksums. What does not match is skipped up to the next
//!   record that does, and reported. The checksums are salted with a number in the file's name, so
//!   no record can contain octets that would be taken for another one.
//! * **Full.** Policy: results that are there are never thrown away for new ones. A record that does
//!   not fit below the cap, or on the volume, is refused; as soon as there is room again, the next
//!   one is accepted. Acknowledging needs no room.
//!
//! Delivery is at least once: a power cut between the receiver's acknowledgement and the next commit
//! brings a record back; its receiver knows it by its token.

mod disk;
mod error;
mod frame;
mod recovery;
mod segment;
mod spool;
#[cfg(test)]
mod tests;

pub use disk::{Disk, Folder};
pub use error::{AppendError, CommitError, OpenError, ReadError};
pub use recovery::{Damage, Recovery};
pub use spool::{Options, RECORD_LIMIT_OCTETS, Spool};
