//! Events are news, not state: they go after an hour.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::meta::{self, seconds_since, text};

/// How long an Event is kept, in seconds, as a real API server does by default.
const KEPT: i64 = 3600;

/// Looks once a minute.
pub fn start(core: &Arc<Core>) {
    let core = core.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = core.stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(60)) => sweep(&core, KEPT),
            }
        }
    });
}

/// Takes away events last seen more than `kept` seconds ago.
fn sweep(core: &Core, kept: i64) {
    for e in core.store.list("events", None).0 {
        let last =
            ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        let last = last.iter().map(|p| text(&e.value, p)).find(|t| !t.is_empty()).unwrap_or("");
        if seconds_since(last).is_some_and(|s| s > kept) {
            let (ns, name) = (meta::namespace(&e.value), meta::name(&e.value));
            core.store.write(|tx| tx.remove("events", ns, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_old_events_go() {
        let core = Core::new(crate::Config::default()).expect("certificates");
        let event = |name: &str, at: i64| {
            let time = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - at).expect("a time");
            serde_json::json!({"metadata": {"name": name, "namespace": "d"}, "lastTimestamp": time.to_string()})
        };
        core.store.write(|tx| {
            tx.put(&"events".into(), event("old", 4000));
            tx.put(&"events".into(), event("new", 10));
        });
        sweep(&core, KEPT);
        let left: Vec<String> =
            core.store.list("events", None).0.iter().map(|e| meta::name(&e.value).to_owned()).collect();
        assert_eq!(left, ["new"]);
    }
}
