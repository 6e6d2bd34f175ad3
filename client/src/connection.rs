//! The way to a supervisor or component, as an mPlane client goes it.

/// Why a message did not get there, or no answer came back.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// No address of a server.
    #[error("{url:?} is no address, accepted: http://HOST:PORT/ or https://HOST:PORT/")]
    Url {
        /// As given.
        url: String,
    },
    /// It cannot be reached, or does not speak as it should.
    #[error("{url}: {cause}")]
    Failed {
        /// Where it went.
        url: String,
        /// What went wrong.
        cause: String,
    },
}
