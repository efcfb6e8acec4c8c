//! What the node sees: events of the datapath, decoded, named, kept, filtered and served.
//!
//! Bytes of the kernel's ring come in ([`Eyes::ingest`]); [`decode`] reads them strictly; [`enrich`] gives names to
//! addresses from a snapshot of the plan ([`Lookup`]); [`ring`] keeps the last ones; [`filter`] and [`hubble`] answer
//! Hubble's clients; [`metrics`] count. The room never blocks whoever feeds it, allocates nothing for an event that
//! nobody asks for, and counts everything that is lost. It writes no kernel state.

#![deny(missing_docs)]

pub mod clock;
pub mod decode;
pub mod enrich;
pub mod event;
mod eyes;
pub mod filter;
mod flow;
pub mod hubble;
pub mod kernel;
pub mod lookup;
pub mod metrics;
pub mod monitor;
pub mod ring;

pub use event::Event;
pub use eyes::{Config, Eyes};
pub use lookup::{Lookup, Peer};

#[cfg(test)]
mod scene;
