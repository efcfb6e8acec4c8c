use super::*;
use crate::decode::decode;
use crate::enrich::enrich;
use crate::scene;
use pleopod_abi::event::FlowEvent;
use pleopod_abi::reason::{DropReason, Verdict, XlatePoint};
use zerocopy::IntoBytes;

fn origin() -> Origin {
    Origin { node: "k8s-s".into(), cluster: "default".into(), boot: 1 }
}

fn event(bytes: &[u8]) -> Event {
    enrich(&decode(bytes).unwrap(), 0, &scene::lookup())
}

fn syn() -> Event {
    event(scene::tcp(0x02, false).as_bytes())
}

fn s(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn takes(filter: FlowFilter, event: &Event) -> bool {
    Filters::compile(&[filter], &[]).unwrap().take(event, 3, &origin())
}

macro_rules! filter {
    ($($field:ident: $value:expr),* $(,)?) => { FlowFilter { $($field: $value,)* ..Default::default() } };
}

#[test]
fn each_field() {
    let reply = event(scene::tcp(0x12, true).as_bytes());
    let drop = event(
        FlowEvent {
            verdict: Verdict::Dropped as u8,
            reason: DropReason::InvalidSourceIp as u8,
            ..scene::tcp(0x02, false)
        }
        .as_bytes(),
    );
    let post = event(scene::sock(XlatePoint::PostReverse, true, scene::KUBE_DNS, 53).as_bytes());
    let workload = |name: &str| Workload { name: name.into(), kind: String::new() };
    let kind = |r#type, sub: Option<i32>| EventTypeFilter {
        r#type,
        match_sub_type: sub.is_some(),
        sub_type: sub.unwrap_or(0),
    };
    let flags = |syn, ack| TcpFlags { syn, ack, ..Default::default() };
    let interface = |index, name: &str| NetworkInterface { index, name: name.into() };
    let uuid = flow::uuid(&origin(), 3);
    let cases: Vec<(&str, FlowFilter, &Event, bool)> = vec![
        ("nothing", filter! {}, &post, true),
        ("pod in default", filter! { source_pod: s(&["netpod"]) }, &reply, false),
        ("pod prefix", filter! { source_pod: s(&["net"]) }, &drop, true),
        ("pod with namespace", filter! { destination_pod: s(&["default/webpod"]) }, &drop, true),
        ("pod of any namespace", filter! { destination_pod: s(&["/webpod"]) }, &drop, true),
        ("pod of another namespace", filter! { destination_pod: s(&["kube-system/webpod"]) }, &drop, false),
        ("namespace", filter! { source_pod: s(&["default/"]) }, &drop, true),
        ("one of several", filter! { source_pod: s(&["x", "netpod"]) }, &drop, true),
        ("service", filter! { source_service: s(&["kube-system/kube-dns"]) }, &post, true),
        ("service of default", filter! { source_service: s(&["kube-dns"]) }, &post, false),
        ("address", filter! { source_ip: s(&[scene::NETPOD]) }, &drop, true),
        ("range", filter! { destination_ip: s(&["172.16.1.0/24"]) }, &drop, true),
        ("other range", filter! { destination_ip: s(&["172.16.2.0/24", "fd00::/8"]) }, &drop, false),
        ("port", filter! { destination_port: s(&["80"]) }, &drop, true),
        ("reply's port", filter! { source_port: s(&["80"]) }, &reply, true),
        ("other port", filter! { destination_port: s(&["8080"]) }, &drop, false),
        ("protocol", filter! { protocol: s(&["TCP"]) }, &drop, true),
        ("other protocol", filter! { protocol: s(&["udp", "icmp"]) }, &drop, false),
        ("known, never here", filter! { protocol: s(&["http"]) }, &drop, false),
        ("verdict", filter! { verdict: vec![2] }, &drop, true),
        ("other verdict", filter! { verdict: vec![1, 7] }, &drop, false),
        ("translated", filter! { verdict: vec![7] }, &post, true),
        ("reason", filter! { drop_reason_desc: vec![132] }, &drop, true),
        ("reason of no drop", filter! { drop_reason_desc: vec![0] }, &reply, false),
        ("identity", filter! { destination_identity: vec![25054] }, &drop, true),
        ("label", filter! { source_label: s(&["app in (netpod)"]) }, &drop, true),
        ("reserved label", filter! { source_label: s(&["reserved:world"]) }, &post, true),
        ("other label", filter! { source_label: s(&["app=webpod"]) }, &drop, false),
        ("event type", filter! { event_type: vec![kind(1, None)] }, &drop, true),
        ("sub type", filter! { event_type: vec![kind(4, Some(0))] }, &reply, true),
        ("other sub type", filter! { event_type: vec![kind(4, Some(11))] }, &reply, false),
        ("flags", filter! { tcp_flags: vec![flags(true, false)] }, &reply, true),
        ("more flags", filter! { tcp_flags: vec![flags(true, true)] }, &drop, false),
        ("flags of no TCP", filter! { tcp_flags: vec![flags(false, false)] }, &post, false),
        ("reply", filter! { reply: vec![true] }, &reply, true),
        ("no reply", filter! { reply: vec![false] }, &reply, false),
        ("reply not known", filter! { reply: vec![true, false] }, &post, false),
        ("direction", filter! { traffic_direction: vec![2] }, &reply, true),
        ("family", filter! { ip_version: vec![1] }, &drop, true),
        ("other family", filter! { ip_version: vec![2] }, &drop, false),
        ("node", filter! { node_name: s(&["k8s-*"]) }, &drop, true),
        ("other node", filter! { node_name: s(&["k8s-w1"]) }, &drop, false),
        ("interface", filter! { interface: vec![interface(0, "lxc7408fc78b9ff")] }, &drop, true),
        ("other interface", filter! { interface: vec![interface(11, "")] }, &drop, false),
        ("uuid", filter! { uuid: vec![uuid] }, &drop, true),
        ("workload that is not known", filter! { source_workload: vec![workload("x")] }, &drop, false),
        ("cluster", filter! { source_cluster_name: s(&["default"]) }, &drop, true),
        ("never: trace", filter! { trace_id: s(&["1"]) }, &drop, false),
        ("never: name", filter! { destination_fqdn: s(&["x"]) }, &drop, false),
        ("encrypted", filter! { encrypted: vec![true] }, &drop, false),
        ("not encrypted", filter! { encrypted: vec![false] }, &drop, true),
        ("and", filter! { source_pod: s(&["netpod"]), destination_port: s(&["81"]) }, &drop, false),
    ];
    for (name, filter, event, taken) in cases {
        assert_eq!(takes(filter, event), taken, "{name}");
    }
}

