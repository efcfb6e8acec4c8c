//! The lines of the walk through a Cilium cluster, made again from the flows behind them.

use super::*;
use pleopod_api::flow;
use pleopod_api::words::{EVENT_DROP, EVENT_SOCK, EVENT_TRACE};

fn style() -> Style {
    Style { time: TimeFormat::StampMilli, zone: TimeZone::UTC, node: false, numeric: false, color: false }
}

fn at(text: &str) -> Option<pleopod_api::Timestamp> {
    let time: Timestamp = format!("2024-10-21T{text}Z").parse().unwrap();
    Some(pleopod_api::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

fn pod(name: &str) -> Option<Endpoint> {
    let (namespace, name) = name.split_once('/').unwrap();
    let identity = match name {
        "netpod" => 39126,
        "webpod1" | "webpod2" => 25054,
        _ => 39166,
    };
    Some(Endpoint { identity, namespace: namespace.into(), pod_name: name.into(), ..Default::default() })
}

fn tcp(sport: u32, dport: u32, flags: &str) -> Option<flow::Layer4> {
    let has = |name| flags.split(' ').any(|flag| flag == name);
    let flags = flow::TcpFlags {
        syn: has("SYN"),
        ack: has("ACK"),
        psh: has("PSH"),
        fin: has("FIN"),
        rst: has("RST"),
        ..Default::default()
    };
    let tcp = flow::Tcp { source_port: sport, destination_port: dport, flags: Some(flags) };
    Some(flow::Layer4 { protocol: Some(Protocol::Tcp(tcp)) })
}

fn udp(sport: u32, dport: u32) -> Option<flow::Layer4> {
    let udp = flow::Udp { source_port: sport, destination_port: dport };
    Some(flow::Layer4 { protocol: Some(Protocol::Udp(udp)) })
}

fn trace(time: &str, point: flow::TraceObservationPoint, reply: bool) -> Flow {
    Flow {
        time: at(time),
        verdict: Verdict::Forwarded.into(),
        event_type: Some(flow::CiliumEventType { r#type: EVENT_TRACE, sub_type: 0 }),
        trace_observation_point: point.into(),
        is_reply: Some(reply.into()),
        ..Default::default()
    }
}

fn sock(time: &str, point: flow::SocketTranslationPoint, verdict: Verdict) -> Flow {
    Flow {
        time: at(time),
        verdict: verdict.into(),
        event_type: Some(flow::CiliumEventType { r#type: EVENT_SOCK, sub_type: point.into() }),
        sock_xlate_point: point.into(),
        ..Default::default()
    }
}

fn icmp(kind: u32) -> Option<flow::Layer4> {
    Some(flow::Layer4 { protocol: Some(Protocol::IcmPv4(flow::IcmPv4 { r#type: kind, code: 0 })) })
}

use flow::SocketTranslationPoint as Xlate;
use flow::TraceObservationPoint::{ToEndpoint, ToNetwork};

#[test]
fn the_lines_of_the_walk() {
    let to_webpod1 = |flow: Flow, l4| Flow {
        source: pod("default/netpod"),
        destination: pod("default/webpod1"),
        l4,
        ..flow
    };
    let from_webpod1 = |flow: Flow, l4| Flow {
        source: pod("default/webpod1"),
        destination: pod("default/netpod"),
        l4,
        ..flow
    };
    let world = |flow: Flow, l4| Flow {
        source: pod("default/netpod"),
        destination: Some(Endpoint { identity: 2, ..Default::default() }),
        ip: Some(flow::Ip {
            source: "172.16.0.230".into(),
            destination: "5.9.243.187".into(),
            ..Default::default()
        }),
        l4,
        ..flow
    };
    let dns = "kube-system/coredns-55cb58b774-2xvk2";
    let service = Some(Service { namespace: "kube-system".into(), name: "kube-dns".into() });
    let pre = || sock("11:14:01.006", Xlate::SockXlatePointPreDirectionRev, Verdict::Traced);
    let post = sock("11:14:01.006", Xlate::SockXlatePointPostDirectionRev, Verdict::Translated);

    let cases = [
        (
            to_webpod1(trace("11:10:08.023", ToNetwork, false), icmp(8)),
            "Oct 21 11:10:08.023: default/netpod (ID:39126) -> default/webpod1 (ID:25054) to-network FORWARDED (ICMPv4 EchoRequest)",
        ),
        (
            from_webpod1(trace("11:10:08.023", ToEndpoint, true), icmp(0)),
            "Oct 21 11:10:08.023: default/netpod (ID:39126) <- default/webpod1 (ID:25054) to-endpoint FORWARDED (ICMPv4 EchoReply)",
        ),
        (
            to_webpod1(trace("11:12:10.998", ToNetwork, false), tcp(41320, 80, "SYN")),
            "Oct 21 11:12:10.998: default/netpod:41320 (ID:39126) -> default/webpod1:80 (ID:25054) to-network FORWARDED (TCP Flags: SYN)",
        ),
        (
            from_webpod1(trace("11:12:10.998", ToEndpoint, true), tcp(80, 41320, "SYN ACK")),
            "Oct 21 11:12:10.998: default/netpod:41320 (ID:39126) <- default/webpod1:80 (ID:25054) to-endpoint FORWARDED (TCP Flags: SYN, ACK)",
        ),
        (
            to_webpod1(trace("11:12:10.999", ToNetwork, false), tcp(41320, 80, "ACK PSH")),
            "Oct 21 11:12:10.999: default/netpod:41320 (ID:39126) -> default/webpod1:80 (ID:25054) to-network FORWARDED (TCP Flags: ACK, PSH)",
        ),
        (
            from_webpod1(trace("11:12:11.001", ToEndpoint, true), tcp(80, 41320, "ACK FIN")),
            "Oct 21 11:12:11.001: default/netpod:41320 (ID:39126) <- default/webpod1:80 (ID:25054) to-endpoint FORWARDED (TCP Flags: ACK, FIN)",
        ),
        (
            from_webpod1(trace("11:13:06.862", ToEndpoint, true), tcp(8080, 38492, "ACK RST")),
            "Oct 21 11:13:06.862: default/netpod:38492 (ID:39126) <- default/webpod1:8080 (ID:25054) to-endpoint FORWARDED (TCP Flags: ACK, RST)",
        ),
        (
            Flow {
                source: pod("default/netpod"),
                destination: pod(dns),
                l4: udp(44939, 53),
                ..trace("11:14:01.004", ToEndpoint, false)
            },
            "Oct 21 11:14:01.004: default/netpod:44939 (ID:39126) -> kube-system/coredns-55cb58b774-2xvk2:53 (ID:39166) to-endpoint FORWARDED (UDP)",
        ),
        (
            Flow {
                source: pod("default/netpod"),
                destination: pod("default/webpod2"),
                l4: tcp(60650, 0, ""),
                ..sock("11:12:11.151", Xlate::SockXlatePointPreDirectionRev, Verdict::Traced)
            },
            "Oct 21 11:12:11.151: default/netpod:60650 (ID:39126) <> default/webpod2 (ID:25054) pre-xlate-rev TRACED (TCP)",
        ),
        (
            Flow { source: pod(dns), destination: pod("default/netpod"), l4: udp(53, 0), ..pre() },
            "Oct 21 11:14:01.006: kube-system/coredns-55cb58b774-2xvk2:53 (ID:39166) <> default/netpod (ID:39126) pre-xlate-rev TRACED (UDP)",
        ),
        (
            Flow {
                source: Some(Endpoint { identity: 2, ..Default::default() }),
                source_service: service,
                destination: pod("default/netpod"),
                l4: udp(53, 0),
                ..post
            },
            "Oct 21 11:14:01.006: kube-system/kube-dns:53 (world) <> default/netpod (ID:39126) post-xlate-rev TRANSLATED (UDP)",
        ),
        (
            world(trace("11:14:01.315", ToNetwork, false), tcp(40294, 80, "SYN")),
            "Oct 21 11:14:01.315: default/netpod:40294 (ID:39126) -> 5.9.243.187:80 (world) to-network FORWARDED (TCP Flags: SYN)",
        ),
    ];
    for (flow, line) in cases {
        assert_eq!(style().compact(&flow), line);
    }
}

#[test]
fn a_drop_names_its_reason() {
    let flow = Flow {
        time: at("11:00:00.000"),
        verdict: Verdict::Dropped.into(),
        drop_reason_desc: flow::DropReason::InvalidSourceIp.into(),
        event_type: Some(flow::CiliumEventType { r#type: EVENT_DROP, sub_type: 132 }),
        ip: Some(flow::Ip { source: "fd00::1".into(), destination: "fd00::2".into(), ..Default::default() }),
        l4: tcp(1, 2, "SYN"),
        ..Default::default()
    };
    let line = style().compact(&flow);
    assert_eq!(
        line,
        "Oct 21 11:00:00.000: [fd00::1]:1 (unknown) <> [fd00::2]:2 (unknown) Invalid source IP DROPPED (TCP Flags: SYN)"
    );
}

#[test]
fn days_are_padded_and_nodes_named() {
    let mut flow = trace("11:00:00.000", ToNetwork, false);
    flow.time = Some(pleopod_api::Timestamp { seconds: 1_727_946_000, nanos: 5_000_000 });
    flow.node_name = "k8s-s".into();
    let line = Style { node: true, ..style() }.compact(&flow);
    assert!(line.starts_with("Oct  3 09:00:00.005 [k8s-s]: "), "{line}");
}

#[test]
fn losses_are_told() {
    let lost = LostEvent {
        source: flow::LostEventSource::HubbleRingBuffer.into(),
        num_events_lost: 7,
        ..Default::default()
    };
    let message = GetFlowsResponse { time: at("11:00:00.000"), ..Default::default() };
    assert_eq!(style().lost(&message, &lost), "Oct 21 11:00:00.000: EVENTS LOST: HUBBLE_RING_BUFFER 7");
}
