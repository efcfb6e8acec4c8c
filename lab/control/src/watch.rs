//! Watches: a position in the history, a filter, and the text of each event.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use serde_json::{Value, json};
use tokio::sync::watch as signal;
use tokio::time::Instant;

use crate::core::Core;
use crate::error::ApiError;
use crate::form::Form;
use crate::meta;
use crate::resource::Resource;
use crate::select::{Fields, Labels};
use crate::store::{Change, Event, Next, Stored};

/// How many events one turn of a watch takes from the history.
const BATCH: usize = 512;

/// What a watcher asked for.
pub struct Ask {
    /// The resource.
    pub resource: Arc<Resource>,
    /// The version objects are shown in.
    pub version: String,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Label filter.
    pub labels: Labels,
    /// Field filter.
    pub fields: Fields,
    /// Where to start.
    pub start: Start,
    /// Whether to tell of progress.
    pub bookmarks: bool,
    /// Full objects, metadata or table rows.
    pub form: Form,
    /// When to end.
    pub timeout: Duration,
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Everything there is, then changes. `true`: a bookmark marks the end of what there was.
    Everything(bool),
    /// Changes after this version.
    After(u64),
}

struct Watcher {
    core: Arc<Core>,
    ask: Ask,
    tip: signal::Receiver<u64>,
    epoch: signal::Receiver<u64>,
    stop: tokio_util::sync::CancellationToken,
    at: u64,
    begun: bool,
    over: bool,
    header: bool,
    deadline: Instant,
    bookmark: Instant,
}

/// The body of a watch response: one JSON document a line.
pub fn stream(core: Arc<Core>, ask: Ask) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let tip = core.store.tip(&ask.resource.shelf);
    let epoch = core.store.epoch();
    let stop = core.stop.clone();
    let now = Instant::now();
    let deadline = now + ask.timeout;
    let bookmark = now + core.config.bookmark_every;
    let w = Watcher {
        core,
        ask,
        tip,
        epoch,
        stop,
        at: 0,
        begun: false,
        over: false,
        header: true,
        deadline,
        bookmark,
    };
    futures::stream::unfold(w, |mut w| async move { w.next().await.map(|b| (Ok(b), w)) })
}

// === impl Watcher ===

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if !self.begun {
            self.begun = true;
            let first = self.begin();
            if !first.is_empty() {
                return Some(first.freeze());
            }
        }
        loop {
            self.tip.mark_unchanged();
            match self.core.store.after(&self.ask.resource.shelf, self.at, BATCH) {
                Next::Gone(oldest) => {
                    self.over = true;
                    let e = ApiError::expired(format!("too old resource version: {} ({oldest})", self.at));
                    return Some(line("ERROR", e.to_status().to_string().as_bytes()).freeze());
                }
                Next::Events(events) if !events.is_empty() => {
                    let mut out = BytesMut::new();
                    for e in &events {
                        self.at = e.rv;
                        self.write(e, &mut out);
                    }
                    if !out.is_empty() {
                        return Some(out.freeze());
                    }
                    continue;
                }
                Next::Events(_) => {}
            }
            tokio::select! {
                r = self.tip.changed() => r.ok()?,
                _ = self.epoch.changed() => return None,
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.deadline) => return None,
                () = tokio::time::sleep_until(self.bookmark), if self.ask.bookmarks => {
                    self.bookmark = Instant::now() + self.core.config.bookmark_every;
                    // The version is read first: an event between the two reads is then still sent after it.
                    let rv = self.core.store.version();
                    if let Next::Events(events) = self.core.store.after(&self.ask.resource.shelf, self.at, 1)
                        && events.is_empty() {
                        self.at = self.at.max(rv);
                        return Some(self.bookmark_at(rv, false).freeze());
                    }
                }
            }
        }
    }

    fn begin(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        match self.ask.start {
            Start::After(rv) => {
                self.at = rv;
                let now = self.core.store.version();
                if rv > now {
                    self.over = true;
                    let e = ApiError::expired(format!("too large resource version: {rv}, current: {now}"));
                    out = line("ERROR", e.to_status().to_string().as_bytes());
                }
            }
            Start::Everything(mark) => {
                let (all, rv) = self.core.store.list(&self.ask.resource.shelf, self.ask.namespace.as_deref());
                for o in &all {
                    if self.wants(o) {
                        self.put("ADDED", o, &mut out);
                    }
                }
                self.at = rv;
                if mark {
                    out.unsplit(self.bookmark_at(rv, true));
                }
            }
        }
        out
    }

    fn wants(&self, o: &Stored) -> bool {
        self.ask.namespace.as_deref().is_none_or(|ns| meta::namespace(&o.value) == ns)
            && self.ask.labels.matches(meta::labels(&o.value))
            && (self.ask.fields.0.is_empty()
                || self.ask.fields.matches(&self.ask.form.shown(&o.value, &self.ask.resource)))
    }

    fn write(&mut self, e: &Event, out: &mut BytesMut) {
        let now = e.change != Change::Deleted && self.wants(&e.object);
        let before = e.previous.as_ref().is_some_and(|p| self.wants(p));
        match (before, now) {
            (false, true) => self.put("ADDED", &e.object, out),
            (true, true) => self.put("MODIFIED", &e.object, out),
            (true, false) => self.put("DELETED", &e.object, out),
            (false, false) => {}
        }
    }

    fn put(&mut self, what: &str, o: &Stored, out: &mut BytesMut) {
        let text = self.ask.form.one(o, &self.ask.resource, &self.ask.version, &mut self.header);
        out.unsplit(line(what, &text));
    }

    fn bookmark_at(&self, rv: u64, initial_end: bool) -> BytesMut {
        let r = &self.ask.resource;
        let mut m = json!({"resourceVersion": rv.to_string(), "creationTimestamp": null});
        if initial_end {
            m["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut o: Value =
            json!({"kind": r.kind, "apiVersion": r.api_version(&self.ask.version), "metadata": m});
        if let Form::Table(_) = self.ask.form {
            o = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": rv.to_string()},
                "columnDefinitions": [], "rows": []});
        }
        line("BOOKMARK", o.to_string().as_bytes())
    }
}

fn line(what: &str, object: &[u8]) -> BytesMut {
    let mut b = BytesMut::with_capacity(object.len() + 40);
    b.put_slice(b"{\"type\":\"");
    b.put_slice(what.as_bytes());
    b.put_slice(b"\",\"object\":");
    b.put_slice(object);
    b.put_slice(b"}\n");
    b
}
