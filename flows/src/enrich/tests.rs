#![allow(deprecated)] // Older clients read `Summary`.

use super::*;
use crate::decode::decode;
use crate::flow::{Origin, flow as message};
use crate::scene::{self, ip};
use pleopod_abi::event::FlowEvent;
use pleopod_abi::reason::{DropReason, Verdict};
use pleopod_abi::{Addr16, Be16};
use pleopod_api::flow;
use zerocopy::IntoBytes;

fn see(bytes: &[u8]) -> Event {
    enrich(&decode(bytes).unwrap(), 1_729_508_830_998_000_000, &scene::lookup())
}

fn told(event: &Event) -> flow::Flow {
    let origin = Origin { node: "k8s-s".into(), cluster: "default".into(), boot: 0x1234_5678_9abc_def0 };
    message(event, 5, &origin)
}

#[test]
fn a_packet_between_pods_has_both_names() {
    let flow = told(&see(scene::tcp(0x02, false).as_bytes()));
    let (source, destination) = (flow.source.unwrap(), flow.destination.unwrap());
    assert_eq!((source.id, source.identity, source.pod_name.as_str()), (416, 39126, "netpod"));
    assert_eq!((destination.id, destination.identity, destination.pod_name.as_str()), (0, 25054, "webpod1"));
    assert_eq!(source.labels, ["k8s:app=netpod"]);
    assert_eq!(flow.summary, "TCP Flags: SYN");
    assert_eq!(flow.trace_observation_point, 11);
    assert_eq!(flow.traffic_direction, flow::TrafficDirection::Egress as i32);
    assert_eq!(flow.event_type.unwrap(), flow::CiliumEventType { r#type: 4, sub_type: 11 });
    assert_eq!(flow.ethernet.unwrap().source, "92:ef:86:7b:d1:d4");
    assert_eq!(flow.interface.unwrap().name, "lxc7408fc78b9ff");
    assert_eq!(flow.uuid, "12345678-9abc-8ef0-8000-000000000005");
    assert_eq!(flow.time.unwrap().nanos, 998_000_000);
}

#[test]
fn a_reply_counts_as_the_connections_direction() {
    let event = see(scene::tcp(0x12, true).as_bytes());
    assert_eq!(event.reply(), Some(true));
    let flow = told(&event);
    assert_eq!(flow.traffic_direction, flow::TrafficDirection::Egress as i32);
    assert_eq!(flow.event_type.unwrap().sub_type, 0);
    assert_eq!(flow.trace_observation_point, 101);
}

#[test]
fn the_world_is_named_world() {
    let packet =
        FlowEvent { dst: Addr16::from_ip(ip(scene::WORLD)), dst_identity: 0, ..scene::tcp(0x02, false) };
    let event = see(packet.as_bytes());
    assert_eq!(event.destination.identity, 2);
    assert_eq!(event.destination.labels(), ["reserved:world"]);
    assert!(event.destination.pod().is_none());
}

#[test]
fn a_drop_has_its_reason() {
    let packet = FlowEvent {
        verdict: Verdict::Dropped as u8,
        reason: DropReason::InvalidSourceIp as u8,
        flags: 1,
        ..scene::tcp(0x02, false)
    };
    let flow = told(&see(packet.as_bytes()));
    assert_eq!(
        (flow.verdict(), flow.drop_reason_desc()),
        (flow::Verdict::Dropped, flow::DropReason::InvalidSourceIp)
    );
    assert_eq!(flow.is_reply, None);
    assert_eq!(flow.trace_observation_point, 0);
}

#[test]
fn a_packet_that_could_not_be_read_has_no_addresses() {
    let packet = FlowEvent { flags: 0, proto: 0, src_identity: 0, dst_identity: 0, ..scene::tcp(0, false) };
    let flow = told(&see(packet.as_bytes()));
    assert!(flow.ip.is_none() && flow.l4.is_none());
    assert_eq!(flow.source.unwrap().identity, 0);
}

#[test]
fn a_socket_asks_forward_and_is_answered_in_reverse() {
    let forward = see(scene::sock(XlatePoint::PreForward, false, scene::KUBE_DNS, 53).as_bytes());
    assert_eq!(forward.source.pod(), Some(("default", "netpod")));
    assert_eq!(forward.source.address, Some(ip(scene::NETPOD)));
    assert_eq!(forward.destination.service_name(), Some(("kube-system", "kube-dns")));
    assert_eq!((forward.destination.identity, forward.destination.port), (2, 53));

    let reverse = see(scene::sock(XlatePoint::PostReverse, true, scene::KUBE_DNS, 53).as_bytes());
    assert_eq!(reverse.source.service_name(), Some(("kube-system", "kube-dns")));
    assert_eq!(reverse.destination.pod(), Some(("default", "netpod")));
    let flow = told(&reverse);
    assert_eq!(flow.verdict(), flow::Verdict::Translated);
    assert_eq!(flow.event_type.unwrap(), flow::CiliumEventType { r#type: 7, sub_type: 4 });
    assert_eq!((flow.summary.as_str(), flow.socket_cookie), ("UDP", 42));
}

#[test]
fn a_socket_of_the_node_has_the_nodes_address() {
    let mut call = scene::sock(XlatePoint::PreForward, false, scene::WEBPOD1, 80);
    (call.netns_cookie, call.src_identity, call.sport) = (1, 1, Be16::new(5555));
    let event = see(call.as_bytes());
    assert_eq!(event.source.address, Some(ip(scene::NODE)));
    assert_eq!((event.source.identity, event.source.port), (1, 5555));
}
