//! The four ways to change an object by saying only what is different.

use serde_json::Value;

use crate::error::{ApiError, Result};
use crate::schema::Schema;

mod apply;
mod fields;
pub mod managed;
mod merge;
mod strategic;

pub use apply::apply;

#[cfg(test)]
mod tests;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Lists merge by key.
    Strategic,
    /// Server-side apply.
    Apply,
}

// === impl Kind ===

impl Kind {
    /// By content type.
    pub fn of(content: &str) -> Option<Self> {
        Some(match content {
            "application/json-patch+json" => Self::Json,
            "application/merge-patch+json" => Self::Merge,
            "application/strategic-merge-patch+json" => Self::Strategic,
            "application/apply-patch+yaml" => Self::Apply,
            _ => return None,
        })
    }

    /// The content types that are read; strategic merge only knows the built-in kinds.
    pub fn accepted(strategic: bool) -> &'static [&'static str] {
        const ALL: &[&str] = &[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
            "application/strategic-merge-patch+json",
        ];
        if strategic { ALL } else { &ALL[..3] }
    }

    /// Changes `v` by `diff`. Not for `Apply`.
    pub fn patch(self, v: &mut Value, diff: Value, schema: &Schema) -> Result<()> {
        match self {
            Self::Json => {
                let ops: json_patch::Patch = serde_json::from_value(diff).map_err(|e| {
                    ApiError::bad_request(format!("the body of the request is no JSON patch: {e}"))
                })?;
                json_patch::patch(v, &ops).map_err(|e| {
                    let mut bad = ApiError::bad_request(format!(
                        "the server rejected our request due to an error in our request: {e}"
                    ));
                    bad.code = 422;
                    bad.reason = "Invalid";
                    bad
                })
            }
            Self::Merge => {
                merge::merge(v, diff);
                Ok(())
            }
            Self::Strategic => strategic::merge(v, diff, schema),
            Self::Apply => Err(ApiError::internal("an apply is no plain patch")),
        }
    }
}
