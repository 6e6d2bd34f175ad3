//! A simulated network in virtual time that drives sonde measurement methods.
//!
//! [`Net`] is a drawing of a network, [`Sim`] plays the host in it: it polls a method through the
//! same binary interface as a real host, without root, sockets or waiting. The same seed gives
//! the same run, and the drawing is the expected answer.
//!
//! ```
//! use sonde_plugin_api::prelude::*;
//! use sonde_testkit::{Net, Sim, json};
//!
//! params! { pub struct Params { destination: IpAddr => "destination.{ip}" } }
//! row! { pub struct HopRow = "hops" { ttl: u8, addr: Option<IpAddr> } }
//!
//! struct FirstHops;
//! impl Method for FirstHops {
//!     const NAME: &'static str = "first-hops";
//!     const DOC: &'static str = "Asks the first three routers for their names";
//!     type Params = Params;
//!     type Row = HopRow;
//!
//!     async fn run(ctx: Ctx<HopRow>, params: Params) -> Result<(), Fail> {
//!         let flow = ctx.open(FlowSpec::icmp(params.destination)).await?;
//!         for ttl in 1..=3 {
//!             let outcome = flow.probe(Probe::echo(ttl).ttl(ttl as u8)).await;
//!             let addr = match outcome {
//!                 Outcome::Reply(reply) => Some(reply.from()),
//!                 _ => None,
//!             };
//!             ctx.emit(HopRow { ttl: ttl as u8, addr });
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let net = Net::draw(
//!     "vantage - r1 - r2 - target
//!      r1 192.0.2.254
//!      r2 silent
//!      target 198.51.100.9",
//! );
//! let run = Sim::new(net, 1).run::<FirstHops>(Params::with("198.51.100.9".parse().unwrap()));
//! assert_eq!(
//!     run.expect_done().table("hops"),
//!     [
//!         json!({"ttl": 1, "addr": "192.0.2.254"}),
//!         json!({"ttl": 2, "addr": null}),
//!         json!({"ttl": 3, "addr": "198.51.100.9"}),
//!     ]
//! );
//! ```
//!
//! Where an assertion about a table fails, every packet is printed with its virtual time.
//!
//! # Drawings
//!
//! One statement a line; `#` begins a comment. There are three kinds:
//!
//! ```text
//! vantage - r1 - { a b - c*3 } per-flow - r5 - target    a path, with branches
//! r1 192.0.2.254 quote 28                                a node and its attributes
//! link r1 a delay 10ms loss 5%                           links and theirs; `links` are all so far
//! ```
//!
//! ## Paths
//!
//! Names with `-` between them; `->` and `<-` draw one way only. A name that is an address is the
//! node's address. The measurements run at `vantage`. Between braces stand the branches that the
//! node before shares packets out to, each a path of its own; `c*3` gets three times as many. Two
//! braces in a row are a mesh. How packets are shared out is said behind the brace, or by
//! `r1 balance …`:
//!
//! | word | packets that stay together |
//! |---|---|
//! | `per-flow` (unless said) | those of the same addresses, protocol, first four octets of the transport header, and flow label |
//! | `per-flow-and-tos` | these, where the ToS too is the same |
//! | `per-ports` | those of the same addresses and ports; ICMP by addresses, as Linux does |
//! | `per-destination`, `per-addresses` | those to one destination; between two addresses |
//! | `per-packet`, `round-robin` | none: at random; in turn |
//!
//! Several paths make one network. A packet goes the way there (as drawn, left to right) wherever
//! that leads to its destination, else back. On the way back the link drawn first is taken, unless
//! `r5 balance-back …` says otherwise. A node without an address of a family has 10.0.0.N or
//! fd00::N, N being its number in the drawing; the vantage point has 192.0.2.1 and 2001:db8::1,
//! or else only what is written.
//!
//! ## Nodes
//!
//! Every node forwards, and answers what is for itself. Attributes are separated by blanks:
//!
//! | attribute | meaning |
//! |---|---|
//! | `192.0.2.254`, `198.51.100.0/24` | its address (the first of a family is the one that errors come from); a block that it answers for |
//! | `silent` | sends nothing of its own |
//! | `quote full` (unless said), `quote 28`, `quote header+8`, `quote header`, `quote none` | how much of a packet its errors quote |
//! | `padded` | the quote is filled up to 128 octets |
//! | `mpls 24001,24002:255`, `interface name=eth7,index=7,mtu=1500,role=incoming,address=192.0.2.7` | extensions (RFC 4884, 4950, 5837); with `legacy` in the form without a length |
//! | `quoted-length swapped`/`reduced`, `quoted-id swapped`/`incremented`/`zero`, `quoted-checksum zero`/`incremented`, `quoted-ttl 0` | what is wrong in the quote |
//! | `bad-checksum` | its errors have a wrong one |
//! | `reply-from A B` | addresses that its errors come from, in turn |
//! | `rate-limit 10/s burst 5`, `unanswered 20%`, `slow 300ms` | errors: at most so many, so many missing, so late |
//! | `ttl 64` | of its own packets; unless said 255 where it has somewhere to forward to, else 64 |
//! | `keeps-ttl`, `forwards-zero-ttl` | invisible; passes on what it should have answered |
//! | `drops-options` | drops packets with IPv4 options or IPv6 extension headers |
//! | `refuse 198.51.100.0/24 code 10` | unreachable; administratively prohibited without a code |
//! | `route 198.51.100.0/24 via r1`, `route default via r1` | sends these there, which can make a loop |
//! | `balance W`, `balance-back W`, `salt 7` | see above; nodes with one salt choose alike |
//! | `records 198.51.100.5 198.51.100.2` | addresses for record route and timestamps, there and back |
//! | `ip-id counter` (unless said), `random`, `zero` | identification of its own packets |
//! | `no-echo`, `no-timestamp` | does not answer these |
//! | `closed-udp` (unless said), `silent-udp`, `echo-udp`; `udp 7 echo`/`closed`/`silent` | all UDP ports, or one |
//! | `closed-tcp` (unless said), `silent-tcp`, `open-tcp`; `tcp 80`, `tcp 80 closed`/`silent` | all TCP ports, or one; an open one acknowledges data and says nothing |
//! | `server-mss 536` | in its SYN/ACK |
//! | `rewrite F N` with F `tos`, `dscp`, `ecn`, `ttl`, `id`, `df`, `flow-label`, `mss`, `window` | changes what it forwards |
//! | `strip K`, `blank K`, `insert K:HEX` with K `all`, a number or a name such as `sack-permitted` | takes TCP options out, writes fillers over them, adds one to a SYN |
//! | `block icmp`/`tcp`/`udp`/`port 80`/`option K` | drops packets |
//! | `shift-sequence 1000` | adds to sequence numbers and takes off acknowledgements |
//! | `nat-source A`, `nat-destination PUBLIC INNER`, `fix-up full`/`addresses`/`none` behind it | translates addresses; what becomes of quotes |
//!
//! `rewrite` to `block` work both ways, or with `there` or `back` behind them one way.
//!
//! ## Links
//!
//! `link a b` is both ways, `link a -> b` and `link a <- b` are one. `N` is a list of packets by
//! their number on this link this way, from 1, such as `3,7-9`.
//!
//! | attribute | meaning |
//! |---|---|
//! | `delay 10ms`, `jitter 2ms` | 1 ms unless said; up to so much more, in order |
//! | `loss 5%`, `drop N` | lost at random; these are lost |
//! | `duplicate 5%`, `duplicate N` | arrive twice |
//! | `reorder 5%`, `reorder N`, `by 3ms` behind it | come so much later than their turn (10 ms unless said) |
//! | `corrupt 5%`, `corrupt N` | one bit behind the IP header is flipped |
//! | `mtu 1400` | what is larger is cut, or refused with an error; with `black-hole` it disappears, with `names-mtu 0` the error gives this MTU |
//!
//! Hosts and boxes that a drawing cannot say are written as [`Host`] and [`Middlebox`]; TCP servers with every
//! behaviour and fault are in [`servers`]. Packets
//! without a method go through a [`Network`].

mod balancer;
mod describe;
pub mod edit;
mod endpoint;
mod exchange;
mod fragment;
mod gather;
mod link;
mod middlebox;
mod nat;
mod net;
mod network;
mod quote;
mod random;
mod raw_option;
mod rewrite;
mod router;
mod routing;
mod rows;
mod run;
mod sequence;
pub mod servers;
mod sim;
mod tcp_server;
mod topology;
mod words;
mod world;

pub use balancer::Policy;
pub use describe::describe;
pub use endpoint::{Host, Outbox};
pub use exchange::{Entry, Exchange};
pub use middlebox::{Middlebox, Verdict, Way};
pub use net::{Net, Place};
pub use network::Network;
pub use random::Random;
pub use rows::Rows;
pub use run::{Counters, LogLine, Run, Status};
pub use serde_json::json;
pub use sim::{Measurement, Sim};
pub use words::TopologyError;
