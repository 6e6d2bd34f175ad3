//! The mPlane client: what is offered, what was asked for, what came of it; and its shell.

mod connection;
pub mod session;
pub mod shell;

pub use self::{connection::CarryError, session::Session};
