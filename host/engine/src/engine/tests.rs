//! The core against a world of its own: the clock stands still until a test moves it.

mod arrivals;
mod bounds;
mod costs;
mod departures;
mod ends;
mod flows;
mod hostile;
mod last_words;
mod pacing;
mod policy;
mod portions;
mod world;
