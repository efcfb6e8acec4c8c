//! Keeps the reader of the kernel's events going, and says when it does not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pleopod_flows::kernel::Reader;

use crate::health::Health;
use crate::log::one_line;

/// What reads until it fails.
pub trait Reads: Send + 'static {
    /// Why it ended; `None` while it reads.
    fn ended(&mut self) -> Option<io::Error>;
}

impl Reads for Reader {
    fn ended(&mut self) -> Option<io::Error> {
        Reader::ended(self)
    }
}

/// How often the reader is looked at, and how soon a new one takes the place of one that ended.
pub const LOOK: Duration = Duration::from_secs(1);

/// Keeps a reader going for as long as this runs: one that ends is told by the part `flows` of health, and another one is
/// started. What the kernel writes in between waits in the ring, or is counted as lost.
pub async fn keep<R: Reads>(
    start: impl Fn() -> io::Result<R> + Send + Sync + 'static,
    health: Arc<Health>,
    look: Duration,
) {
    loop {
        match start() {
            Ok(mut reader) => {
                health.set("flows", Ok("events of the kernel are read".into()));
                let why = loop {
                    tokio::time::sleep(look).await;
                    if let Some(why) = reader.ended() {
                        break why;
                    }
                };
                health.set("flows", Err(format!("the reader of events ended ({why}); it is started anew")));
            }
            Err(error) => {
                let why = one_line(&anyhow::Error::from(error));
                health.set("flows", Err(format!("events of the kernel can't be read: {why}; tried again")));
            }
        }
        tokio::time::sleep(look).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Fake(Arc<Mutex<Option<io::Error>>>);

    impl Reads for Fake {
        fn ended(&mut self) -> Option<io::Error> {
            self.0.lock().expect("a lock").take()
        }
    }

    async fn until(health: &Health, words: &str) {
        for _ in 0..2000 {
            let part = health.parts().into_iter().find(|(name, _)| *name == "flows");
            if part.is_some_and(|(_, part)| part.message.contains(words)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("nobody said {words:?}: {:?}", health.parts());
    }

    #[tokio::test]
    async fn a_reader_that_ends_is_told_and_another_takes_its_place() {
        let health = Arc::new(Health::new(&[]));
        let (ending, starts) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
        let start = {
            let (ending, starts) = (ending.clone(), starts.clone());
            move || match starts.fetch_add(1, Ordering::SeqCst) {
                0 => Err(io::Error::other("no ring")),
                _ => Ok(Fake(ending.clone())),
            }
        };
        let kept = tokio::spawn(keep(start, health.clone(), Duration::from_millis(30)));
        until(&health, "can't be read: no ring").await;
        until(&health, "events of the kernel are read").await;
        *ending.lock().expect("a lock") = Some(io::Error::other("poll: bad file"));
        until(&health, "the reader of events ended (poll: bad file)").await;
        until(&health, "events of the kernel are read").await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        assert_eq!(health.ready(), Ok(()), "pods are connected without it");
        kept.abort();
    }
}
