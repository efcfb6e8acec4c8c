//! What was seen in the kernel, row by row, for `status` and `map get`.

use serde::{Deserialize, Serialize};

/// Whether one row of [`crate::desired::Desired`] is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowState {
    /// In the kernel as desired.
    Sync,
    /// Could not be written; tried again on the next pass.
    Error(String),
}

/// One row of a kernel table with its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Table it belongs to: a map name without `pleo_`, or `node-routes`.
    pub table: String,
    /// Key, as people write it.
    pub key: String,
    /// Value, as people write it.
    pub value: String,
    /// Whether the kernel holds it.
    pub state: RowState,
}

/// The result of one pass of `apply`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows written, replaced or removed in this pass.
    pub changed: usize,
    /// Rows that failed, with why. Empty: the kernel holds what was desired.
    pub failed: Vec<Row>,
}
