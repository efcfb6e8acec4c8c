//! The proving ground: clusters of network namespaces on one kernel, with real agents, real CNI calls and real processes
//! in the pods, driven by an embedded Kubernetes API server or by any other.

pub mod agent;
pub mod cgroup;
pub mod cluster;
pub mod daemon;
pub mod enter;
pub mod image;
pub mod inside;
pub mod layout;
pub mod manifest;
pub mod outside;
pub mod pod;
pub mod process;
pub mod streams;
pub mod teardown;
pub mod topology;
pub mod walk;
pub mod wire;
pub mod workload;
