//! What can go wrong on the way to the kernel. Each says what was being done and to what.

use std::io;
use std::path::PathBuf;

use crate::object::ObjectMissing;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no object to load.
    #[error(transparent)]
    Object(#[from] ObjectMissing),
    /// The loader or the verifier refused.
    #[error("loading the BPF object: {0}")]
    Load(String),
    /// A program of the object that should be there is not, or is of another type.
    #[error("the BPF object has no {kind} program {name}")]
    NoProgram {
        /// Name.
        name: String,
        /// Type it should have.
        kind: &'static str,
    },
    /// A program was refused.
    #[error("loading program {name}: {why}")]
    Program {
        /// Name.
        name: String,
        /// The verifier's last lines.
        why: String,
    },
    /// The object has no such map.
    #[error("the BPF object has no map {0}")]
    NoMap(String),
    /// A map's records are not what this binary thinks.
    #[error(transparent)]
    Sizes(#[from] crate::map::SizeMismatch),
    /// Something on bpffs or cgroup2.
    #[error("{doing} {path}: {source}")]
    Path {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Attaching failed.
    #[error("attaching {program} to {target}: {source}")]
    Attach {
        /// The program.
        program: String,
        /// Interface or cgroup, as people write it.
        target: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else the kernel refused.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
}

// === impl Error ===

impl Error {
    /// Whether the kernel does not know what it was asked to attach to.
    pub fn is_unsupported(&self) -> bool {
        // ENOTSUPP is the kernel's own number and has no name outside.
        const ENOTSUPP: i32 = 524;
        match self {
            Self::Attach { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
            }
            _ => false,
        }
    }

    /// Wraps an error of the kernel about a path.
    pub(crate) fn path(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { doing, path, source }
    }

    /// Wraps an error of the kernel about something else.
    pub(crate) fn kernel(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Kernel { doing, source }
    }
}
