//! Makes the kernel match [`pleopod_model::desired::Desired`]: list, diff, write. The only writer of kernel state (I4).
#![deny(missing_docs)]

pub mod encode;
#[cfg(test)]
mod fake;
pub mod mirror;
pub mod tables;
pub mod targets;
