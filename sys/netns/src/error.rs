//! What can go wrong with a namespace.

use std::io;
use std::path::PathBuf;

/// A namespace operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace file is missing or may not be read.
    #[error("open network namespace {}: {source}", path.display())]
    Open {
        /// File that was asked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `setns` refused: not a network namespace, or no CAP_SYS_ADMIN.
    #[error("enter network namespace {}: {source}", path.display())]
    Enter {
        /// File that was entered.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No thread to run in the namespace.
    #[error("start a thread for a network namespace: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// A name that cannot be a file name.
    #[error("{name:?} cannot be the name of a network namespace: it must be a plain file name")]
    Name {
        /// The name.
        name: String,
    },
    /// Making the namespace or its name.
    #[error("create network namespace {name}: {what}: {source}")]
    Create {
        /// Name asked for.
        name: String,
        /// Step that failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Removing the name.
    #[error("delete network namespace {name}: {source}")]
    Delete {
        /// Name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Reading the directory of names.
    #[error("list network namespaces: {source}")]
    List {
        /// Why.
        source: io::Error,
    },
    /// The kernel gave no cookie (older than 5.14).
    #[error("read the cookie of a network namespace: {source}")]
    Cookie {
        /// Why.
        source: io::Error,
    },
}

// === impl Error ===

impl Error {
    /// The system error below.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Open { source, .. }
            | Self::Enter { source, .. }
            | Self::Thread { source }
            | Self::Create { source, .. }
            | Self::Delete { source, .. }
            | Self::List { source }
            | Self::Cookie { source } => Some(source),
            Self::Name { .. } => None,
        }
    }

    /// Whether the namespace is not there.
    pub fn is_not_found(&self) -> bool {
        self.io().is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
    }
}
