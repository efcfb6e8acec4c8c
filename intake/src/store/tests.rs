use pleopod_model::intent::ServiceType;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn object(kind: Kind, value: Value) -> Object {
    fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("an object")
    }
    match kind {
        Kind::Node => Object::Node(Box::new(from(value))),
        Kind::Namespace => Object::Namespace(Box::new(from(value))),
        Kind::Pod => Object::Pod(Box::new(from(value))),
        Kind::Service => Object::Service(Box::new(from(value))),
        Kind::EndpointSlice => Object::EndpointSlice(Box::new(from(value))),
        Kind::PleopodEndpoint => Object::PleopodEndpoint(Box::new(crate::object::EndpointObject {
            metadata: from(value["metadata"].clone()),
            spec: from(value["spec"].clone()),
            status: from(value["status"].clone()),
        })),
        Kind::PleopodIdentity => Object::PleopodIdentity(Box::new(crate::object::IdentityObject {
            metadata: from(value["metadata"].clone()),
            spec: from(value["spec"].clone()),
        })),
    }
}

fn service(name: &str, ip: &str, port: i32) -> Object {
    let meta = json!({"namespace": "default", "name": name});
    object(Kind::Service, json!({"metadata": meta, "spec": {"clusterIP": ip, "ports": [{"port": port}]}}))
}

