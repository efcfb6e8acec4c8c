//! What is wrong with an object, said so that its owner can put it right.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ObjectName;

/// One thing wrong with one object. The rest of the cluster is not held up by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// The object that has it.
    pub object: ObjectRef,
    /// Path of the field, as `spec.ports[0].port`; empty when it is the object as a whole.
    pub field: String,
    /// What is wrong, and what was done about it.
    pub message: String,
    /// What the owner can do.
    pub hint: String,
}

/// An object by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// `Pod`, `Service`, ...
    pub kind: String,
    /// Its name; cluster-scoped objects have no namespace.
    pub name: ObjectName,
}

// === impl Problem ===

impl Problem {
    /// A problem of `kind` `name` at `field`.
    pub fn new(
        kind: impl Into<String>,
        name: ObjectName,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            object: ObjectRef { kind: kind.into(), name },
            field: field.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, ": {}", self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

// === impl ObjectRef ===

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
