//! Makes the kernel match [`pleopod_model::desired::Desired`]: list, diff, write. The only writer of kernel state (I4).
#![deny(missing_docs)]

pub mod attach;
pub mod balance;
pub mod base;
pub mod ct;
pub mod encode;
mod error;
mod expedite;
#[cfg(test)]
mod fake;
pub mod kernel;
pub mod metrics;
pub mod mirror;
pub mod pod;
pub mod regions;
pub mod routes;
pub mod sockets;
mod sysctl;
pub mod tables;
pub mod targets;
pub mod uninstall;

pub use error::Error;
