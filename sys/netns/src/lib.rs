//! Linux network namespaces: make, name, enter and remove them.
//!
//! A namespace is entered by one dedicated thread for the length of one closure ([`Netns::run`]); the calling thread
//! never moves, so this is safe to use beside an async runtime (call it from a blocking context).
//!
//! Named namespaces follow the convention of `ip netns`: a bind mount of the namespace file at `/run/netns/NAME`.
#![deny(missing_docs)]

mod error;
mod guard;
mod named;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

pub use error::Error;
pub use guard::Guard;
pub use named::{DIRECTORY, create, delete, exists, list, path_of};

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An open network namespace. It lives at least as long as this value.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

/// What tells one namespace from another: device and inode of its file in nsfs.
///
/// An inode number is used again after the namespace is gone; compare only while holding one of the two open.
/// [`Netns::cookie`] is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsId {
    /// `st_dev` of nsfs.
    pub device: u64,
    /// `st_ino`, as in `net:[4026531840]`.
    pub inode: u64,
}

// `SO_NETNS_COOKIE`: kernel commit e8b9eab99232 (5.14). The macro holds the one getsockopt call.
mod cookie {
    use nix::{getsockopt_impl, sockopt_impl};
    sockopt_impl!(
        /// Cookie of the namespace a socket was made in.
        NetnsCookie,
        GetOnly,
        libc::SOL_SOCKET,
        libc::SO_NETNS_COOKIE,
        u64
    );
}

// === impl Netns ===

impl Netns {
    /// Opens the namespace whose file is at `path` (`/run/netns/NAME`, `/proc/PID/ns/net`). Never waits, whatever is there;
    /// what is not a namespace is refused when it is entered.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Opens `/run/netns/NAME`.
    pub fn open_named(name: &str) -> Result<Self> {
        Self::open(path_of(name)?)
    }

    /// Opens the namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Identity of the namespace.
    pub fn id(&self) -> Result<NetnsId> {
        let meta = self.file.metadata().map_err(|source| Error::Open { path: self.path.clone(), source })?;
        Ok(NetnsId { device: meta.dev(), inode: meta.ino() })
    }

    /// Runs `f` on a fresh thread inside the namespace and gives its result.
    ///
    /// Everything that `f` opens (sockets, `/proc/sys/net` files) belongs to the namespace and may be taken out of it.
    /// A panic of `f` goes on in the caller.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || {
                    setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
                        .map_err(|errno| Error::Enter { path: self.path.clone(), source: errno.into() })?;
                    Ok(f())
                })
                .map_err(|source| Error::Thread { source })?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The cookie of the namespace (`SO_NETNS_COOKIE`): the number BPF programs get from `bpf_get_netns_cookie()`.
    pub fn cookie(&self) -> Result<u64> {
        self.run(current_cookie)?
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The cookie of the calling thread's namespace.
pub fn current_cookie() -> Result<u64> {
    let read = || {
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        nix::sys::socket::getsockopt(&socket, cookie::NetnsCookie).map_err(std::io::Error::from)
    };
    read().map_err(|source| Error::Cookie { source })
}
