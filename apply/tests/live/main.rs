//! A whole node with the real programs: pods, restarts, Services. Needs root; makes its own namespaces, bpffs and cgroup.

mod node;
mod restart;
mod services;
