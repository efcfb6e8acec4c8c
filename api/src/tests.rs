use crate::{agent, flow, observer};
use prost::Message;

fn syn() -> flow::Flow {
    flow::Flow {
        verdict: flow::Verdict::Forwarded.into(),
        ip: Some(flow::Ip {
            source: "172.16.0.230".into(),
            destination: "172.16.1.111".into(),
            ip_version: flow::IpVersion::IPv4.into(),
            ..Default::default()
        }),
        l4: Some(flow::Layer4 {
            protocol: Some(flow::layer4::Protocol::Tcp(flow::Tcp {
                source_port: 41320,
                destination_port: 80,
                flags: Some(flow::TcpFlags { syn: true, ..Default::default() }),
            })),
        }),
        r#type: flow::FlowType::L3L4.into(),
        trace_observation_point: flow::TraceObservationPoint::ToNetwork.into(),
        is_reply: Some(false.into()),
        ..Default::default()
    }
}

#[test]
fn a_flow_prints_as_hubble_prints_it() {
    let json = serde_json::to_value(observer::GetFlowsResponse {
        node_name: "k8s-s".into(),
        response_types: Some(observer::get_flows_response::ResponseTypes::Flow(syn())),
        ..Default::default()
    })
    .unwrap();
    let expected = serde_json::json!({
        "flow": {
            "verdict": "FORWARDED",
            "IP": {"source": "172.16.0.230", "destination": "172.16.1.111", "ipVersion": "IPv4"},
            "l4": {"TCP": {"source_port": 41320, "destination_port": 80, "flags": {"SYN": true}}},
            "Type": "L3_L4",
            "trace_observation_point": "TO_NETWORK",
            "is_reply": false,
        },
        "node_name": "k8s-s",
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<flow::Flow>(json["flow"].clone()).unwrap(), syn());
}

#[test]
fn field_numbers_are_hubbles() {
    // verdict 2 = 1, Type 10 = 1, is_reply 26 {}: taken from the published contract.
    let flow = flow::Flow {
        verdict: 1,
        r#type: 1,
        is_reply: Some(false.into()),
        trace_observation_point: 101,
        ..Default::default()
    };
    assert_eq!(flow.encode_to_vec(), [0x10, 1, 0x50, 1, 0xc0, 1, 101, 0xd2, 1, 0]);
    let endpoint = flow::Endpoint { id: 416, identity: 39126, pod_name: "p".into(), ..Default::default() };
    assert_eq!(endpoint.encode_to_vec(), [0x08, 0xa0, 3, 0x10, 0xd6, 0xb1, 2, 0x2a, 1, b'p']);
    assert_eq!(flow::DropReason::PolicyDenied as i32, 133);
    assert_eq!(flow::DropReason::FibLookupFailed as i32, 169);
}

#[test]
fn agent_messages_keep_their_field_names() {
    let json =
        serde_json::to_value(agent::Endpoint { id: 416, identity: 39126, ..Default::default() }).unwrap();
    assert_eq!(json["pod_name"], "");
    assert_eq!(json["id"], 416);
    let map: agent::Map = serde_json::from_str(r#"{"name":"ipcache","type":"hash"}"#).unwrap();
    assert_eq!((map.name.as_str(), map.r#type.as_str()), ("ipcache", "hash"));
}