#[test]
fn lists_are_or_and_the_blacklist_wins() {
    let from = filter! { source_pod: s(&["netpod"]) };
    let to = filter! { destination_pod: s(&["netpod"]) };
    let web = filter! { destination_port: s(&["80"]) };
    let take = |white: &[FlowFilter], black: &[FlowFilter]| {
        Filters::compile(white, black).unwrap().take(&syn(), 0, &origin())
    };
    assert!(take(&[to.clone(), from.clone()], &[]));
    assert!(!take(std::slice::from_ref(&to), &[]));
    assert!(!take(std::slice::from_ref(&from), std::slice::from_ref(&web)));
    assert!(take(&[], std::slice::from_ref(&to)));
    assert!(!take(&[], &[from]));
}

#[test]
fn nonsense_is_refused_by_field() {
    for (filter, text) in [
        (filter! { source_ip: s(&["webpod"]) }, "filter source_ip \"webpod\": expected an address or CIDR"),
        (filter! { destination_port: s(&["http"]) }, "filter destination_port \"http\": expected a number"),
        (filter! { protocol: s(&["quic"]) }, "filter protocol \"quic\": expected tcp"),
        (filter! { source_label: s(&["a b"]) }, "filter source_label \"a b\""),
        (filter! { node_name: s(&[""]) }, "filter node_name \"\""),
        (filter! { node_labels: s(&["a=b"]) }, "filter node_labels \"a=b\": not supported"),
    ] {
        let error = Filters::compile(&[], &[filter]).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
    }
}
