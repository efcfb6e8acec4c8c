//! Any JSON as objects of the API server, one a line: through intake into an intent, and through the plan. Whatever they
//! say, the order in which they come makes no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pleopod_intake::{Event, Object, Store};
use pleopod_model::desired::NodeFacts;

fn object(line: &[u8]) -> Option<Object> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    let kind = value.get("kind")?.as_str()?.to_owned();
    Some(match kind.as_str() {
        "Node" => Object::Node(serde_json::from_value(value).ok()?),
        "Namespace" => Object::Namespace(serde_json::from_value(value).ok()?),
        "Pod" => Object::Pod(serde_json::from_value(value).ok()?),
        "Service" => Object::Service(serde_json::from_value(value).ok()?),
        "EndpointSlice" => Object::EndpointSlice(serde_json::from_value(value).ok()?),
        _ => return None,
    })
}

fuzz_target!(|data: &[u8]| {
    let objects: Vec<Object> = data.split(|byte| *byte == b'\n').filter_map(object).collect();
    let mut names: Vec<_> = objects.iter().map(|one| (one.kind(), one.name())).collect();
    names.sort();
    names.dedup();
    let facts = NodeFacts {
        name: "n1".into(),
        addresses: vec!["192.168.10.10".parse().expect("an address")],
        ..NodeFacts::default()
    };
    let mut store = Store::new();
    for one in &objects {
        store.apply(Event::Applied(one.clone()));
    }
    let planned = pleopod_plan::plan(store.intent(), &facts);
    if names.len() == objects.len() {
        let mut backwards = Store::new();
        for one in objects.iter().rev() {
            backwards.apply(Event::Applied(one.clone()));
        }
        let other = pleopod_plan::plan(backwards.intent(), &facts);
        assert_eq!(planned.desired, other.desired);
    }
    for (kind, name) in names {
        store.apply(Event::Deleted(kind, name));
    }
    let empty = pleopod_plan::plan(store.intent(), &facts);
    assert_eq!(empty.desired, pleopod_plan::plan(Store::new().intent(), &facts).desired);
});
