//! The nouns of Pleopod as plain data.
//!
//! - [`intent`]: what was asked for (Kubernetes objects, validated and reduced).
//! - [`desired`]: what one node's kernel must hold.
//! - [`observed`]: what was seen to be there, row by row.
//! - [`identity`] and [`labels`]: who a peer is.
//! - [`problem`]: what is wrong with an object.
//!
//! Nothing here does IO, reads a clock or knows the kernel's byte layouts (those are `pleopod-abi`).
#![deny(missing_docs)]

pub mod desired;
pub mod identity;
pub mod intent;
pub mod labels;
pub mod mac;
pub mod name;
pub mod observed;
pub mod problem;

pub use identity::IdentityId;
pub use labels::{Label, Labels};
pub use mac::Mac;
pub use name::ObjectName;
pub use problem::Problem;
