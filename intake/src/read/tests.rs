use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use pleopod_model::IdentityId;
use pleopod_model::intent::{Balancing, RemovedBackend, Service};
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
    let (sticky, problems) =
        read(json!({"clusterIP": "10.96.0.9", "sessionAffinity": "ClientIP", "ports": [{"port": 1}]}));
    assert_eq!((sticky.affinity, problems.len()), (Some(10_800), 0));
    let (node_port, problems) =
        read(json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 1}]}));
    assert_eq!((node_port.ports.len(), problems.len()), (1, 0));
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
        (json!({"ports": [{"port": 1, "nodePort": 70000}]}), "spec.ports[0].nodePort: 70000 is not a port"),
        (
            json!({"ports": [{"name": "a", "port": 1, "nodePort": 30000}, {"name": "b", "port": 2, "nodePort": 30000}]}),
            "spec.ports[1].nodePort: TCP 30000 is there twice",
        ),
        (json!({"type": "Cluster"}), "spec.type: \"Cluster\" is not a type of Service"),
    ];
    for (spec, expected) in cases {
        let message = told(service::read(&service(spec)));
        assert!(message.starts_with(&format!("Service default/svc {expected}")), "{message}");
    }
}

fn annotated(annotations: Value, spec: Value, status: Value) -> (Service, Vec<String>) {
    let object: k8s::Service = from(json!({
        "metadata": {"namespace": "default", "name": "svc", "annotations": annotations}, "spec": spec, "status": status}));
    let Read::Good(service, problems) = service::read(&object) else { panic!("refused") };
    let problems = problems.iter().map(ToString::to_string).filter(|p| !p.contains("not supported yet"));
    (service, problems.map(|p| p.trim_start_matches("Service default/svc ").to_owned()).collect())
}

#[test]
fn a_load_balancer_is_read_with_all_it_has() {
    let (service, problems) = annotated(
        json!({"pleopod.io/load-balancer-algorithm": "maglev", "pleopod.io/removed-backend": "reset",
            "pleopod.io/backend-weights": "10.0.0.1=3, webpod1=0"}),
        json!({"type": "LoadBalancer", "clusterIPs": ["10.96.0.9"], "externalIPs": ["203.0.113.7"],
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000, "sessionAffinity": "ClientIP",
            "loadBalancerSourceRanges": ["198.51.100.7/24", " 192.0.2.0/28"],
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}, "ports": [{"port": 80, "nodePort": 30080}]}),
        json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}, {"ip": "203.0.113.8", "ipMode": "Proxy"},
            {"ip": "203.0.113.10", "ipMode": "VIP"}, {"hostname": "lb.example.org"}]}}),
    );
    assert_eq!(problems, [""; 0]);
    let ips = |list: &[&str]| list.iter().map(|a| a.parse().expect("ip")).collect::<Vec<IpAddr>>();
    assert_eq!(service.external_ips, ips(&["203.0.113.7"]));
    assert_eq!(service.load_balancer_ips, ips(&["203.0.113.9", "203.0.113.10"]));
    let ranges: Vec<String> = service.source_ranges.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(ranges, ["192.0.2.0/28", "198.51.100.0/24"]);
    assert!(service.external_local);
    assert_eq!((service.health_check_node_port, service.affinity), (Some(32000), Some(60)));
    assert_eq!(
        (service.balancing, service.removed_backend),
        (Some(Balancing::Maglev), RemovedBackend::Reset)
    );
    let weight = |address: &str, pod: &str| {
        service.weights.of(address.parse().expect("ip"), Some(&ObjectName::new("default", pod)), "default")
    };
    assert_eq!(
        [weight("10.0.0.1", "webpod1"), weight("10.0.0.2", "webpod1"), weight("10.0.0.2", "x")],
        [3, 0, 1]
    );
}

