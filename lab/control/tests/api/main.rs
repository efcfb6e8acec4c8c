//! The control plane as its users see it: through stock kubectl and through kube-rs.

mod cluster;
mod custom;
mod exec;
mod kubelet;
mod manifests;
mod patch;
mod refusals;
mod rights;
mod rollout;
mod watch;
