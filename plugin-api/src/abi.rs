//! The binary interface between a host and a plugin: plain data and one object.
//!
//! One [`Instance`] per plugin and engine thread takes a batch of [`Event`]s and returns a batch of
//! [`Action`]s. Nothing else crosses, so the same file runs in the engine's thread or in a process
//! of its own. Method authors never see this module; its rules are in `docs/plugin-abi.md`.
//!
//! Frozen per major version: the plain structs, to the last field. Open: kinds, flag bits, members
//! of the descriptor, methods at the end of [`Instance`], fields at the end of [`Plugin`].
#![allow(unsafe_code)] // the derives of abi_stable implement unsafe traits
#![allow(non_local_definitions)] // sabi_trait expands to impls inside a const
#![allow(missing_docs)] // set again below for what is written by hand

use std::sync::atomic::AtomicU32;

use abi_stable::{
    StableAbi, declare_root_module_statics,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, RResult, RSlice, RStr, RString, RVec},
};

/// An integer with named values: an unknown value is data, never undefined behaviour.
macro_rules! open_enum {
    ($(#[$meta:meta])* $name:ident : $repr:ty { $($(#[$value_meta:meta])* $value:ident = $number:expr,)* }) => {
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, StableAbi)]
        pub struct $name(pub $repr);

        #[allow(non_upper_case_globals)]
        impl $name {
            $($(#[$value_meta])* pub const $value: Self = Self($number);)*
        }
    };
}

open_enum!(
    /// What happened to a task.
    EventKind: u8 {
        /// A measurement begins. `aux` is the method's index in the descriptor, `sent` a random
        /// seed, the payload the parameters in declared order.
        Start = 1,
        /// Answer to `OpenFlow`, same `token`. `flow` is the new flow and the payload a
        /// [`FlowInfo`]; or `code` is an errno and the payload the reason in words.
        FlowOpen = 2,
        /// A packet; the payload is all of it from the IP header on. `token` names the probe that
        /// it answers, or is [`NO_TOKEN`].
        Packet = 3,
        /// The probe `token` was not answered in time. `sent` is when it left.
        Timeout = 4,
        /// The timer `token` fired.
        Timer = 5,
        /// The probe `token` was not sent; `code` is the errno, see also [`flags::REFUSED`].
        SendError = 6,
        /// Finish with what there is: some packets and a short time are left.
        Interrupt = 7,
        /// The host let the task go; no action of it is heard any more.
        Drop = 8,
        /// The probe `token` left at `sent`; only where [`flags::WANT_SENT`] was set.
        Sent = 9,
        /// Packets with this `code` came in by the network interface that the payload names, UTF-8.
        /// Of no task; comes before the first of them.
        Interface = 10,
    }
);

open_enum!(
    /// What a task wants.
    ActionKind: u8 {
        /// The payload is a [`FlowSpecRaw`]; answered by `FlowOpen` with the same token.
        OpenFlow = 1,
        /// The payload is a whole IP packet; `arg` is how long to wait for its answer in ns,
        /// counted from its departure; 0 where none is expected.
        Send = 2,
        /// Wake `token` at `arg`, an absolute time in ns.
        Timer = 3,
        /// Forget the timer or probe `token`; with [`NO_TOKEN`] every probe of `flow` whose turn has
        /// not come, each answered by `SendError`.
        Cancel = 4,
        /// The payload is one row of the table `code`, its values in the order of the columns.
        Row = 5,
        /// The payload is UTF-8; `code` is 1 (error) to 5 (trace).
        Log = 6,
        /// `arg` is how much is done, per mille.
        Progress = 7,
        /// The task is over. The payload, where there is one, is why it stopped, UTF-8.
        Finish = 8,
        /// The task is over, badly. The payload is the reason, UTF-8; `code` a [`FailKind`].
        Fail = 9,
        /// Give up `flow`.
        CloseFlow = 10,
        /// The payload is a whole IP packet, which is sent when `flow` ends, whoever ends it; it
        /// takes the place of the one before. Empty: nothing is.
        LastWord = 11,
    }
);

open_enum!(
    /// Why a task failed.
    FailKind: u8 {
        /// The method says so.
        Error = 1,
        /// The method panicked; the text names file and line.
        Panic = 2,
        /// The parameters are not acceptable.
        BadParams = 3,
        /// It was interrupted and has nothing more to say.
        Interrupted = 4,
        /// Written by the host alone: the worker process died or was stuck.
        Crashed = 5,
    }
);

open_enum!(
    /// What a flow's local identifier is.
    Proto: u8 {
        /// ICMP and ICMPv6 queries; the local identifier is the ICMP identifier.
        Icmp = 1,
        /// The local identifier is the source port.
        Tcp = 6,
        /// The local identifier is the source port.
        Udp = 17,
    }
);

/// No probe: an event that answers none, an action that expects nothing.
pub const NO_TOKEN: u32 = u32::MAX;

/// Tokens with this bit are labels that the method chose: their events go to the queue of the flow
/// and the host hands the same token out again with late and duplicate answers.
pub const LABEL_TOKEN: u32 = 0x8000_0000;

/// Bits of [`Event::flags`] and [`Action::flags`].
pub mod flags {
    /// Packet: came after the time-out of its probe.
    pub const LATE: u8 = 1;
    /// Packet: the probe had been answered before.
    pub const DUPLICATE: u8 = 2;
    /// Packet: credited by the IP identification alone, or because nothing else was outstanding.
    pub const WEAK: u8 = 4;
    /// Packet: a checksum is wrong.
    pub const BAD_CHECKSUM: u8 = 8;
    /// Packet: a checksum could not be verified (offload, truncation).
    pub const UNVERIFIED: u8 = 16;
    /// Packet: several segments that the network card or kernel merged.
    pub const MERGED: u8 = 32;
    /// `SendError`: the host's policy refused it; `code` is `EPERM`.
    pub const REFUSED: u8 = 64;
    /// Packet: it came in fragments and was put together.
    pub const FRAGMENTED: u8 = 128;

    /// `Send`: report the departure with an `EventKind::Sent`.
    pub const WANT_SENT: u16 = 1;
    /// `Send`: an answer inside a conversation, which must not wait behind probes.
    pub const IMMEDIATE: u16 = 2;

    /// `OpenFlow`: deliver packets of this flow that answer no probe, and late and duplicate ones.
    pub const HEAR_ALL: u8 = 1;
    /// `OpenFlow`: the kernel must not answer for this flow (a reset, a port unreachable). Without it, it may where there is
    /// no other way: on ports below 1024.
    pub const QUIET_KERNEL: u8 = 2;
}

/// Who stamped a packet: low nibble of [`Event::stamps`] for `sent`, high nibble for `at`.
pub mod stamp {
    /// No stamp.
    pub const NONE: u8 = 0;
    /// Read by the host around the system call and interpolated over its batch.
    pub const USER: u8 = 1;
    /// The kernel's software stamp.
    pub const KERNEL: u8 = 2;
    /// The network card's.
    pub const HARDWARE: u8 = 3;
    /// Virtual time of a simulation.
    pub const VIRTUAL: u8 = 4;
}

/// One thing that happened: a cache line. Its payload is `batch.bytes[off..off + len]`.
///
/// All times are nanoseconds of the host's monotonic clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, StableAbi)]
pub struct Event {
    pub kind: EventKind,
    /// Packet: a `sonde_packet::Class`.
    pub class: u8,
    /// An errno, see [`EventKind`]. Packet: number of the interface it came in by, 0 if not known.
    pub code: u8,
    pub flags: u8,
    pub task: u32,
    pub token: u32,
    pub flow: u32,
    /// When it happened; for a packet when it arrived.
    pub at: u64,
    /// When the probe it answers left; 0 if none. For `Start` the seed.
    pub sent: u64,
    pub off: u32,
    pub len: u32,
    /// Who sent the packet, IPv4 as v4-mapped.
    pub from: [u8; 16],
    /// TTL or hop limit that the packet arrived with.
    pub ttl: u8,
    pub icmp_type: u8,
    pub icmp_code: u8,
    /// Who stamped it, see [`stamp`].
    pub stamps: u8,
    /// Offset of the quoted packet in the payload; 0 if none. With [`flags::MERGED`] octets of each segment, or 0.
    pub quote: u16,
    /// Packet and Sent: uncertainty of `sent` in units of 100 ns, saturating. Start: the method.
    pub aux: u16,
}

impl Event {
    /// All zero but for the token.
    pub const ZERO: Self = Self {
        kind: EventKind(0),
        class: 0,
        code: 0,
        flags: 0,
        task: 0,
        token: NO_TOKEN,
        flow: 0,
        at: 0,
        sent: 0,
        off: 0,
        len: 0,
        from: [0; 16],
        ttl: 0,
        icmp_type: 0,
        icmp_code: 0,
        stamps: 0,
        quote: 0,
        aux: 0,
    };
}

/// One thing that a task wants. Its payload is `out.bytes[off..off + len]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, StableAbi)]
pub struct Action {
    pub kind: ActionKind,
    pub code: u8,
    pub flags: u16,
    pub task: u32,
    pub token: u32,
    pub flow: u32,
    pub off: u32,
    pub len: u32,
    pub arg: u64,
}

impl Action {
    /// All zero but for the token.
    pub const ZERO: Self = Self {
        kind: ActionKind(0),
        code: 0,
        flags: 0,
        task: 0,
        token: NO_TOKEN,
        flow: 0,
        off: 0,
        len: 0,
        arg: 0,
    };
}

/// How answers find their probe: by protocol, local identifier and peer to the flow, then by `key`,
/// a field of the probe that comes back in its answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, StableAbi)]
pub struct FlowSpecRaw {
    pub proto: Proto,
    /// A `sonde_packet::Key`.
    pub key: u8,
    /// [`flags::HEAR_ALL`], [`flags::QUIET_KERNEL`].
    pub flags: u8,
    /// ToS or traffic class that the route is chosen for.
    pub tos: u8,
    /// Local port or ICMP identifier; 0 where the host picks one.
    pub local: u16,
    pub reserved: u16,
    /// Whom the probes are for, IPv4 as v4-mapped.
    pub peer: [u8; 16],
    /// Address to send from; unspecified where the route decides.
    pub source: [u8; 16],
    /// Neighbour to send through; unspecified where the route decides.
    pub gateway: [u8; 16],
}

/// What the host chose for a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, StableAbi)]
pub struct FlowInfo {
    /// IPv4 as v4-mapped.
    pub source: [u8; 16],
    /// Local port or ICMP identifier.
    pub local: u16,
    pub reserved: u16,
    /// Of the route, octets.
    pub mtu: u32,
}

const _: () = {
    assert!(size_of::<Event>() == 64);
    assert!(size_of::<Action>() == 32);
    assert!(size_of::<FlowSpecRaw>() == 56);
    assert!(size_of::<FlowInfo>() == 24);
};

/// Events for the tasks of one plugin.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Batch<'a> {
    /// Monotonic, ns.
    pub now: u64,
    /// Wall time of `now`, ns since 1970 (UTC).
    pub wall: u64,
    pub events: RSlice<'a, Event>,
    pub bytes: RSlice<'a, u8>,
}

