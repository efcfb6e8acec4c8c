//! Short grace periods while programs are attached and taken away.
//!
//! The kernel ends every attachment to a tcx hook with `synchronize_rcu()` (net/core/tcx, `tcx_entry_sync`), under the
//! lock that all link changes of the machine need: 15 ms each on a kernel that is in no hurry, two for each pod. With
//! `/sys/kernel/rcu_expedited` set the same wait is some 50 us. The price is an interrupt on every CPU for each grace
//! period of anyone, so the switch is on only while there is work, and a moment longer for what the kernel still has to do.
//!
//! Several agents on one kernel (the lab) share the switch. One that finds it on leaves it to whoever put it on; at worst
//! it is off again too early and one attachment takes 15 ms.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The switch (kernel/ksysfs.c; the boot parameter `rcupdate.rcu_expedited` is the same).
const SWITCH: &str = "/sys/kernel/rcu_expedited";
/// How long the switch stays on after the last [`Expedite::hurry`].
const LINGER: Duration = Duration::from_millis(250);

/// Keeps the switch on while there is work.
#[derive(Debug)]
pub(crate) struct Expedite {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    switch: PathBuf,
    /// A directory that is there while the switch is on by our doing, so that the next agent puts it back after a crash.
    marker: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// When to put the switch back; `None` when we did not turn it on.
    until: Option<Instant>,
    stop: bool,
}

// === impl Expedite ===

impl Expedite {
    /// Starts with the switch put back if an earlier agent died with it on. `pins` holds the marker.
    pub(crate) fn start(pins: &Path) -> io::Result<Self> {
        Self::over(Path::new(SWITCH), pins)
    }

    fn over(switch: &Path, pins: &Path) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            switch: switch.to_owned(),
            marker: pins.join("expedited"),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        if shared.marker.exists() {
            shared.put_back();
        }
        let thread = std::thread::Builder::new().name("expedite".into()).spawn({
            let shared = shared.clone();
            move || shared.watch()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Grace periods are short from now on, for a moment. Where the switch can't be written they stay as they are.
    pub(crate) fn hurry(&self) {
        let mut state = self.shared.lock();
        let on = fs::read_to_string(&self.shared.switch).is_ok_and(|text| text.trim() == "1");
        if !on && !self.shared.turn_on() {
            return;
        }
        if !on || state.until.is_some() {
            state.until = Some(Instant::now() + LINGER);
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Expedite {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_on(&self) -> bool {
        // The marker first: a crash in between only makes the next agent write a zero that is there already.
        let marked = fs::create_dir(&self.marker);
        if marked.is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists) {
            return false;
        }
        fs::write(&self.switch, "1").is_ok()
    }

    fn put_back(&self) {
        if fs::write(&self.switch, "0").is_ok() {
            let _ = fs::remove_dir(&self.marker);
        }
    }

    fn watch(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.until {
                Some(until) if state.stop || until <= now => {
                    self.put_back();
                    state.until = None;
                }
                _ if state.stop => return,
                Some(until) => {
                    let waited = self.changed.wait_timeout(state, until - now);
                    state = waited.map_or_else(|e| e.into_inner().0, |(state, _)| state);
                }
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str, switch: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pleo-t-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("pins")).unwrap();
            fs::write(path.join("switch"), switch).unwrap();
            Self(path)
        }

        fn start(&self) -> Expedite {
            Expedite::over(&self.0.join("switch"), &self.0.join("pins")).unwrap()
        }

        fn switch(&self) -> String {
            fs::read_to_string(self.0.join("switch")).unwrap()
        }

        fn marked(&self) -> bool {
            self.0.join("pins/expedited").exists()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn the_switch_is_on_while_there_is_work_and_put_back() {
        let place = Place::new("on", "0");
        let expedite = place.start();
        expedite.hurry();
        assert_eq!((place.switch().as_str(), place.marked()), ("1", true));
        expedite.hurry();
        drop(expedite);
        assert_eq!((place.switch().as_str(), place.marked()), ("0", false));
    }

    #[test]
    fn it_goes_off_by_itself() {
        let place = Place::new("itself", "0");
        let expedite = place.start();
        expedite.hurry();
        let gone = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            // The marker goes last.
            place.switch() == "0" && !place.marked()
        });
        assert!(gone);
        expedite.hurry();
        assert_eq!(place.switch(), "1");
    }

    #[test]
    fn what_someone_else_turned_on_stays_on() {
        let place = Place::new("else", "1");
        let expedite = place.start();
        expedite.hurry();
        assert!(!place.marked());
        drop(expedite);
        assert_eq!(place.switch(), "1");
    }

    #[test]
    fn a_crash_with_the_switch_on_is_put_right() {
        let place = Place::new("crash", "1");
        fs::create_dir(place.0.join("pins/expedited")).unwrap();
        let expedite = place.start();
        assert_eq!((place.switch().as_str(), place.marked()), ("0", false));
        drop(expedite);
    }
}
