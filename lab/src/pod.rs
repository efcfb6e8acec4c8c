//! The kubelet's job.

pub mod cni;
pub mod env;
pub mod log;
pub mod sandbox;
pub mod volumes;
