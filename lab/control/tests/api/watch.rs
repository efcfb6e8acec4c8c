//! Watches that resume, that fall behind, and that are cut.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use pleopod_lab_control::Config;
use serde_json::json;

use crate::cluster::{Cluster, until};

fn map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"v": value}}, "data": {"v": value}}))
        .expect("a map")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_from_a_version() {
    let c = Cluster::start();
    let api: Api<ConfigMap> = Api::default_namespaced(c.client().await);
    let first = api.create(&PostParams::default(), &map("a", "1")).await.expect("create");
    api.create(&PostParams::default(), &map("b", "1")).await.expect("create");
    let from = first.resource_version().expect("a version");
    let mut events = api.watch(&WatchParams::default().labels("v=1"), &from).await.expect("watch").boxed();
    match events.try_next().await.expect("an event") {
        Some(WatchEvent::Added(o)) => assert_eq!(o.name_any(), "b"),
        other => panic!("{other:?}"),
    }
    let mut b = api.get("b").await.expect("get");
    b.labels_mut().insert("v".into(), "2".into());
    api.replace("b", &PostParams::default(), &b).await.expect("replace");
    match events.try_next().await.expect("an event") {
        Some(WatchEvent::Deleted(o)) => assert_eq!(o.name_any(), "b", "it left the selection"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_gone_is_410() {
    let c = Cluster::with(Config { window: 4, controllers: false, ..Config::default() });
    let api: Api<ConfigMap> = Api::default_namespaced(c.client().await);
    let old = api
        .create(&PostParams::default(), &map("a", "1"))
        .await
        .expect("create")
        .resource_version()
        .expect("rv");
    for i in 0..8 {
        api.create(&PostParams::default(), &map(&format!("m{i}"), "1")).await.expect("create");
    }
    let mut events = api.watch(&WatchParams::default(), &old).await.expect("watch").boxed();
    match events.try_next().await.expect("an event") {
        Some(WatchEvent::Error(e)) => assert_eq!((e.code, e.reason.as_str()), (410, "Expired")),
        other => panic!("{other:?}"),
    }
    assert!(events.next().await.is_none(), "the watch ends after the error");
    // A fresh compaction does the same to a version that was good a moment ago.
    let now = api.list(&ListParams::default()).await.expect("list").metadata.resource_version.expect("rv");
    c.control.compact();
    let mut events = api.watch(&WatchParams::default(), &now).await.expect("watch").boxed();
    assert!(matches!(events.try_next().await, Ok(Some(WatchEvent::Error(e))) if e.code == 410));
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_watches_hear_of_progress() {
    let every = Duration::from_millis(30);
    let c = Cluster::with(Config { bookmark_every: every, controllers: false, ..Config::default() });
    let client = c.client().await;
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let other: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let rv = c.control.resource_version();
    let mut events = api.watch(&WatchParams::default(), &rv.to_string()).await.expect("watch").boxed();
    other.create(&PostParams::default(), &map("elsewhere", "1")).await.expect("create");
    let now = c.control.resource_version();
    assert!(now > rv);
    // The first mark may be from before the other namespace changed.
    loop {
        match events.try_next().await.expect("an event") {
            Some(WatchEvent::Bookmark(b)) if b.metadata.resource_version == now.to_string() => break,
            Some(WatchEvent::Bookmark(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_events_end_with_a_mark() {
    let c = Cluster::with(Config { controllers: false, ..Config::default() });
    let client = c.client().await;
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for n in ["a", "b"] {
        api.create(&PostParams::default(), &map(n, "1")).await.expect("create");
    }
    let mut s = watcher(api, watcher::Config::default().streaming_lists()).boxed();
    let mut seen = Vec::new();
    while let Some(e) = s.try_next().await.expect("an event") {
        match e {
            watcher::Event::Init => {}
            watcher::Event::InitApply(o) => seen.push(o.name_any()),
            watcher::Event::InitDone => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_survives_cuts_and_compaction() {
    let c = Cluster::with(Config { controllers: false, ..Config::default() });
    let client = c.client().await;
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let (reader, writer) = kube::runtime::reflector::store();
    let watched = watcher(api.clone(), watcher::Config::default().page_size(3)).default_backoff();
    let task = tokio::spawn(kube::runtime::reflector(writer, watched).for_each(|_| std::future::ready(())));
    for i in 0..10 {
        api.create(&PostParams::default(), &map(&format!("m{i}"), "1")).await.expect("create");
        match i % 3 {
            0 => c.control.drop_watches(),
            1 => {
                c.control.compact();
                c.control.drop_watches();
            }
            _ => {}
        }
    }
    let begun = std::time::Instant::now();
    while reader.len() != 10 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the reflector holds {} of 10", reader.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_add_up() {
    let c = Cluster::with(Config { controllers: false, ..Config::default() });
    let api: Api<ConfigMap> = Api::default_namespaced(c.client().await);
    for i in 0..7 {
        api.create(&PostParams::default(), &map(&format!("m{i}"), "1")).await.expect("create");
    }
    let mut p = ListParams::default().limit(3);
    let (mut names, mut versions) = (Vec::new(), Vec::new());
    loop {
        let l = api.list(&p).await.expect("list");
        names.extend(l.items.iter().map(|o| o.name_any()));
        versions.extend(l.metadata.resource_version);
        match l.metadata.continue_.filter(|t| !t.is_empty()) {
            Some(t) => p = p.continue_token(&t),
            None => break,
        }
        api.create(&PostParams::default(), &map(&format!("late{}", names.len()), "1")).await.expect("create");
    }
    assert_eq!(names.iter().filter(|n| n.starts_with('m')).count(), 7);
    versions.dedup();
    assert_eq!(versions.len(), 1, "every page is of one version");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_get_watch_prints_rows() {
    let c = Cluster::start();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config");
    std::fs::write(&path, c.control.kubeconfig(&c.url, "admin")).expect("kubeconfig");
    let out = std::fs::File::create(dir.path().join("out")).expect("a file");
    let mut child = tokio::process::Command::new("kubectl")
        .args(["get", "cm", "-w"])
        .env("KUBECONFIG", &path)
        .env("HOME", dir.path())
        .stdout(out)
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl");
    let text = || std::fs::read_to_string(dir.path().join("out")).unwrap_or_default();
    until("the first row", async || text().contains("kube-root-ca.crt").then_some(())).await;
    c.kubectl("create configmap later --from-literal=a=b").await;
    until("the new row", async || text().contains("later").then_some(())).await;
    assert_eq!(text().matches("NAME").count(), 1, "{}", text());
    child.kill().await.expect("kill");
}
