//! What stands in `deploy/`, held against the embedded API server with stock kubectl, and against a real node.

mod deploy {
    pub mod container;
    pub mod install;
    pub mod manifests;
    pub mod rights;
}
