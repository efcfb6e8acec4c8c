//! The agent's side of the Kubernetes API, against the embedded API server: watches that survive, identities that
//! are claimed once, endpoints that are written and removed by the right node.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event as KubeEvent, Namespace, Node, Service};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use pleopod_intake::publish::{self, Published};
use pleopod_intake::{Kind, Store};
use pleopod_intake_kube::crd::{PleopodEndpoint, PleopodIdentity, install_absent};
use pleopod_intake_kube::{Connection, Identities, Lookup, Publisher, Reporter, Watches, connect, watches};
use pleopod_lab_control::{Config, Control};
use pleopod_model::{IdentityId, Labels, ObjectName, Problem};
use serde_json::{Value, json};

const NODE: &str = "k8s-s";

struct Cluster {
    control: Control,
    client: Client,
    directory: tempfile::TempDir,
    url: String,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.control.shutdown();
    }
}

impl Cluster {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = listener.local_addr().expect("bound");
        let control = Control::new(config()).expect("certificates");
        control.serve(listener).expect("serves");
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("https://{at}");
        let client = client_as(&control, &directory, &url, "admin").await;
        install_absent(&client).await.expect("the definitions");
        Self { control, client, directory, url }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create_service(&self, name: &str) {
        let service = from(json!({"metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}));
        self.api::<Service>().create(&PostParams::default(), &service).await.expect("a Service");
    }

    fn watch(&self) -> Seen {
        let config = watches::Config::new(NODE);
        Seen { watches: Watches::start(self.client.clone(), &config), store: Store::new() }
    }
}

/// The address of the API server is one nobody connects to here, only told to pods.
fn config() -> Config {
    Config { endpoint: Some(([192, 0, 2, 10].into(), 6443)), ..Config::default() }
}

/// A wire to the server that can be cut and mended.
struct Wire {
    at: std::net::SocketAddr,
    to: String,
    carrying: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(carrying) = self.carrying.take() {
            carrying.abort();
        }
    }
}

impl Wire {
    async fn to(cluster: &Cluster) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("bound");
        let to = cluster.url.trim_start_matches("https://").to_owned();
        let mut wire = Self { at, to, carrying: None };
        wire.carry(listener);
        wire
    }

    fn carry(&mut self, listener: tokio::net::TcpListener) {
        let to = self.to.clone();
        self.carrying = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let to = to.clone();
                connections.spawn(async move {
                    if let Ok(mut server) = tokio::net::TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut server).await;
                    }
                });
            }
        }));
    }

    /// Ends every connection; new ones are refused.
    async fn cut(&mut self) {
        if let Some(carrying) = self.carrying.take() {
            carrying.abort();
            let _ = carrying.await;
        }
    }

    async fn mend(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match tokio::net::TcpListener::bind(self.at).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "the port does not come back: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        self.carry(listener);
    }

    async fn watch(&self, cluster: &Cluster) -> Seen {
        let url = format!("https://{}", self.at);
        let client = client_as(&cluster.control, &cluster.directory, &url, "admin").await;
        let watches = Watches::start(client, &watches::Config::new(NODE));
        Seen { watches, store: Store::new() }
    }
}

async fn client_as(control: &Control, directory: &tempfile::TempDir, url: &str, user: &str) -> Client {
    let path = directory.path().join(user.replace(':', "-"));
    std::fs::write(&path, control.kubeconfig(url, user)).expect("a kubeconfig");
    connect(&Connection { kubeconfig: Some(path), server: None }).await.expect("a client")
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn name(text: &str) -> ObjectName {
    ObjectName::new("default", text)
}

fn labels(text: &str) -> Labels {
    Labels::from(vec![text.to_owned()])
}

/// Watches and what they told.
struct Seen {
    watches: Watches,
    store: Store,
}

impl Seen {
    async fn until(&mut self, what: &str, done: impl Fn(&Store) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(&self.store) {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.watches.advance(&mut self.store)).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{what}: the watches ended"),
                Err(_) => panic!("{what}: not within 20 s; {:?}", *self.watches.health().borrow()),
            }
        }
    }

    async fn synced(&mut self) {
        self.until("sync", Store::is_synced).await;
    }

    fn lists(&self, kind: Kind) -> u64 {
        self.watches.health().borrow()[&kind].lists
    }
}

