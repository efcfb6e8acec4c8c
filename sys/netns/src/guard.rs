//! A named namespace for the length of a test.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Netns, Result, create, delete};

/// A namespace with a name of its own that goes away with this value, also when a test panics.
#[derive(Debug)]
pub struct Guard {
    name: String,
    netns: Netns,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

// === impl Guard ===

impl Guard {
    /// Makes `pleo-t-PID-N-LABEL`, a name no other test has.
    pub fn new(label: &str) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("pleo-t-{}-{number}-{label}", std::process::id());
        let netns = create(&name)?;
        Ok(Self { name, netns })
    }

    /// Its name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }
}

impl Deref for Guard {
    type Target = Netns;

    fn deref(&self) -> &Netns {
        &self.netns
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = delete(&self.name) {
            eprintln!("{error}");
        }
    }
}
