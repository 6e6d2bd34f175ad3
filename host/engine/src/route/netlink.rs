//! The kernel's routing socket: questions that are answered at once, dumps taken in small bites, and
//! reports of changes. Nothing here knows what the messages mean.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use libc::c_int;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::SockRef;

/// Reports that may wait for us. What does not fit is noticed, and everything is read again.
const REPORT_BUFFER: usize = 4 << 20;
/// More than the kernel puts in one datagram.
const DATAGRAM: usize = 64 << 10;
/// The kernel answers questions before it returns from taking them; this is for a broken one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Link, neighbour, both families' addresses, routes and rules, and next hops: the bits of the
/// groups in the socket's address.
const GROUPS: u32 = group(libc::RTNLGRP_LINK)
    | group(libc::RTNLGRP_NEIGH)
    | group(libc::RTNLGRP_IPV4_IFADDR)
    | group(libc::RTNLGRP_IPV4_ROUTE)
    | group(libc::RTNLGRP_IPV4_RULE)
    | group(libc::RTNLGRP_IPV6_IFADDR)
    | group(libc::RTNLGRP_IPV6_ROUTE)
    | group(libc::RTNLGRP_IPV6_RULE)
    | group(libc::RTNLGRP_NEXTHOP);

const fn group(number: libc::c_uint) -> u32 {
    1 << (number - 1)
}

/// So often a table is read at once that changes while it is; then it is taken as it is, until all are read again.
const MOST_READINGS: u8 = 4;

/// A dump that ends with one of these is of a table that this kernel does not have, or does not show.
const NO_TABLE: [c_int; 6] = [
    libc::EOPNOTSUPP,
    libc::EAFNOSUPPORT,
    libc::EPROTONOSUPPORT,
    libc::ENOENT,
    libc::EPERM,
    libc::EACCES,
];

/// What came of reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// Nothing more at the moment.
    Quiet,
    /// There may be more.
    More,
    /// The dump is complete.
    Complete,
    /// The kernel had to throw something away, or could not say it.
    Lost,
}

/// A message, or one that the library cannot read.
pub(super) enum Message {
    Known(RouteNetlinkMessage),
    /// By its type.
    Unknown(u16),
}

