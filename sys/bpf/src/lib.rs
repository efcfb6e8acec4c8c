//! The thin layer over bpf(2): load the object, pin and check its maps, attach its programs as links that outlive the
//! process, read its events.
//!
//! Built on aya's loader. What aya lacks is here: batch operations, checked reuse of pinned maps, and the update of any
//! link's program in place.

pub mod error;
pub mod link;
pub mod load;
pub mod map;
pub mod mount;
pub mod object;
mod raw;
pub mod reference;
pub mod ring;

pub use error::Error;
pub use link::{Attached, Direction, Links};
pub use load::{LoadOptions, Loaded, Reuse};
pub use map::{Map, MapFacts, TypedMap};
pub use raw::{LinkFacts, Place, TestRun};
