//! The author layer: a method as straight-line `async` code over the binary interface.
//!
//! A measurement is one future; there are no threads, no clock and no sockets in it. Packets, time
//! and randomness come in through [`Ctx`] and [`Flow`], so a run is a pure function of its
//! inputs. How to write a method stands in `docs/writing-a-method.md`.

mod answer;
mod combinators;
mod context;
mod flow;
mod full_view;
mod head;
mod interfaces;
mod probe;
mod queue;
mod reply;
mod slots;
mod task;
mod wall;
mod window;

use std::{fmt, future::Future};

pub use self::{
    answer::ProbeFuture,
    combinators::{Either, Select, Until, join, join_all, select},
    context::{Ctx, Interrupted, NextOfAny, Sleep},
    flow::{Flow, FlowSpec, Listener, Next, NextDeparture, SendStamped, port_behind},
    probe::Probe,
    reply::{Departure, Heard, NotSent, Outcome, Reply, StampSource},
    wall::WallTime,
    window::{AsReply, Burst, Captured},
};
pub(crate) use self::{
    head::Host,
    interfaces::Interfaces,
    task::{End, Task},
};
use crate::{
    abi::FailKind, capability::Capability, descriptor::Need, graph_form::GraphForm, params::Params,
    row::Rows, text_form::TextForm,
};

/// A measurement method.
pub trait Method: Sized + 'static {
    /// As on the command line: lower case letters, digits and dashes.
    const NAME: &'static str;

    /// What it is for, in one line.
    const DOC: &'static str;

    /// The paper or RFC that it follows.
    const SOURCE: &'static str = "";

    /// Packets that it may still send after an interrupt, such as to close a connection.
    const PARTING_PACKETS: u16 = 0;

    /// Packets that one measurement may send at most; the operator may set less.
    const PACKET_BUDGET: Option<u64> = None;

    /// What it needs of the host beside sending and receiving.
    const NEEDS: &'static [Need] = &[];

    /// What it uses for some of its parameters, where the operator permits it; packets that take what
    /// is not permitted are refused.
    const WANTS: &'static [Need] = &[];

    /// What can be chosen, see [`crate::params!`].
    type Params: Params;

    /// What comes out: a [`crate::row!`], or the [`crate::tables!`] of several.
    type Row: Rows;

    /// How it is offered to supervisors. Unless said: one capability with every parameter and
    /// every column of the first table.
    #[must_use]
    fn capabilities() -> Vec<Capability> {
        full_view::full_view::<Self>()
    }

    /// How a person reads the results. Unless said: every row with the names of its columns.
    #[must_use]
    fn text() -> TextForm {
        TextForm::default()
    }

    /// Which of its tables are a graph that can be drawn. Unless said: none.
    #[must_use]
    fn graph() -> Option<GraphForm> {
        None
    }

    /// Measures once.
    ///
    /// Write it as `async fn run(ctx, params) -> Result<(), Fail>`. An error means that it could not be
    /// measured; no answer, a reset, a filtered port are rows.
    fn run(
        ctx: Ctx<Self::Row>,
        params: Self::Params,
    ) -> impl Future<Output = Result<(), Fail>> + 'static;
}

/// Why a measurement failed. Every error turns into one with `?`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fail {
    /// Whose fault it is.
    pub kind: FailKind,
    /// One line for whoever asked for the measurement.
    pub message: String,
}

impl Fail {
    /// The method could not measure.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: FailKind::Error, message: message.into() }
    }

    /// The parameters contradict each other.
    #[must_use]
    pub fn bad_params(message: impl Into<String>) -> Self {
        Self { kind: FailKind::BadParams, message: message.into() }
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Fail {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests;
