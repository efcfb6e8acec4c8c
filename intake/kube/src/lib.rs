//! The Kubernetes API: watches in, statuses out. The only crate that speaks to the API server.
//!
//! - [`connect`]: a client from a kubeconfig or the pod's service account.
//! - [`Watches`]: the events of all kinds as one stream for [`Store`](pleopod_intake::Store).
//! - [`Lookup`]: one object now, when a watch has not delivered it yet.
//! - [`Publisher`]: PleopodEndpoints, the node's annotations and condition, Kubernetes Events.
//! - [`Identities`]: claims numbers for label sets.
//! - [`crd`]: the definitions of our objects.
#![deny(missing_docs)]

pub mod client;
pub mod crd;
pub mod error;
pub mod events;
pub mod identities;
pub mod lookup;
pub mod publisher;
pub mod watches;

pub use client::{Connection, connect};
pub use error::Error;
pub use events::Reporter;
pub use identities::Identities;
pub use kube::Client;
pub use lookup::Lookup;
pub use publisher::Publisher;
pub use watches::{WatchHealth, Watches};
