use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use pleopod_model::IdentityId;
use serde_json::{Value, json};

use super::*;
use crate::object::{EndpointObject, IdentityObject};

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn told<T: std::fmt::Debug>(read: Read<T>) -> String {
    match read {
        Read::Bad(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        other => panic!("not refused: {other:?}"),
    }
}

fn service(spec: Value) -> k8s::Service {
    from(json!({"metadata": {"namespace": "default", "name": "svc"}, "spec": spec}))
}

#[test]
fn a_node_gives_addresses_cidrs_and_what_its_agent_says() {
    let node: k8s::Node = from(json!({
        "metadata": {"name": "k8s-s", "annotations": {
            "network.pleopod.io/ipv4-router": "172.16.0.12", "network.pleopod.io/ipv4-health": "172.16.0.236"}},
        "spec": {"podCIDR": "172.16.0.0/24", "podCIDRs": ["172.16.0.0/24", "fd00:1::/64"]},
        "status": {"addresses": [
            {"type": "Hostname", "address": "k8s-s"},
            {"type": "InternalIP", "address": "192.168.10.10"},
            {"type": "InternalIP", "address": "192.168.10.300"},
            {"type": "ExternalIP", "address": "203.0.113.1"}]}
    }));
    let Read::Good(node, problems) = node::read(&node) else { panic!("refused") };
    assert_eq!(node.addresses, ["192.168.10.10".parse::<IpAddr>().expect("ip")]);
    assert_eq!(node.pod_cidrs.len(), 2);
    assert_eq!(node.router_addresses.len() + node.health_addresses.len(), 2);
    assert_eq!(
        problems[0].to_string(),
        "Node k8s-s status.addresses[2].address: \"192.168.10.300\" is not an IP address; it is left out; correct \
         the address"
    );
}

#[test]
fn a_node_with_a_bad_pod_cidr_is_refused() {
    for (cidr, why) in [("172.16.0.0/33", "is not a CIDR"), ("0.0.0.0/0", "can't be a pod CIDR")] {
        let node: k8s::Node = from(json!({"metadata": {"name": "n"}, "spec": {"podCIDR": cidr}}));
        let message = told(node::read(&node));
        assert!(message.starts_with(&format!("Node n spec.podCIDRs[0]: {cidr:?} {why}")), "{message}");
    }
}

#[test]
fn a_pod_defaults_to_the_default_service_account() {
    let pod: k8s::Pod = from(json!({
        "metadata": {"namespace": "default", "name": "netpod", "uid": "u", "labels": {"app": "netpod"}},
        "spec": {"nodeName": "k8s-s", "containers": []},
        "status": {"podIPs": [{"ip": "172.16.0.230"}]}
    }));
    let Read::Good(pod, problems) = pod::read(&pod) else { panic!("refused") };
    assert!(problems.is_empty());
    assert_eq!((pod.service_account.as_str(), pod.addresses.len()), ("default", 1));
}

#[test]
fn services_of_every_type_are_read() {
    let read = |spec: Value| match service::read(&service(spec)) {
        Read::Good(service, problems) => (service, problems),
        other => panic!("{other:?}"),
    };
    let (headless, _) = read(json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    assert!(headless.cluster_ips.is_empty());
    let (external, _) = read(json!({"type": "ExternalName", "externalName": "example.org"}));
    assert!(external.ports.is_empty());
    let (dual, _) = read(json!({"clusterIPs": ["10.96.0.10", "fd00::a"], "clusterIP": "10.96.0.10",
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "nodePort": 30053}]}));
    assert_eq!((dual.cluster_ips.len(), dual.ports.len(), dual.ports[1].node_port), (2, 2, Some(30053)));
    let (_, problems) =
        read(json!({"clusterIP": "10.96.0.9", "sessionAffinity": "ClientIP", "ports": [{"port": 1}]}));
    assert_eq!(problems.len(), 1);
    let (node_port, problems) =
        read(json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 1}]}));
    assert_eq!(node_port.ports.len(), 1);
    assert!(problems[0].to_string().contains("spec.type: NodePort is not supported yet"), "{problems:?}");
}

