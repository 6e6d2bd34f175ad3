//! A small TCP for methods that talk to servers: what to send and to acknowledge stays the method's
//! decision.
//!
//! [`Connection`] opens, hears, sends again what was lost, and closes. It acknowledges nothing by
//! itself: a method that withholds acknowledgements, sends out of order or lies about numbers takes the
//! pieces ([`ReceiveQueue`], [`SendQueue`], [`Segment`]) and [`Connection::probe`]. There is no congestion
//! control: a method sends a request, not a file.
//!
//! Source: RFC 9293; RFC 2018 (selective acknowledgement), RFC 6298 (retransmission timer), RFC 7323
//! (timestamps, window scale), RFC 7413 (fast open).

mod connection;
mod opening;
mod options;
mod receive;
mod segment;
mod send;
mod sequence;

pub use self::{
    connection::{Agreed, Connection, Passage},
    opening::{Opening, Refusal},
    options::{Offer, Options},
    receive::{Arrival, ReceiveQueue},
    segment::Segment,
    send::SendQueue,
    sequence::{distance, is_after, is_within},
};

#[cfg(test)]
mod tests;
