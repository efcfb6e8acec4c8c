//! The agent's doors: the CNI plugin, the command line, probes and metrics.

pub mod agent;
pub mod cni;
pub mod health;
pub mod health_checks;
pub mod socket;