fn identity(number: u32, label: &str) -> Object {
    let meta = json!({"name": number.to_string()});
    object(Kind::PleopodIdentity, json!({"metadata": meta, "spec": {"labels": [label]}}))
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

#[test]
fn a_bad_object_leaves_what_was_known_and_a_problem() {
    let mut store = Store::new();
    store.apply(Event::Applied(service("svc", "10.96.0.9", 80)));
    let good = store.intent().services[&name("svc")].clone();
    let changed = store.apply(Event::Applied(service("svc", "10.96.0.9", 0)));
    assert!(changed.problems && changed.services.is_empty());
    assert_eq!(store.intent().services[&name("svc")], good);
    assert_eq!(store.problems().count(), 1);
    let changed = store.apply(Event::Applied(Object::Unreadable {
        kind: Kind::Service,
        name: name("svc"),
        error: "spec: invalid type".into(),
    }));
    assert!(changed.problems);
    assert_eq!(store.intent().services[&name("svc")], good);
    let changed = store.apply(Event::Applied(service("svc", "10.96.0.9", 81)));
    assert!(changed.problems && changed.services.contains(&name("svc")));
    assert_eq!(store.problems().count(), 0);
    store.apply(Event::Applied(service("svc", "10.96.0.9", 0)));
    store.apply(Event::Deleted(Kind::Service, name("svc")));
    assert_eq!((store.intent().services.len(), store.problems().count()), (0, 0));
}

#[test]
fn listing_again_removes_what_is_gone_only_at_its_end() {
    let mut store = Store::new();
    store.apply(Event::Listing(Kind::Service));
    store.apply(Event::ListItem(service("a", "10.96.0.1", 80)));
    store.apply(Event::ListItem(service("b", "10.96.0.2", 80)));
    store.apply(Event::ListItem(service("bad", "10.96.0.2", 0)));
    assert!(!store.is_synced());
    assert!(store.apply(Event::Listed(Kind::Service)).synced);

    store.apply(Event::Listing(Kind::Service));
    assert!(store.apply(Event::ListItem(service("b", "10.96.0.2", 80))).is_empty());
    assert_eq!(store.intent().services.len(), 2);
    let changed = store.apply(Event::Listed(Kind::Service));
    assert_eq!(changed.services, BTreeSet::from([name("a")]));
    assert!(changed.problems, "the problem of an object that is gone goes with it");
    assert_eq!(store.problems().count(), 0);
}

#[test]
fn synced_only_when_every_kind_was_listed() {
    let mut store = Store::new();
    for (i, kind) in Kind::ALL.into_iter().enumerate() {
        assert!(!store.is_synced(), "{i} kinds");
        store.apply(Event::Listing(kind));
        store.apply(Event::Listed(kind));
    }
    assert!(store.is_synced() && store.waiting_for().is_empty());
    store.apply(Event::Listing(Kind::Pod));
    assert!(store.is_synced(), "a later relist does not take that back");
}

#[test]
fn the_lowest_number_of_a_label_set_counts() {
    let mut store = Store::new();
    let labels = Labels::from(vec!["k8s:app=web".to_owned()]);
    for number in [900, 300] {
        store.apply(Event::Applied(identity(number, "k8s:app=web")));
    }
    assert_eq!(store.identity_of(&labels), Some(IdentityId(300)));
    store.apply(Event::Applied(identity(300, "k8s:app=other")));
    assert_eq!(store.identity_of(&labels), Some(IdentityId(900)));
    store.apply(Event::Deleted(Kind::PleopodIdentity, ObjectName::new("", "900")));
    assert_eq!(store.identity_of(&labels), None);
}

#[test]
fn a_slice_that_leaves_its_service_is_gone() {
    let slice = |labels: Value| {
        let meta = json!({"namespace": "default", "name": "s", "labels": labels});
        object(
            Kind::EndpointSlice,
            json!({"metadata": meta, "addressType": "IPv4", "endpoints": [], "ports": []}),
        )
    };
    let mut store = Store::new();
    store.apply(Event::Applied(slice(json!({"kubernetes.io/service-name": "svc"}))));
    assert_eq!(store.intent().endpoint_slices.len(), 1);
    let changed = store.apply(Event::Applied(slice(json!({}))));
    assert!(changed.endpoint_slices.contains(&name("s")) && store.intent().endpoint_slices.is_empty());
}

fn any_service() -> impl Strategy<Value = Object> {
    (0u8..6, 0u8..4, -1i32..3)
        .prop_map(|(n, ip, port)| service(&format!("s{n}"), &format!("10.96.0.{ip}"), port))
}

proptest! {
    /// Invariant I8, first half: what is known at the end does not depend on the order of different objects.
    #[test]
    fn the_order_of_objects_does_not_matter(
        objects in prop::collection::btree_map(0u8..12, any_service(), 0..12),
        seed in any::<u64>(),
    ) {
        let one_each: BTreeMap<ObjectName, Object> = objects.into_values().map(|o| (o.name(), o)).collect();
        let mut shuffled: Vec<&Object> = one_each.values().collect();
        let mut state = seed | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, (state >> 33) as usize % (i + 1));
        }
        let (mut a, mut b) = (Store::new(), Store::new());
        for object in one_each.values() {
            a.apply(Event::Applied(object.clone()));
        }
        for object in shuffled {
            b.apply(Event::ListItem(object.clone()));
        }
        prop_assert_eq!(a.intent(), b.intent());
        prop_assert_eq!(a.problems().collect::<Vec<_>>(), b.problems().collect::<Vec<_>>());
    }

    /// Strings of any kind where addresses, names and numbers belong give problems, never a crash.
    #[test]
    fn junk_is_told_not_fatal(a in ".{0,20}", b in ".{0,20}", number in any::<i32>()) {
        let meta = json!({"namespace": a, "name": b, "labels": {"kubernetes.io/service-name": b},
            "annotations": {"network.pleopod.io/ipv4-router": a}});
        let junk = [
            (Kind::Node, json!({"metadata": meta, "spec": {"podCIDRs": [a, b]},
                "status": {"addresses": [{"type": "InternalIP", "address": a}]}})),
            (Kind::Namespace, json!({"metadata": meta})),
            (Kind::Pod, json!({"metadata": meta, "status": {"podIPs": [{"ip": a}]}})),
            (Kind::Service, json!({"metadata": meta, "spec": {"type": a, "clusterIPs": [a, b],
                "ports": [{"port": number, "protocol": b, "nodePort": number}]}})),
            (Kind::Service, json!({"metadata": meta, "spec": {"clusterIPs": ["10.0.0.1"],
                "ports": [{"port": number, "nodePort": number}]}})),
            (Kind::EndpointSlice, json!({"metadata": meta, "addressType": "IPv4",
                "ports": [{"port": number, "protocol": a}], "endpoints": [{"addresses": [a]}]})),
            (Kind::PleopodEndpoint, json!({"metadata": meta, "spec": {"node": a}, "status": {
                "id": number, "identity": {"id": number}, "networking": {"node": a, "addressing": [{"ipv4": b, "ipv6": a}]}}})),
            (Kind::PleopodIdentity, json!({"metadata": meta, "spec": {"labels": [a, b]}})),
        ];
        let mut store = Store::new();
        for (kind, value) in junk {
            store.apply(Event::Applied(object(kind, value)));
            prop_assert!(store.intent().services.values().all(|s| s.kind != ServiceType::ExternalName || a == "ExternalName"));
        }
    }
}
