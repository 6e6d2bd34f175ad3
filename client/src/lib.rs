//! The mPlane client: what is offered, what was asked for, what came of it; and its shell.
#![warn(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads")]

mod connection;
mod http;
mod run;
pub mod session;
mod settings;
pub mod shell;

pub use self::{
    connection::CarryError,
    http::Http,
    run::{Ended, Options, RunError, connect, judged, run},
    session::Session,
    settings::Settings,
};
