//! The cases of `plan/cases`: manifests in, the tables of one node out, as text.
//!
//! A case has the sections `node` (what the node has), `objects` (manifests) and `desired` (what must come out, the
//! problems included). Every case is planned with its objects in several orders; the result must be the same.
//! `PLEOPOD_BLESS=1` writes what comes out into the files, to be looked at before it is committed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use pleopod_intake::object::{EndpointObject, IdentityObject};
use pleopod_intake::{Event, Kind, Object, Store};
use pleopod_model::desired::{
    Backend, BackendState, Endpoint, Frontend, FrontendKind, LocalPod, NodeFacts, Outside, Route, Topology,
};
use pleopod_model::intent::{Balancing, RemovedBackend};
use pleopod_model::{IdentityId, Mac, ObjectName};
use pleopod_plan::{Planned, plan};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[derive(Deserialize)]
struct Facts {
    name: String,
    addresses: Vec<IpAddr>,
    #[serde(default)]
    router: Vec<IpAddr>,
    #[serde(default)]
    health: Vec<IpAddr>,
    #[serde(default)]
    pods: Vec<Local>,
}

#[derive(Deserialize)]
struct Local {
    pod: String,
    id: u16,
    ifindex: u32,
    identity: u32,
    addresses: Vec<IpAddr>,
}

#[test]
fn every_case_gives_its_tables() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../plan/cases");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&directory).expect("the cases").map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "no case in {}", directory.display());
    let bless = std::env::var_os("PLEOPOD_BLESS").is_some();
    let mut failed = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("text");
        let case = Case::parse(&name, &text);
        let came = case.run(&name);
        if bless {
            std::fs::write(&path, case.with(&came)).expect("written");
        } else if came.trim() != case.desired.trim() {
            println!("--- {name}: expected\n{}\n--- {name}: came\n{came}", case.desired.trim());
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "these cases differ: {failed:?}");
}

struct Case {
    head: String,
    facts: Facts,
    objects: Vec<Object>,
    desired: String,
}

impl Case {
    fn parse(name: &str, text: &str) -> Self {
        let (head, desired) = text.split_once("\n== desired\n").unwrap_or((text, ""));
        let (before, objects) =
            head.split_once("\n== objects\n").unwrap_or_else(|| panic!("{name}: no objects"));
        let (_, node) = before.split_once("== node\n").unwrap_or_else(|| panic!("{name}: no node"));
        let facts = serde_saphyr::from_str(node).unwrap_or_else(|e| panic!("{name}: node: {e}"));
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(objects).unwrap_or_else(|e| panic!("{name}: objects: {e}"));
        let objects = documents.into_iter().map(|d| object(name, d)).collect();
        Self { head: head.to_owned(), facts, objects, desired: desired.to_owned() }
    }

    fn with(&self, desired: &str) -> String {
        format!("{}\n== desired\n{desired}", self.head)
    }

    fn run(&self, name: &str) -> String {
        let count = self.objects.len();
        let straight: Vec<usize> = (0..count).collect();
        let expected = self.planned(&straight);
        for turn in 0..count {
            let turned: Vec<usize> = (0..count).map(|i| (i + turn) % count).collect();
            let back: Vec<usize> = turned.iter().rev().copied().collect();
            for order in [turned, back] {
                assert_eq!(
                    self.planned(&order),
                    expected,
                    "{name}: another plan when the objects come as {order:?}"
                );
            }
        }
        render(&expected.0, &expected.1)
    }

    fn planned(&self, order: &[usize]) -> (Planned, Vec<String>) {
        let mut store = Store::new();
        for kind in Kind::ALL {
            store.apply(Event::Listing(kind));
        }
        for i in order {
            store.apply(Event::ListItem(self.objects[*i].clone()));
        }
        for kind in Kind::ALL {
            store.apply(Event::Listed(kind));
        }
        let told = store.problems().map(ToString::to_string).collect();
        (plan(store.intent(), &self.facts()), told)
    }

    fn facts(&self) -> NodeFacts {
        let mut local = BTreeMap::new();
        for pod in &self.facts.pods {
            let id = pod.id;
            let [high, low] = id.to_be_bytes();
            for address in &pod.addresses {
                let name: ObjectName = pod.pod.parse().unwrap_or_default();
                let pod = LocalPod {
                    id,
                    pod: name,
                    ifindex: pod.ifindex,
                    ifname: format!("lxc{id}"),
                    mac: Mac([0x0a, 0, 0, 0, high, low]),
                    node_mac: Mac([0x0e, 0, 0, 0, high, low]),
                    netns_cookie: u64::from(id) + 4000,
                    identity: IdentityId(pod.identity),
                };
                local.insert(*address, pod);
            }
        }
        NodeFacts {
            name: self.facts.name.clone(),
            addresses: self.facts.addresses.clone(),
            router: self.facts.router.clone(),
            health: self.facts.health.clone(),
            local,
            ..NodeFacts::default()
        }
    }
}