/// Where a plugin puts its actions. Owned by the host and used again for every call.
#[repr(C)]
#[derive(StableAbi)]
pub struct Out {
    pub actions: RVec<Action>,
    pub bytes: RVec<u8>,
    /// The task being polled, for the watchdog; [`NO_TOKEN`] between batches.
    pub cursor: AtomicU32,
    pub reserved: u32,
}

impl Default for Out {
    fn default() -> Self {
        Self {
            actions: RVec::new(),
            bytes: RVec::new(),
            cursor: AtomicU32::new(NO_TOKEN),
            reserved: 0,
        }
    }
}

/// What a plugin uses at the moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, StableAbi)]
pub struct Usage {
    pub tasks: u64,
    pub panics: u64,
    /// Heap of the plugin, octets.
    pub heap_octets: u64,
}

/// The tasks of one plugin on one engine thread; made, used and dropped on that thread.
#[sabi_trait]
pub trait Instance {
    /// Takes every event of the batch and appends what the tasks want to `out`.
    fn poll(&mut self, batch: Batch<'_>, out: &mut Out);
    #[sabi(last_prefix_field)]
    fn usage(&self) -> Usage;
}

/// An [`Instance`] whatever plugin it came from.
pub type InstanceBox = Instance_TO<'static, RBox<()>>;

/// How a plugin was built.
#[repr(C)]
#[derive(Clone, Copy, Debug, StableAbi)]
pub struct BuildInfo {
    /// False when compiled with `panic=abort`: a panic would end the process.
    pub unwinds: bool,
    pub debug: bool,
    pub rustc: RStr<'static>,
}

impl BuildInfo {
    /// Of the crate that this is compiled into.
    pub const HERE: Self = Self {
        unwinds: cfg!(panic = "unwind"),
        debug: cfg!(debug_assertions),
        rustc: RStr::from_str(env!("SONDE_RUSTC")),
    };
}

/// What a plugin exports under the symbol `sonde_plugin`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef)))]
#[sabi(missing_field(option))]
pub struct Plugin {
    pub build: BuildInfo,
    /// The descriptor as JSON, see [`crate::descriptor`].
    pub describe: extern "C" fn() -> RString,
    #[sabi(last_prefix_field)]
    pub instance: extern "C" fn(config: RStr<'_>) -> RResult<InstanceBox, RString>,
}

impl RootModule for PluginRef {
    declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "sonde_plugin";
    const NAME: &'static str = "sonde_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