fn has(service: &str) -> impl Fn(&Store) -> bool {
    let service = name(service);
    move |store| store.intent().services.contains_key(&service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_and_what_comes_is_seen() {
    let cluster = Cluster::start().await;
    cluster.create_service("before").await;
    let mut seen = cluster.watch();
    seen.synced().await;
    assert!(has("before")(&seen.store));
    assert!(has("kubernetes")(&seen.store));
    assert!(seen.store.intent().namespaces.contains_key("kube-system"));
    cluster.create_service("after").await;
    seen.until("after", has("after")).await;
    assert_eq!(seen.store.intent().services[&name("after")].cluster_ips.len(), 1);
    cluster.api::<Service>().delete("after", &DeleteParams::default()).await.expect("deleted");
    seen.until("deleted", |s| !has("after")(s)).await;
    assert_eq!(seen.store.problems().count(), 0, "{:?}", seen.store.problems().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pods_of_this_node_are_watched() {
    let cluster = Cluster::start().await;
    let pod = |name: &str, node: &str| {
        from(
            json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}}),
        )
    };
    let api = cluster.api::<k8s_openapi::api::core::v1::Pod>();
    for (name, node) in [("mine", NODE), ("other", "k8s-w1")] {
        api.create(&PostParams::default(), &pod(name, node)).await.expect("a Pod");
    }
    let mut seen = cluster.watch();
    seen.synced().await;
    seen.until("the pod", |s| s.intent().pods.contains_key(&name("mine"))).await;
    assert!(!seen.store.intent().pods.contains_key(&name("other")));
    let lookup = Lookup::new(cluster.client.clone());
    let found = lookup.pod(&name("other")).await.expect("an answer").expect("a Pod");
    assert_eq!((found.kind(), found.name()), (Kind::Pod, name("other")));
    assert!(lookup.pod(&name("nobody")).await.expect("an answer").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_watch_goes_on_where_it_was() {
    let cluster = Cluster::start().await;
    let mut seen = cluster.watch();
    seen.synced().await;
    let lists = seen.lists(Kind::Service);
    for round in 0..3 {
        cluster.control.drop_watches();
        let service = format!("s{round}");
        cluster.create_service(&service).await;
        seen.until(&service, has(&service)).await;
    }
    assert_eq!(seen.lists(Kind::Service), lists, "resumed, not listed again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_410_gone_nothing_is_missed_and_nothing_vanishes() {
    let cluster = Cluster::start().await;
    for service in ["stays", "goes"] {
        cluster.create_service(service).await;
    }
    let mut wire = Wire::to(&cluster).await;
    let mut seen = wire.watch(&cluster).await;
    seen.synced().await;
    let lists = seen.lists(Kind::Service);
    // While the watch is down, things change and the server forgets how.
    wire.cut().await;
    cluster.api::<Service>().delete("goes", &DeleteParams::default()).await.expect("deleted");
    cluster.create_service("comes").await;
    cluster.control.compact();
    wire.mend().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !has("comes")(&seen.store) || has("goes")(&seen.store) {
        assert!(has("stays")(&seen.store), "it was there all the time");
        let advance = seen.watches.advance(&mut seen.store);
        assert!(tokio::time::timeout_at(deadline, advance).await.is_ok_and(|c| c.is_some()), "nothing came");
    }
    assert_eq!(seen.lists(Kind::Service), lists + 1, "listed again");
    cluster.create_service("later").await;
    seen.until("later", has("later")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_told_and_found_again() {
    let cluster = Cluster::start().await;
    cluster.create_service("old").await;
    let mut wire = Wire::to(&cluster).await;
    let mut seen = wire.watch(&cluster).await;
    seen.synced().await;
    wire.cut().await;
    let mut health = seen.watches.health();
    // First the broken connections, then that no new one is to be had.
    let refused =
        |w: &pleopod_intake_kube::WatchHealth| w.error.as_ref().is_some_and(|e| e.contains("refused"));
    let down = health.wait_for(|all| all.values().all(refused));
    tokio::time::timeout(Duration::from_secs(20), down).await.expect("told").expect("runs");
    assert!(
        has("old")(&seen.store) && seen.store.is_synced(),
        "what was known stays while the server is away"
    );

    cluster.create_service("new").await;
    wire.mend().await;
    seen.until("new", has("new")).await;
    // Kinds of which nothing is heard count as connected once they stop failing.
    let up = health.wait_for(|all| all.values().all(|w| w.error.is_none()));
    tokio::time::timeout(Duration::from_secs(30), up).await.expect("told").expect("runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_comes_together_and_a_lone_event_at_once() {
    let cluster = Cluster::start().await;
    let mut seen = cluster.watch();
    seen.synced().await;
    let mut times = Vec::new();
    for n in 0..40 {
        let service = format!("lone{n}");
        cluster.create_service(&service).await;
        let answered = Instant::now();
        seen.until(&service, has(&service)).await;
        times.push(answered.elapsed());
    }
    times.sort();
    println!("API answer to event: p50 {:?}, max {:?}", times[20], times[39]);
    assert!(times[20] < Duration::from_millis(100), "held back: p50 {:?}", times[20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_labels_get_the_same_number_on_every_node() {
    let cluster = Cluster::start().await;
    let web = labels("k8s:app=web");
    let mut claims = Vec::new();
    for _ in 0..8 {
        let identities = Identities::new(cluster.client.clone());
        let web = web.clone();
        claims.push(tokio::spawn(async move { identities.claim(&web).await.expect("a number") }));
    }
    let mut numbers = Vec::new();
    for claim in claims {
        numbers.push(claim.await.expect("no panic"));
    }
    let first = pleopod_intake::identity::candidates(&web).next().expect("a candidate");
    assert!(numbers.iter().all(|id| *id == first), "{numbers:?}");
    let api: Api<PleopodIdentity> = Api::all(cluster.client.clone());
    assert_eq!(api.list(&ListParams::default()).await.expect("a list").items.len(), 1);

    let mut seen = cluster.watch();
    seen.synced().await;
    assert_eq!(seen.store.identity_of(&web), Some(first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_others_have_is_left_to_them() {
    let cluster = Cluster::start().await;
    let web = labels("k8s:app=web");
    let mut candidates = pleopod_intake::identity::candidates(&web);
    let taken: Vec<IdentityId> = candidates.by_ref().take(3).collect();
    let api: Api<PleopodIdentity> = Api::all(cluster.client.clone());
    for id in &taken {
        let object: PleopodIdentity =
            from(json!({"apiVersion": "pleopod.io/v1alpha1", "kind": "PleopodIdentity",
            "metadata": {"name": id.to_string()}, "spec": {"labels": [format!("k8s:other={id}")]}}));
        api.create(&PostParams::default(), &object).await.expect("created");
    }
    let identities = Identities::new(cluster.client.clone());
    let id = identities.claim(&web).await.expect("a number");
    assert_eq!(Some(id), candidates.next());
    // When the earlier numbers become free, the labels still keep theirs.
    for id in &taken {
        api.delete(&id.to_string(), &DeleteParams::default()).await.expect("deleted");
    }
    assert_eq!(Identities::new(cluster.client.clone()).claim(&web).await.expect("a number"), id);
}

fn published(address: &str, uid: &str) -> Published {
    Published {
        id: 416,
        pod_uid: uid.into(),
        identity: IdentityId(25_054),
        labels: labels("k8s:app=web"),
        addresses: vec![address.parse().expect("an address")],
        node_address: Some("192.168.10.10".parse().expect("an address")),
        state: "ready".into(),
    }
}

/// A pod object, so that the endpoint has a living owner.
async fn pod_uid(cluster: &Cluster, name: &str) -> String {
    let pod = from(json!({"metadata": {"name": name},
        "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]}}));
    let api = cluster.api::<k8s_openapi::api::core::v1::Pod>();
    api.create(&PostParams::default(), &pod).await.expect("a Pod").uid().expect("a UID")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_are_published_compared_and_removed() {
    let cluster = Cluster::start().await;
    let uid = pod_uid(&cluster, "netpod").await;
    let publisher = Publisher::new(cluster.client.clone(), NODE);
    let mut local = BTreeMap::from([(name("netpod"), published("172.16.0.230", &uid))]);
    let mut seen = cluster.watch();
    seen.synced().await;
    let writes = publish::diff(seen.store.intent(), NODE, &local);
    assert_eq!(writes.upsert, [(name("netpod"), false)]);
    // A wrong belief about whether it exists costs a request, not the write.
    publisher.upsert_endpoint(&name("netpod"), &local[&name("netpod")], true).await.expect("written");
    publisher.upsert_endpoint(&name("netpod"), &local[&name("netpod")], false).await.expect("written again");
    seen.until("the endpoint", |s| s.intent().endpoints.contains_key(&name("netpod"))).await;
    assert_eq!(publish::diff(seen.store.intent(), NODE, &local), publish::Writes::default());

    let object = cluster.api::<PleopodEndpoint>().get("netpod").await.expect("there");
    assert_eq!(object.owner_references()[0].uid, uid);
    assert_eq!(object.status.expect("a status").networking.expect("addresses").addressing[0].ipv6, None);

    local.get_mut(&name("netpod")).expect("there").identity = IdentityId(300);
    let writes = publish::diff(seen.store.intent(), NODE, &local);
    assert_eq!(writes.upsert, [(name("netpod"), true)]);
    publisher.upsert_endpoint(&name("netpod"), &local[&name("netpod")], true).await.expect("changed");
    seen.until("the new identity", |s| {
        s.intent().endpoints.get(&name("netpod")).is_some_and(|e| e.identity == IdentityId(300))
    })
    .await;

    let elsewhere = Publisher::new(cluster.client.clone(), "k8s-w1");
    assert!(!elsewhere.delete_endpoint(&name("netpod"), None).await.expect("an answer"), "it is not theirs");
    assert!(
        !publisher.delete_endpoint(&name("netpod"), Some(&uid)).await.expect("an answer"),
        "the pod lives"
    );
    local.clear();
    assert_eq!(publish::diff(seen.store.intent(), NODE, &local).delete, [name("netpod")]);
    assert!(publisher.delete_endpoint(&name("netpod"), None).await.expect("an answer"));
    assert!(!publisher.delete_endpoint(&name("netpod"), None).await.expect("gone already is fine"));
    seen.until("its end", |s| s.intent().endpoints.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_tells_its_addresses_and_that_it_is_ready() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = from(json!({"metadata": {"name": NODE}, "spec": {"podCIDR": "172.16.0.0/24"}, "status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": "x"}],
        "addresses": [{"type": "InternalIP", "address": "192.168.10.10"}]}}));
    nodes.create(&PostParams::default(), &node).await.expect("a Node");
    let publisher = Publisher::new(cluster.client.clone(), NODE);
    let ip = |text: &str| text.parse().expect("an address");
    publisher
        .annotate_node(&[ip("172.16.0.12"), ip("fd00::12")], &[ip("172.16.0.236")])
        .await
        .expect("annotated");
    publisher.set_network_available(true, "Pleopod serves this node").await.expect("condition set");
    publisher.set_network_available(true, "Pleopod serves this node").await.expect("condition set again");
    let node = nodes.get(NODE).await.expect("there");
    let conditions = node.status.clone().and_then(|s| s.conditions).unwrap_or_default();
    let states: Vec<_> = conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
    assert_eq!(states.iter().filter(|s| **s == ("NetworkUnavailable", "False")).count(), 1, "{states:?}");
    let mut seen = cluster.watch();
    seen.synced().await;
    let node = &seen.store.intent().nodes[NODE];
    assert_eq!(node.router_addresses, [ip("172.16.0.12"), ip("fd00::12")]);
    assert_eq!(node.health_addresses, [ip("172.16.0.236")]);

    let missing = Publisher::new(cluster.client.clone(), "nobody").annotate_node(&[], &[]).await;
    let error = missing.expect_err("there is no such node");
    assert!(error.is_not_found() && !error.is_retryable());
    assert_eq!(error.to_string(), "annotating Node nobody: nodes \"nobody\" not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_problem_is_an_event_at_its_object_once() {
    let cluster = Cluster::start().await;
    cluster.create_service("svc").await;
    let reporter = Reporter::new(cluster.client.clone(), NODE);
    let problem =
        Problem::new("Service", name("svc"), "spec.ports[0].port", "0 is not a port", "use 1 to 65535");
    for _ in 0..3 {
        reporter.problem(&problem, "InvalidObject").await.expect("written");
    }
    // Another agent process, as after a restart, counts up instead of writing another.
    Reporter::new(cluster.client.clone(), NODE).problem(&problem, "InvalidObject").await.expect("counted");
    let events = cluster.api::<KubeEvent>().list(&ListParams::default()).await.expect("a list");
    let ours: Vec<_> = events.items.iter().filter(|e| e.reason.as_deref() == Some("InvalidObject")).collect();
    assert_eq!(ours.len(), 1);
    let service = cluster.api::<Service>().get("svc").await.expect("there");
    assert_eq!((ours[0].count, &ours[0].involved_object.uid), (Some(2), &service.uid()));
    let expected = "spec.ports[0].port: 0 is not a port; use 1 to 65535";
    assert_eq!(ours[0].message.as_deref(), Some(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_did_not_arrive_can_be_made_again() {
    let cluster = Cluster::start().await;
    let mut wire = Wire::to(&cluster).await;
    let url = format!("https://{}", wire.at);
    let reporter = Reporter::new(client_as(&cluster.control, &cluster.directory, &url, "admin").await, NODE);
    let problem = Problem::new("Service", name("svc"), "spec", "is odd", "");
    wire.cut().await;
    let error = reporter.problem(&problem, "InvalidObject").await.expect_err("nobody is there");
    assert!(error.is_retryable(), "{error}");
    wire.mend().await;
    reporter.problem(&problem, "InvalidObject").await.expect("written");
    let events = cluster.api::<KubeEvent>().list(&ListParams::default()).await.expect("a list");
    let ours: Vec<_> = events.items.iter().filter(|e| e.reason.as_deref() == Some("InvalidObject")).collect();
    assert_eq!((ours.len(), ours[0].count), (1, Some(1)));
}

async fn mark_of(cluster: &Cluster, id: IdentityId) -> Option<String> {
    let object =
        Api::<PleopodIdentity>::all(cluster.client.clone()).get(&id.to_string()).await.expect("there");
    object.annotations().get(pleopod_intake::crd::UNUSED_SINCE).cloned()
}

/// Whoever takes a number into use while it is being collected keeps it, or gets one that is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_in_use_is_never_collected() {
    let cluster = Cluster::start().await;
    let web = labels("k8s:app=web");
    let agent = || Identities::new(cluster.client.clone());
    let mut seen = cluster.watch();
    let id = agent().claim(&web).await.expect("a number");
    seen.until("the number is known", |s| s.identity_of(&web) == Some(id)).await;
    assert!(!agent().remove(id, "never marked").await.expect("an answer"), "without a mark nothing goes");

    // Marked: nobody takes it from the watch; a claim takes the mark away, and with it the right to remove.
    assert!(agent().mark(id).await.expect("marked"));
    let mark = mark_of(&cluster, id).await.expect("a mark");
    assert!(agent().mark(id).await.expect("marked already"));
    assert_eq!(mark_of(&cluster, id).await.as_ref(), Some(&mark), "a second mark starts nothing anew");
    seen.until("the mark is known", |s| s.mark_of(id) == Some(&mark)).await;
    assert_eq!(seen.store.identity_of(&web), None);
    assert_eq!(seen.store.intent().identities[&id], web, "flows still have its name");
    assert_eq!(agent().claim(&web).await.expect("the same"), id);
    assert_eq!(mark_of(&cluster, id).await, None);
    assert!(!agent().remove(id, &mark).await.expect("an answer"));
    seen.until("the mark is gone", |s| s.identity_of(&web) == Some(id)).await;

    // The same agent as a moment ago goes by what is there, not by what it remembers.
    let remembers = agent();
    assert_eq!(remembers.claim(&web).await.expect("the same"), id);
    agent().mark(id).await.expect("marked");
    assert_eq!(remembers.claim_anew(&web).await.expect("the same"), id);
    assert_eq!(mark_of(&cluster, id).await, None);

    // Marked and removed: the next claim makes it anew, and it is the same number.
    agent().mark(id).await.expect("marked");
    let mark = mark_of(&cluster, id).await.expect("a mark");
    assert!(agent().remove(id, &mark).await.expect("removed"));
    assert!(!agent().remove(id, &mark).await.expect("gone") && !agent().mark(id).await.expect("gone"));
    seen.until("it is gone", |s| !s.intent().identities.contains_key(&id) && s.mark_of(id).is_none()).await;
    assert_eq!(agent().claim(&web).await.expect("a number"), id);

    // Many at once: whatever the order, the claim's number is there in the end.
    for _ in 0..20 {
        agent().mark(id).await.expect("an answer");
        let mark = mark_of(&cluster, id).await.expect("a mark");
        let (remover, claimer) = (agent(), agent());
        let (removed, claimed) = tokio::join!(remover.remove(id, &mark), claimer.claim(&web));
        removed.expect("an answer");
        assert_eq!(claimed.expect("a number"), id);
        assert_eq!(mark_of(&cluster, id).await, None);
    }
}

/// The manifests of `deploy/` give the agent what it needs to do all of this, and no secrets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_the_manifests_are_enough_and_few() {
    let mut cluster = Cluster::start().await;
    let uid = pod_uid(&cluster, "netpod").await;
    cluster.create_service("svc").await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.create(&PostParams::default(), &from(json!({"metadata": {"name": NODE}}))).await.expect("a Node");
    let manifests = include_str!("../../deploy/rbac.yaml");
    let manifests: Vec<Value> = serde_saphyr::from_multiple(manifests).expect("YAML");
    for manifest in manifests {
        let object: kube::core::DynamicObject = from(manifest);
        let types = object.types.clone().expect("a kind");
        let kind = kube::core::GroupVersionKind::try_from(types).expect("a kind");
        let resource = kube::api::ApiResource::from_gvk(&kind);
        let api: Api<kube::core::DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
            None => Api::all_with(cluster.client.clone(), &resource),
        };
        api.create(&PostParams::default(), &object).await.expect("created");
    }
    let account = "system:serviceaccount:kube-system:pleopod-agent";
    cluster.client = client_as(&cluster.control, &cluster.directory, &cluster.url, account).await;

    let mut seen = cluster.watch();
    seen.synced().await;
    let id = Identities::new(cluster.client.clone()).claim(&labels("k8s:app=web")).await.expect("a number");
    let identities = Identities::new(cluster.client.clone());
    assert!(identities.mark(id).await.expect("marked"));
    assert_eq!(identities.claim(&labels("k8s:app=web")).await.expect("unmarked"), id);
    let unused = identities.claim(&labels("k8s:app=gone")).await.expect("a number");
    identities.mark(unused).await.expect("marked");
    let mark = mark_of(&cluster, unused).await.expect("a mark");
    assert!(identities.remove(unused, &mark).await.expect("removed"));
    let publisher = Publisher::new(cluster.client.clone(), NODE);
    let what = Published { identity: id, ..published("172.16.0.230", &uid) };
    publisher.upsert_endpoint(&name("netpod"), &what, false).await.expect("created");
    publisher.upsert_endpoint(&name("netpod"), &what, true).await.expect("changed");
    assert!(publisher.delete_endpoint(&name("netpod"), None).await.expect("removed"));
    publisher.annotate_node(&[], &[]).await.expect("annotated");
    publisher.set_network_available(true, "up").await.expect("condition set");
    let lookup = Lookup::new(cluster.client.clone());
    assert!(lookup.pod(&name("netpod")).await.expect("read").is_some());
    for _ in 0..2 {
        let problem = Problem::new("Service", name("svc"), "", "is odd", "");
        Reporter::new(cluster.client.clone(), NODE).problem(&problem, "Odd").await.expect("written");
    }

    let secrets = cluster.api::<k8s_openapi::api::core::v1::Secret>().list(&ListParams::default()).await;
    assert!(matches!(secrets, Err(kube::Error::Api(status)) if status.is_forbidden()));
    let service = cluster.api::<Service>().delete("svc", &DeleteParams::default()).await;
    assert!(matches!(service, Err(kube::Error::Api(status)) if status.is_forbidden()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_can_be_looked_up_before_the_watch_has_it() {
    let cluster = Cluster::start().await;
    let team: Namespace = from(json!({"metadata": {"name": "team", "labels": {"colour": "red"}}}));
    Api::all(cluster.client.clone()).create(&PostParams::default(), &team).await.expect("a Namespace");
    let found =
        Lookup::new(cluster.client.clone()).namespace("team").await.expect("an answer").expect("there");
    let mut store = Store::new();
    store.apply(pleopod_intake::Event::Applied(found));
    assert_eq!(store.intent().namespaces["team"].get("colour").map(String::as_str), Some("red"));
}

#[tokio::test]
async fn a_kubeconfig_that_is_none_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config");
    let told = |connection: Connection| async move {
        match connect(&connection).await {
            Ok(_) => panic!("connected"),
            Err(error) => error.to_string(),
        }
    };
    let missing = told(Connection { kubeconfig: Some(path.clone()), server: None }).await;
    assert!(
        missing.starts_with("can't connect to the API server: kubeconfig ")
            && missing.contains("No such file"),
        "{missing}"
    );
    std::fs::write(&path, "clusters: 7").expect("written");
    let junk = told(Connection { kubeconfig: Some(path), server: None }).await;
    assert!(junk.starts_with("can't connect to the API server: kubeconfig "), "{junk}");
    let neither = told(Connection::default()).await;
    assert!(neither.contains("give --kubeconfig"), "{neither}");
}
