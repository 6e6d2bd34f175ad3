//! The host as an mPlane component: what it offers, what becomes of specifications, how it talks to
//! supervisors and clients.

mod answer;
mod desk;
#[cfg(test)]
mod fixture;
mod jobs;
mod ledger;
mod measuring;
mod offered;
mod schedule;
mod settings;

pub use desk::{Desk, Measurer, Reply, Request, client};
pub use jobs::{JobId, Outcome};
pub use ledger::Delivery;
pub use measuring::Measuring;
pub use offered::{Addresses, Offered, Offers};
pub use settings::{Limits, Offering, Override};
