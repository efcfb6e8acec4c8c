//! Kubernetes objects, validated and reduced to what the network needs.
//!
//! ```text
//! Event(Object) -> read::* -> Store: Intent + Problems -> Changed
//! ```
//!
//! - [`store`]: the reducer that keeps an [`Intent`](pleopod_model::intent::Intent) current.
//! - [`read`]: one object at a time; an object that can't be understood gives a
//!   [`Problem`](pleopod_model::Problem) and leaves what was known before.
//! - [`labels`] and [`identity`]: from labels to security labels, from those to candidate numbers.
//! - [`publish`]: which PleopodEndpoint objects this node should write and remove.
//! - [`crd`]: the fields of our own objects.
//!
//! Nothing here speaks to a server; `pleopod-intake-kube` does.
#![deny(missing_docs)]

pub mod crd;
pub mod identity;
pub mod labels;
pub mod object;
pub mod publish;
pub mod read;
pub mod store;

pub use object::{Event, Kind, Object};
pub use store::{Changed, Store};
