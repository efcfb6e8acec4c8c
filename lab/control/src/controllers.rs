//! The controllers of the embedded cluster: scheduler, workloads, endpoints, nodes, namespaces, garbage.
//!
//! Each decision is a pure function over objects and a time, in a file of its own; it answers with the changes it
//! wants. `run` hears of changes, asks the functions about what was touched, and writes what they want. A change that
//! comes too late (somebody else wrote first) is dropped: the other write is itself an event, and the question is
//! asked again.

use std::sync::Arc;

use crate::core::Core;

mod bootstrap;
mod budget;
mod change;
mod collector;
mod daemonset;
mod deployment;
mod endpoints;
mod feed;
mod fit;
mod glue;
mod job;
mod namespaces;
mod nodes;
mod pods;
mod replicaset;
mod revision;
mod run;
mod scheduler;
mod statefulset;
#[cfg(test)]
mod world;
mod write;

/// Makes what every cluster has from the first moment: namespaces, roles, the `kubernetes` Service.
pub fn bootstrap(core: &Arc<Core>) {
    bootstrap::all(core);
}

/// Starts the controllers, each a task of its own so that none waits for another.
pub fn start(core: &Arc<Core>) {
    run::spawn(core, glue::Endpoints);
    run::spawn(core, glue::Scheduler::default());
    run::spawn(core, glue::Workloads);
    run::spawn(core, glue::Nodes::new(&core.config));
    run::spawn(core, glue::Namespaces);
    run::spawn(core, glue::Budgets);
    run::spawn(core, collector::Collector::default());
}
