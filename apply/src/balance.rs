//! The order in which backends stand in the table of a frontend.
//!
//! A table is a list of places, each with one backend; a program takes a place by chance, by turn or by a hash, and never
//! thinks of weights. Both kinds of table depend on the backends only, in whatever order they are given: every node makes
//! the same one, and makes it again after a restart.

pub mod list;
pub mod maglev;
mod siphash;

use crate::encode::service::BackendKey;

/// A backend and its share, relative to the others.
pub type Member = (BackendKey, u16);