/// The sockets.
pub(super) struct Netlink {
    reports: Socket,
    pub(super) questions: Socket,
    pub(super) dumps: Socket,
    /// Dumps that are still to be asked for, the next one last, and how often each was.
    wanted: Vec<(RouteNetlinkMessage, u8)>,
    dumping: Option<Dump>,
    /// A table was taken as it was, although it had changed meanwhile.
    pub(super) has_torn: bool,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A dump that is under way.
struct Dump {
    sequence: u32,
    request: RouteNetlinkMessage,
    readings: u8,
    /// The table has changed since it began: parts of it may be missing.
    is_torn: bool,
}

impl Netlink {
    /// Opens the sockets and listens to reports from now on.
    pub(super) fn open() -> io::Result<Self> {
        let mut reports = Socket::new(NETLINK_ROUTE)?;
        let _ = SockRef::from(&reports).set_recv_buffer_size(REPORT_BUFFER);
        reports.bind(&SocketAddr::new(0, GROUPS))?;
        reports.set_non_blocking(true)?;
        let socket = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        Ok(Self {
            reports,
            questions: socket()?,
            dumps: socket()?,
            wanted: Vec::new(),
            dumping: None,
            has_torn: false,
            sequence: 0,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// Readable when there are reports.
    pub(super) fn fd(&self) -> RawFd {
        self.reports.as_raw_fd()
    }

    /// Asks one question: the kernel's answer, or the errno that is its answer.
    ///
    /// # Errors
    ///
    /// Where it could not be asked.
    pub(super) fn ask(
        &mut self,
        question: RouteNetlinkMessage,
    ) -> io::Result<Result<RouteNetlinkMessage, c_int>> {
        let sequence = self.send(question, NLM_F_REQUEST, |netlink| &netlink.questions)?;
        loop {
            self.buffer.clear();
            self.questions.recv(&mut self.buffer, 0)?;
            for (header, payload) in Messages(&self.buffer) {
                if header.sequence_number != sequence {
                    continue;
                }
                match payload {
                    Some(NetlinkPayload::InnerMessage(message)) => return Ok(Ok(message)),
                    Some(NetlinkPayload::Error(error)) => {
                        return Ok(Err(error.raw_code().saturating_neg()));
                    }
                    // It will not be clearer the next time.
                    _ => return Ok(Err(libc::ENETUNREACH)),
                }
            }
        }
    }

    /// Wants tables to be read, in this order, by [`Netlink::dump`]; what was wanted before is not
    /// any more.
    pub(super) fn want(&mut self, requests: Vec<RouteNetlinkMessage>) {
        self.wanted = requests.into_iter().rev().map(|request| (request, 0)).collect();
        self.has_torn = false;
    }

    /// Whether some table is still to be read.
    pub(super) fn is_dumping(&self) -> bool {
        self.dumping.is_some() || !self.wanted.is_empty()
    }

    /// Takes a bite of the tables that are wanted; what one says may come again.
    pub(super) fn dump(&mut self, mut sink: impl FnMut(Message)) -> Progress {
        let Some(dump) = &mut self.dumping else {
            let Some((request, readings)) = self.wanted.pop() else { return Progress::Complete };
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            return match self.send(request.clone(), flags, |netlink| &netlink.dumps) {
                Ok(sequence) => {
                    let readings = readings + 1;
                    self.dumping = Some(Dump { sequence, request, readings, is_torn: false });
                    Progress::More
                }
                Err(error) => self.end_dump(error.raw_os_error().unwrap_or(libc::EIO)),
            };
        };
        self.buffer.clear();
        if self.dumps.recv(&mut self.buffer, 0).is_err() {
            return self.end_dump(libc::EIO);
        }
        let mut end = None;
        for (header, payload) in Messages(&self.buffer) {
            if header.sequence_number != dump.sequence {
                continue;
            }
            dump.is_torn |= header.flags & NLM_F_DUMP_INTR != 0;
            match payload {
                Some(NetlinkPayload::InnerMessage(message)) => sink(Message::Known(message)),
                Some(NetlinkPayload::Done(done)) => end = Some(done.code.saturating_neg()),
                Some(NetlinkPayload::Error(error)) => {
                    end = Some(error.raw_code().saturating_neg());
                }
                None => sink(Message::Unknown(header.message_type)),
                _ => {}
            }
        }
        end.map_or(Progress::More, |errno| self.end_dump(errno))
    }

    /// A table is complete, or will not be. One that this kernel does not have is an empty one.
    fn end_dump(&mut self, errno: c_int) -> Progress {
        let torn = self.dumping.take().filter(|dump| dump.is_torn);
        if errno != 0 && !NO_TABLE.contains(&errno) {
            self.wanted.clear();
            return Progress::Lost;
        }
        if let Some(Dump { request, readings, .. }) = torn {
            match readings < MOST_READINGS {
                true => self.wanted.push((request, readings)),
                false => self.has_torn = true,
            }
        }
        if self.is_dumping() { Progress::More } else { Progress::Complete }
    }

    /// Takes in some reports.
    pub(super) fn reports(&mut self, mut sink: impl FnMut(Message)) -> Progress {
        let progress = self.receive_reports();
        if progress != Progress::More {
            return progress;
        }
        for (header, payload) in Messages(&self.buffer) {
            sink(match payload {
                Some(NetlinkPayload::InnerMessage(message)) => Message::Known(message),
                _ => Message::Unknown(header.message_type),
            });
        }
        Progress::More
    }

    /// Throws away the reports that wait, because all tables are about to be read.
    pub(super) fn discard_reports(&mut self) {
        while self.receive_reports() != Progress::Quiet {}
    }

    fn receive_reports(&mut self) -> Progress {
        self.buffer.clear();
        match self.reports.recv(&mut self.buffer, 0) {
            Ok(_) => Progress::More,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Progress::Lost,
            Err(_) => Progress::Quiet,
        }
    }

    fn send(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        socket: impl Fn(&Self) -> &Socket,
    ) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        self.buffer.clear();
        self.buffer.resize(message.buffer_len(), 0);
        message.serialize(&mut self.buffer);
        socket(self).send(&self.buffer, 0)?;
        // Receiving takes the whole capacity as room.
        self.buffer.reserve(DATAGRAM);
        Ok(self.sequence)
    }
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Netlink").field("fd", &self.fd()).finish_non_exhaustive()
    }
}

/// The messages of a datagram; the payload is `None` where the library cannot read it.
struct Messages<'a>(&'a [u8]);

impl Iterator for Messages<'_> {
    type Item = (NetlinkHeader, Option<NetlinkPayload<RouteNetlinkMessage>>);

    fn next(&mut self) -> Option<Self::Item> {
        // Length, type, flags, sequence number, port: 16 octets in the machine's order.
        let head = self.0.first_chunk::<16>()?;
        let length = u32::from_ne_bytes(*head.first_chunk()?) as usize;
        let octets = self.0.get(..length).filter(|octets| octets.len() >= head.len())?;
        let item = match NetlinkMessage::deserialize(octets) {
            Ok(message) => (message.header, Some(message.payload)),
            Err(_) => {
                let mut header = NetlinkHeader::default();
                header.message_type = u16::from_ne_bytes([head[4], head[5]]);
                header.flags = u16::from_ne_bytes([head[6], head[7]]);
                header.sequence_number = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
                (header, None)
            }
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(item)
    }
}
