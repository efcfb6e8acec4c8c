//! Objects that the API server takes and that make no sense, and objects that come in the wrong order: each is told in one
//! line, none takes anything away from others, and what is right in them is used.

use std::time::Duration;

use pleopod_tests::{Lab, manifest, until};

const NODE: &str = "k8s-s";

/// Nodes, endpoints and slices that claim what is not theirs. No agent runs on the nodes, so nobody corrects them.
const ODD: &str = r"
apiVersion: v1
kind: Node
metadata: {name: z-same-cidr}
spec: {podCIDR: 172.16.1.0/24, podCIDRs: [172.16.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.10.201}]}
---
apiVersion: v1
kind: Node
metadata: {name: z-overlaps}
spec: {podCIDR: 172.16.2.128/25, podCIDRs: [172.16.2.128/25]}
status: {addresses: [{type: InternalIP, address: 192.168.10.202}]}
---
apiVersion: v1
kind: Node
metadata: {name: z-same-address}
spec: {podCIDR: 172.16.203.0/24, podCIDRs: [172.16.203.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.10.101}]}
---
apiVersion: v1
kind: Node
metadata: {name: z-this-address}
spec: {podCIDR: 172.16.204.0/24, podCIDRs: [172.16.204.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.10.10}]}
---
apiVersion: v1
kind: Node
metadata: {name: z-no-address}
spec: {podCIDR: 172.16.205.0/24, podCIDRs: [172.16.205.0/24]}
---
apiVersion: v1
kind: Node
metadata: {name: z-far}
spec: {podCIDR: 172.16.206.0/24, podCIDRs: [172.16.206.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.10.206}]}
---
apiVersion: pleopod.io/v1alpha1
kind: PleopodEndpoint
metadata: {name: thief}
spec: {node: z-far}
status: {id: 1, state: ready, identity: {id: 301}, networking: {node: 192.168.10.206, addressing: [{ipv4: WEB}]}}
---
apiVersion: pleopod.io/v1alpha1
kind: PleopodEndpoint
metadata: {name: early-thief}
spec: {node: z-far}
status: {id: 1, state: ready, identity: {id: 301}, networking: {node: 192.168.10.206, addressing: [{ipv4: 172.16.1.222}]}}
---
apiVersion: pleopod.io/v1alpha1
kind: PleopodEndpoint
metadata: {name: of-the-world}
spec: {node: z-far}
status: {id: 1, state: ready, identity: {id: 301}, networking: {node: 192.168.10.206, addressing: [{ipv4: 203.0.113.7}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-1, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [WEB]}, {addresses: [WEB]}, {addresses: [127.0.0.1]}]
";

/// The Service of the slice comes after it.
const LATER: &str = r"
apiVersion: v1
kind: Service
metadata: {name: by-hand}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {ports: [{port: 80}]}
";

#[test]
fn objects_that_claim_what_is_not_theirs() {
    let lab = Lab::up();
    lab.kubectl(&["apply", "-f", &manifest("w4.yaml"), "-f", &manifest("svc.yaml")]).ok();
    lab.ready("default");
    let web = lab.pod_ip("webpod1");
    let exit = |url: &str| {
        let curl = ["curl", "-s", "-o", "/dev/null", "--max-time", "3", "-w", "%{exitcode}", url];
        lab.exec("netpod", &curl).run().out
    };
    let identity = |address: &str| {
        let rows = lab.agent(NODE, &["map", "get", "ipcache"]).ok();
        let row = rows.lines().find(|line| line.split_whitespace().next() == Some(&format!("{address}/32")));
        row.map(|row| row.split_whitespace().nth(1).unwrap_or_default().to_owned())
    };
    until("it is known who webpod1 is", Duration::from_secs(10), || identity(&web));
    let before = identity(&web);

    lab.apply(&ODD.replace("WEB", &web));
    lab.apply(LATER);
    for sentence in [
        "Node z-same-cidr spec.podCIDRs: 172.16.1.0/24 is the pod CIDR of node k8s-w1 too; it is routed to k8s-w1",
        "Node z-overlaps spec.podCIDRs: 172.16.2.128/25 overlaps 172.16.2.0/24, the pod CIDR of node k8s-w2; it is not routed",
        "Node z-same-address spec.podCIDRs: 172.16.203.0/24 is not routed: 192.168.10.101 is the InternalIP of node k8s-w1 too",
        "Node z-this-address spec.podCIDRs: 172.16.204.0/24 is not routed: 192.168.10.10 is the InternalIP of node k8s-s too",
        "Node z-no-address spec.podCIDRs: 172.16.205.0/24 is not routed: the node has no InternalIP of that family",
        "PleopodEndpoint default/early-thief status.networking.addressing: its address 172.16.1.222 is in 172.16.1.0/24, the \
         pod CIDR of node k8s-w1, not of its node z-far; it is left out",
        "PleopodEndpoint default/of-the-world status.networking.addressing: its address 203.0.113.7 is outside \
         172.16.206.0/24, the pod CIDR of its node z-far; it is left out",
        // Then either that another has it or that its node can't, by who of the two was made first.
        "PleopodEndpoint default/thief status.networking.addressing: its address WEB ",
        "EndpointSlice default/by-hand-1 endpoints[2].addresses[0]: \"127.0.0.1\" is a loopback address; it is left out",
    ] {
        let sentence = sentence.replace("WEB", &web);
        until(&format!("status says {sentence}"), Duration::from_secs(10), || {
            lab.agent(NODE, &["status"]).ok().contains(&sentence).then_some(())
        });
        until(&format!("an event says {sentence}"), Duration::from_secs(15), || {
            let events = ["get", "events", "-A", "--field-selector", "reason=PleopodProblem", "-o"];
            let columns = "custom-columns=M:.message";
            let events = lab.kubectl(&events).words(&[columns, "--no-headers"]).ok();
            let told =
                sentence.split_once(' ').and_then(|(_, rest)| rest.split_once(' ')).map(|(_, rest)| rest);
            events.contains(told.unwrap_or_default()).then_some(())
        });
    }

    // Nobody lost anything.
    lab.agent_ok(NODE);
    let status = lab.agent(NODE, &["status"]).ok();
    assert!(status.contains("Tables:                  Ok"), "{status}");
    assert_eq!((identity(&web), identity("172.16.1.222"), identity("203.0.113.7")), (before, None, None));
    for url in
        [format!("http://{web}/"), format!("http://{}/", lab.pod_ip("webpod2")), "http://svc/".to_owned()]
    {
        assert_eq!(exit(&url), "0", "{url}");
    }
    // The slice that came before its Service serves, each backend once; a Service of nobody refuses at once.
    assert_eq!(exit("http://by-hand/"), "0");
    assert_eq!(exit("http://nobody/"), "7");
    let listed = lab.agent(NODE, &["service", "list"]).ok();
    assert_eq!(listed.matches(&format!("{web}:80")).count(), 2, "once for svc, once for by-hand: {listed}");

    for object in ["node", "pleopodendpoint", "service", "endpointslice"] {
        let names: &[&str] = match object {
            "node" => {
                &["z-same-cidr", "z-overlaps", "z-same-address", "z-this-address", "z-no-address", "z-far"]
            }
            "pleopodendpoint" => &["thief", "early-thief", "of-the-world"],
            "service" => &["by-hand", "nobody"],
            _ => &["by-hand-1"],
        };
        lab.kubectl(&["delete", "--ignore-not-found", object]).words(names).ok();
    }
    until("nothing is complained of any more", Duration::from_secs(10), || {
        (!lab.agent(NODE, &["status"]).ok().contains("Objects:")).then_some(())
    });
    lab.down().ok();
}