#[test]
fn what_a_service_can_do_without_is_left_out_and_told() {
    let vip = "10.96.0.9";
    let one = |spec: Value| {
        let mut whole = json!({"type": "LoadBalancer", "clusterIP": vip, "ports": [{"port": 80}]});
        whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
        annotated(json!({}), whole, json!({}))
    };
    for (address, why) in [
        ("ten", "is not an IP address"),
        ("0.0.0.0", "stands for no host"),
        ("127.0.0.1", "is a loopback address"),
        ("169.254.1.1", "is a link-local address"),
        ("224.0.0.1", "stands for many hosts"),
        ("2001:db8::1", "is of a family in which the Service has no clusterIP"),
    ] {
        let (service, problems) = one(json!({"externalIPs": [address]}));
        assert_eq!(
            problems,
            [format!("spec.externalIPs[0]: {address:?} {why}; it is left out; correct the address")]
        );
        assert!(service.external_ips.is_empty());
        let status = json!({"loadBalancer": {"ingress": [{"ip": address}]}});
        let spec = json!({"type": "LoadBalancer", "clusterIP": vip, "ports": [{"port": 80}]});
        let (service, problems) = annotated(json!({}), spec, status);
        assert!(problems[0].starts_with("status.loadBalancer.ingress[0].ip: "), "{problems:?}");
        assert!(service.load_balancer_ips.is_empty());
    }
    let (service, problems) = one(json!({"loadBalancerSourceRanges": ["10.0.0.1"]}));
    assert_eq!(
        problems,
        [
            "spec.loadBalancerSourceRanges[0]: \"10.0.0.1\" is not a CIDR; it lets nobody in; write it as 192.0.2.0/24"
        ]
    );
    assert_eq!(service.source_ranges, Some(vec![]), "closed, not open");
    assert_eq!(one(json!({"loadBalancerSourceRanges": []})).0.source_ranges, None);
    for seconds in [0, -1, 86_401] {
        let config = json!({"clientIP": {"timeoutSeconds": seconds}});
        let (service, problems) =
            one(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}));
        assert!(problems[0].contains(&format!("timeoutSeconds: {seconds} is not within 1 to 86400; 10800")));
        assert_eq!(service.affinity, Some(10_800));
    }
    let (service, problems) = one(json!({"externalTrafficPolicy": "Near"}));
    assert!(problems[0].starts_with("spec.externalTrafficPolicy: \"Near\" is not a policy; Cluster"));
    assert!(!service.external_local);
}

#[test]
fn annotations_that_make_no_sense_are_told_and_the_usual_is_done() {
    let with = |name: &str, text: &str| {
        let spec = json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]});
        let (service, mut problems) = annotated(json!({name: text}), spec, json!({}));
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        (service, problems.remove(0))
    };
    let (service, told) = with("pleopod.io/load-balancer-algorithm", "fastest");
    assert_eq!(
        told,
        "metadata.annotations[pleopod.io/load-balancer-algorithm]: \"fastest\" is not an algorithm; the one of the \
         configuration is used; use one of random, round-robin, least-connections, source-hash, maglev"
    );
    assert_eq!(service.balancing, None);
    let (service, told) = with("pleopod.io/removed-backend", "kill");
    assert!(told.contains("\"kill\" is neither drain nor reset; drain is used"), "{told}");
    assert_eq!(service.removed_backend, RemovedBackend::Drain);
    for (text, expected) in [
        ("webpod1", "\"webpod1\" is not an address or a pod with its weight; it is left out"),
        ("=3", "\"=3\" is not an address or a pod"),
        ("a=", "\"\" is not a weight from 0 to 256; \"a\" has the weight 1"),
        ("a=257,b=2", "\"257\" is not a weight from 0 to 256"),
        ("a=-1", "\"-1\" is not a weight"),
        ("a=1,a=2", "\"a\" is there twice; the last one counts"),
    ] {
        let (_, told) = with("pleopod.io/backend-weights", text);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn services_and_slices_of_another_proxy_are_of_no_concern() {
    for label in ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"] {
        let object: k8s::Service =
            from(json!({"metadata": {"namespace": "default", "name": "svc", "labels": {label: ""}},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}}));
        assert_eq!(service::read(&object), Read::Irrelevant, "{label}");
        let labels = json!({"kubernetes.io/service-name": "svc", label: ""});
        let object: EndpointSlice = from(json!({"metadata": {"name": "x", "labels": labels},
            "addressType": "IPv4", "endpoints": [{"addresses": ["172.16.1.1"]}], "ports": []}));
        assert_eq!(slice::read(&object), Read::Irrelevant, "{label}");
    }
}

#[test]
fn a_slice_leaves_out_what_it_cannot_read_and_serves_the_rest() {
    let slice: EndpointSlice = from(json!({
        "metadata": {"namespace": "default", "name": "svc-1", "labels": {"kubernetes.io/service-name": "svc"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "x", "port": -1}, {"name": "all"}],
        "endpoints": [
            {"addresses": ["172.16.1.111"], "nodeName": "k8s-w1", "zone": "a",
             "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "k8s-w1"}]},
             "targetRef": {"kind": "Pod", "namespace": "default", "name": "webpod1"}},
            {"addresses": ["fd00::1"]},
            {"addresses": ["172.16.2.180"], "conditions": {"ready": false, "serving": true, "terminating": true}}]
    }));
    let Read::Good(slice, problems) = slice::read(&slice) else { panic!("refused") };
    assert_eq!((slice.ports.len(), slice.endpoints.len(), problems.len()), (1, 2, 2));
    assert!(slice.endpoints[0].ready && slice.endpoints[0].serving && !slice.endpoints[0].terminating);
    assert!(!slice.endpoints[1].ready && slice.endpoints[1].serving && slice.endpoints[1].terminating);
    assert_eq!(slice.endpoints[0].zone.as_deref(), Some("a"));
    assert_eq!((slice.endpoints[0].for_zones.len(), slice.endpoints[0].for_nodes.len()), (2, 1));
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
