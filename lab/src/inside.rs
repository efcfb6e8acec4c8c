//! A place to run async code inside a network namespace.
//!
//! One thread that entered the namespace drives a small runtime; every socket opened by a task on it, and every process
//! spawned by one, belongs to the namespace. The rest of the daemon never leaves its own.

use std::path::Path;
use std::sync::mpsc;

use pleopod_sys_netns::{Error, Netns};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// A runtime inside a namespace; the thread ends when the last clone of the token's owner is dropped.
#[derive(Debug)]
pub struct Inside {
    handle: Handle,
    stop: CancellationToken,
}

// === impl Inside ===

impl Inside {
    /// Enters the namespace at `path`.
    ///
    /// # Errors
    /// When the namespace can't be opened or entered.
    pub fn enter(path: &Path) -> Result<Self, Error> {
        let netns = Netns::open(path)?;
        let stop = CancellationToken::new();
        let until = stop.clone();
        let (tell, told) = mpsc::channel();
        let failed = tell.clone();
        let thread = move || {
            let outcome = netns.run(move || {
                let runtime = Builder::new_current_thread().enable_all().build();
                match runtime {
                    Ok(runtime) => {
                        let _ = tell.send(Ok(runtime.handle().clone()));
                        runtime.block_on(until.cancelled());
                        runtime.shutdown_background();
                    }
                    Err(source) => {
                        let _ = tell.send(Err(Error::Thread { source }));
                    }
                }
            });
            if let Err(error) = outcome {
                let _ = failed.send(Err(error));
            }
        };
        std::thread::Builder::new()
            .name("inside".into())
            .spawn(thread)
            .map_err(|source| Error::Thread { source })?;
        let handle = told
            .recv()
            .map_err(|_| Error::Thread { source: std::io::Error::other("the thread ended at once") })??;
        Ok(Self { handle, stop })
    }

    /// Where to spawn what must run inside.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs a future inside and gives its result; `None` when the namespace is being left.
    pub async fn run<F>(&self, future: F) -> Option<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future).await.ok()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_processes_belong_to_the_namespace() {
        let guard = pleopod_sys_netns::Guard::new("inside").expect("netns");
        let inside = Inside::enter(guard.path()).expect("entered");
        let out = inside.handle().spawn(async {
            tokio::process::Command::new("readlink").arg("/proc/self/ns/net").output().await
        });
        let outer = Builder::new_current_thread().build().expect("runtime");
        let out = outer.block_on(out).expect("ran").expect("readlink");
        let shown = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        assert_eq!(shown, format!("net:[{}]", guard.id().expect("id").inode));
    }
}