#[test]
fn a_service_that_makes_no_sense_is_refused_as_a_whole() {
    let cases = [
        (json!({"ports": [{"port": 0}]}), "spec.ports[0].port: 0 is not a port"),
        (json!({"ports": [{"port": 70000}]}), "spec.ports[0].port: 70000 is not a port"),
        (
            json!({"ports": [{"port": 1, "protocol": "ICMP"}]}),
            "spec.ports[0].protocol: \"ICMP\" is not a protocol",
        ),
        (json!({"ports": [{"port": 1}, {"port": 2}]}), "spec.ports[0].name: a Service of several ports"),
        (
            json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
            "spec.ports[1].name: \"a\" is used",
        ),
        (
            json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]}),
            "spec.ports[1].port: TCP 1 is there",
        ),
        (json!({"clusterIP": "ten"}), "spec.clusterIPs[0]: \"ten\" is not an IP address"),
        (json!({"clusterIP": "0.0.0.0"}), "spec.clusterIPs[0]: \"0.0.0.0\" stands for no host"),
        (
            json!({"clusterIP": "::ffff:10.0.0.1"}),
            "spec.clusterIPs[0]: \"::ffff:10.0.0.1\" is an IPv4 address written",
        ),
        (json!({"type": "Cluster"}), "spec.type: \"Cluster\" is not a type of Service"),
    ];
    for (spec, expected) in cases {
        let message = told(service::read(&service(spec)));
        assert!(message.starts_with(&format!("Service default/svc {expected}")), "{message}");
    }
}

#[test]
fn a_slice_leaves_out_what_it_cannot_read_and_serves_the_rest() {
    let slice: EndpointSlice = from(json!({
        "metadata": {"namespace": "default", "name": "svc-1", "labels": {"kubernetes.io/service-name": "svc"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "x", "port": -1}, {"name": "all"}],
        "endpoints": [
            {"addresses": ["172.16.1.111"], "nodeName": "k8s-w1",
             "targetRef": {"kind": "Pod", "namespace": "default", "name": "webpod1"}},
            {"addresses": ["fd00::1"]},
            {"addresses": ["172.16.2.180"], "conditions": {"ready": false, "serving": true, "terminating": true}}]
    }));
    let Read::Good(slice, problems) = slice::read(&slice) else { panic!("refused") };
    assert_eq!((slice.ports.len(), slice.endpoints.len(), problems.len()), (1, 2, 2));
    assert!(slice.endpoints[0].ready && slice.endpoints[0].serving && !slice.endpoints[0].terminating);
    assert!(!slice.endpoints[1].ready && slice.endpoints[1].serving && slice.endpoints[1].terminating);
    assert_eq!(slice.endpoints[0].pod, Some(ObjectName::new("default", "webpod1")));
}

#[test]
fn slices_of_no_service_are_of_no_concern() {
    let slice: EndpointSlice =
        from(json!({"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": [], "ports": []}));
    assert_eq!(slice::read(&slice), Read::Irrelevant);
}

#[test]
fn an_endpoint_cannot_take_the_identity_of_a_host() {
    let object = |identity: i64| EndpointObject {
        metadata: from(json!({"namespace": "default", "name": "a"})),
        spec: from(json!({"node": "k8s-w1"})),
        status: from(json!({"identity": {"id": identity},
            "networking": {"node": "192.168.10.101", "addressing": [{"ipv4": "172.16.1.111"}]}})),
    };
    for reserved in [0, 1, 2, 6, 7, 255, 65_536, -1] {
        let message = told(endpoint::read(&object(reserved)));
        assert!(message.contains("is not the identity of a pod"), "{message}");
    }
    let Read::Good(endpoint, _) = endpoint::read(&object(25_054)) else { panic!("refused") };
    assert_eq!((endpoint.identity, endpoint.addresses.len()), (IdentityId(25_054), 1));
    let Read::Good(init, _) = endpoint::read(&object(5)) else { panic!("refused") };
    assert_eq!(init.identity, IdentityId::INIT);
}

#[test]
fn an_identity_is_named_by_its_number() {
    let object = |name: &str| IdentityObject {
        metadata: from(json!({"name": name})),
        spec: from(json!({"labels": ["k8s:app=web"]})),
    };
    assert!(matches!(identity::read(&object("25054")), Read::Good((IdentityId(25_054), _), _)));
    for bad in ["", "255", "65536", "025054", "web", "-1", "+300"] {
        assert!(matches!(identity::read(&object(bad)), Read::Bad(_)), "{bad}");
    }
}
