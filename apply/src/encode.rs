//! `model` to `abi`, and both to text: the only place where the two meet on the way down (invariant I1).

pub mod endpoint;
pub mod ipcache;
pub mod service;
