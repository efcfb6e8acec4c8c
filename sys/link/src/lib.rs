//! Links, addresses, routes and neighbours through rtnetlink, and sockets through sock_diag.
//!
//! Every handle belongs to the network namespace of the thread that opened it and may then be used from any thread.
//! To work in another namespace, open the handle there (`netns.run(Netlink::open)`).
//!
//! The calls block, but only for the kernel's own work: rtnetlink answers within the send. That takes microseconds
//! for all but link deletion, which waits for an RCU grace period (tens of milliseconds): see
//! [`Netlink::delete_links`].
#![deny(missing_docs)]

mod address;
mod diag;
mod error;
mod filter;
mod link;
mod monitor;
mod neighbour;
mod request;
mod route;

pub use address::Address;
pub use diag::{SockDiag, Transport};
pub use error::Error;
pub use filter::{FILTER_PRIORITY, Filter, Way};
pub use link::{End, Kind, Link, LinkChange, Target, VethSpec};
pub use monitor::{Event, Monitor};
pub use neighbour::Neighbour;
pub use request::Netlink;
pub use route::{Route, RouteFilter, Scope};

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An Ethernet address in transmission order.
pub type MacBytes = [u8; 6];

/// The routing protocol number on every route of ours (`ip route` prints `proto 137`). Lists and sweeps look only at
/// routes that carry it, so routes of others are never touched.
pub const ROUTE_PROTOCOL: u8 = 137;