fn object(case: &str, value: Value) -> Object {
    fn from<T: DeserializeOwned>(case: &str, value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{case}: {e} in {value}"))
    }
    match value["kind"].as_str().unwrap_or_default() {
        "Node" => Object::Node(from(case, &value)),
        "Namespace" => Object::Namespace(from(case, &value)),
        "Pod" => Object::Pod(from(case, &value)),
        "Service" => Object::Service(from(case, &value)),
        "EndpointSlice" => Object::EndpointSlice(from(case, &value)),
        "PleopodEndpoint" => Object::PleopodEndpoint(Box::new(EndpointObject {
            metadata: from(case, &value["metadata"]),
            spec: from(case, &value["spec"]),
            status: from(case, &value["status"]),
        })),
        "PleopodIdentity" => Object::PleopodIdentity(Box::new(IdentityObject {
            metadata: from(case, &value["metadata"]),
            spec: from(case, &value["spec"]),
        })),
        other => panic!("{case}: {other:?} is not a kind of a case"),
    }
}

fn render(planned: &Planned, told: &[String]) -> String {
    let mut out = String::new();
    let desired = &planned.desired;
    let _ = writeln!(out, "endpoints");
    for (address, endpoint) in &desired.endpoints {
        let _ = match endpoint {
            Endpoint::Host { identity } => writeln!(out, "  {address} host identity={identity}"),
            Endpoint::Pod(p) => {
                let LocalPod { id, pod, ifindex, mac, identity, .. } = p;
                writeln!(out, "  {address} id={id} {pod} identity={identity} ifindex={ifindex} mac={mac}")
            }
        };
    }
    let _ = writeln!(out, "namespaces");
    for (cookie, id) in &desired.namespaces {
        let _ = writeln!(out, "  {cookie} id={id}");
    }
    let _ = writeln!(out, "ipcache");
    for (prefix, entry) in &desired.ipcache {
        let via = entry.tunnel_endpoint.map(|a| format!(" via {a}")).unwrap_or_default();
        let _ = writeln!(out, "  {prefix} identity={}{via} {:?}", entry.identity, entry.source);
    }
    let _ = writeln!(out, "services");
    for (key, frontend) in &desired.services {
        let _ = writeln!(out, "  {} {} {}", key.address, key.protocol, words(frontend));
        for backend in frontend.backends.iter() {
            let pod = backend.pod.as_ref().map(|p| format!(" {p}")).unwrap_or_default();
            let node = backend.node.as_ref().map(|n| format!(" on {n}")).unwrap_or_default();
            let weight =
                if backend.weight > 1 { format!(" weight {}", backend.weight) } else { String::new() };
            let _ = writeln!(out, "    {} {}{pod}{node}{weight}", backend.address, role(backend));
        }
    }
    for (port, check) in &desired.health_checks {
        let _ = writeln!(out, "  health of {} at {port}: {} local", check.service, check.local_endpoints);
    }
    if !desired.node_ports.is_empty() {
        let ports: Vec<String> = desired.node_ports.iter().map(|(p, n)| format!("{p} {n}")).collect();
        let _ = writeln!(out, "  reserved {}", ports.join(", "));
    }
    let _ = writeln!(out, "routes");
    for (to, route) in &desired.routes {
        let _ = match route {
            Route::Pod { ifindex, mac } => writeln!(out, "  {to} dev {ifindex} lladdr {mac}"),
            Route::Router => writeln!(out, "  {to} dev pleo_host"),
            Route::Node { via } => writeln!(out, "  {to} via {via}"),
        };
    }
    let problems: Vec<String> =
        told.iter().cloned().chain(planned.problems.iter().map(ToString::to_string)).collect();
    if !problems.is_empty() {
        let _ = writeln!(out, "problems");
        for problem in problems {
            let _ = writeln!(out, "  {problem}");
        }
    }
    out
}

/// Kind, Service, port; then what is out of the ordinary.
fn words(frontend: &Frontend) -> String {
    let Frontend { service, port_name, kind, balancing, topology, .. } = frontend;
    let mut words = format!("{kind:?} {service}");
    if !port_name.is_empty() {
        let _ = write!(words, " {port_name}");
    }
    match (kind, frontend.outside) {
        (FrontendKind::ClusterIP, Outside::Cluster) => {}
        (_, Outside::Cluster) => words.push_str(" outside=cluster"),
        (_, Outside::Local) => words.push_str(" outside=local"),
        (_, Outside::Refused) => words.push_str(" outside=refused"),
    }
    if frontend.inside_local {
        words.push_str(" inside=local");
    }
    if *topology != Topology::Any {
        let _ = write!(words, " for this {}", format!("{topology:?}").to_lowercase());
    }
    if *balancing != Balancing::Random {
        let _ = write!(words, " {balancing}");
    }
    if let Some(seconds) = frontend.affinity {
        let _ = write!(words, " affinity {seconds} s");
    }
    if let Some(ranges) = &frontend.source_ranges {
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        let _ = write!(words, " from [{}]", ranges.join(", "));
    }
    if frontend.removed_backend == RemovedBackend::Reset {
        words.push_str(" reset");
    }
    words
}

/// For whom a backend is chosen.
fn role(backend: &Backend) -> &'static str {
    match (backend.inside, backend.outside, backend.state) {
        (true, true, _) => "active",
        (true, false, _) => "active for inside",
        (false, true, _) => "active for outside",
        (false, false, BackendState::Active) => "elsewhere",
        (false, false, BackendState::Terminating) => "terminating",
        (false, false, BackendState::Quarantined) => "quarantined",
    }
}
