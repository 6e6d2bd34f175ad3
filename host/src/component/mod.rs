//! The host as an mPlane component: what it offers, what becomes of specifications, how it talks to
//! supervisors and clients.

mod answer;
mod desk;
mod file;
#[cfg(test)]
mod fixture;
mod jobs;
mod ledger;
mod listener;
mod measuring;
mod offered;
mod reception;
mod registrant;
mod request;
mod run;
mod schedule;
mod seed;
mod settings;

pub use desk::{Desk, Ledgers, Measurer};
pub use file::{ComponentFile, FileError};
pub use jobs::{JobId, Outcome};
pub use ledger::Delivery;
pub use measuring::Measuring;
pub use offered::{Addresses, Offered, Offers};
pub use request::{Reply, Request, client};
pub use run::{ComponentError, check, preview, run};
pub use settings::{Limits, Offering, Override};
