//! What can go wrong with a netlink request.

use std::io;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket.
    #[error("open a netlink socket: {source}")]
    Open {
        /// Why.
        source: io::Error,
    },
    /// The request could not be sent or its answer not be read.
    #[error("{what}: netlink socket: {source}")]
    Socket {
        /// The request, with its object.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel said no.
    #[error("{what}: {source}{}{explanation}", if explanation.is_empty() { "" } else { ": " })]
    Refused {
        /// The request, with its object.
        what: String,
        /// Its error number.
        source: io::Error,
        /// Its explanation (extended acknowledgement); may be empty.
        explanation: String,
    },
    /// The kernel's answer is not what the request asks for.
    #[error("{what}: cannot read the kernel's answer: {detail}")]
    Answer {
        /// The request, with its object.
        what: String,
        /// What was wrong.
        detail: String,
    },
}

// Error numbers of include/uapi/asm-generic/errno-base.h, the same on every architecture Linux BPF runs on.
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;

// === impl Error ===

impl Error {
    /// The kernel's error number, when it refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the object was there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(EEXIST)
    }

    /// Whether the object is not there (a link, route, neighbour, address or socket).
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(ENOENT | ESRCH | ENODEV | EADDRNOTAVAIL))
    }
}
