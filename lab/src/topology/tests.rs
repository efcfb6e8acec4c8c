use super::Topology;

fn refused(yaml: &str) -> String {
    match Topology::from_yaml(yaml, "t.yaml") {
        Ok(_) => panic!("accepted:\n{yaml}"),
        Err(error) => error.to_string(),
    }
}

const ONE: &str = "nodes:\n- {name: a, address: 192.168.10.2}\n";

#[test]
fn the_built_in_topology_is_the_one_of_the_walk() {
    let topology = Topology::built_in(3).expect("built in");
    let shown: Vec<String> = topology
        .nodes
        .iter()
        .map(|node| format!("{} {} {}", node.name, node.address, node.pod_cidr.expect("cidr")))
        .collect();
    assert_eq!(
        shown,
        [
            "k8s-s 192.168.10.10 172.16.0.0/24",
            "k8s-w1 192.168.10.101 172.16.1.0/24",
            "k8s-w2 192.168.10.102 172.16.2.0/24"
        ]
    );
    assert_eq!(topology.fabric.mtu, 9001);
    assert_eq!(topology.control_plane().name, "k8s-s");
    assert_eq!(topology.kubernetes_service().to_string(), "10.96.0.1");
    assert!(Topology::built_in(0).is_err());
    assert!(Topology::built_in(101).is_err());
    assert!(Topology::built_in(100).is_ok());
}

#[test]
fn yaml_and_back_is_the_same() {
    let topology = Topology::built_in(2).expect("built in");
    let text = topology.to_yaml().expect("written");
    assert_eq!(Topology::from_yaml(&text, "t.yaml").expect("read back"), topology);
}

#[test]
fn a_short_file_takes_the_defaults() {
    let topology = Topology::from_yaml(ONE, "t.yaml").expect("accepted");
    assert_eq!(topology.fabric.uplink, "ens5");
    assert_eq!(topology.gateway().map(|host| host.name.as_str()), Some("outside"));
    assert_eq!(topology.control_plane().name, "a");
}

#[test]
fn refusals_name_the_field() {
    let cases = [
        ("nodes: []\n", "nodes: the list is empty"),
        ("nodes:\n- {name: A_b, address: 192.168.10.2}\n", "nodes[0].name: `A_b` is not a name"),
        ("nodes:\n- {name: fabric, address: 192.168.10.2}\n", "nodes[0].name: `fabric` is taken"),
        ("nodes:\n- {name: a, address: 10.0.0.1}\n", "nodes[0].address: 10.0.0.1 lies outside fabric.cidr"),
        (
            "nodes:\n- {name: a, address: 192.168.10.255}\n",
            "nodes[0].address: 192.168.10.255 is the network or",
        ),
        (
            "nodes:\n- {name: a, address: 192.168.10.2}\n- {name: a, address: 192.168.10.3}\n",
            "nodes[1].name: `a` is taken already",
        ),
        (
            "nodes:\n- {name: a, address: 192.168.10.2}\n- {name: b, address: 192.168.10.2}\n",
            "nodes[1].address: 192.168.10.2 is taken already",
        ),
        (
            "nodes:\n- {name: a, address: 192.168.10.2, pod-cidr: 10.0.0.0/24}\n",
            "nodes[0].pod-cidr: 10.0.0.0/24 lies outside cluster-cidr 172.16.0.0/16",
        ),
        (
            "nodes:\n- {name: a, address: 192.168.10.2, pod-cidr: 172.16.0.0/24}\n\
             - {name: b, address: 192.168.10.3, pod-cidr: 172.16.0.128/25}\n",
            "nodes[1].pod-cidr: 172.16.0.128/25 overlaps that of nodes[0]",
        ),
        (&format!("{ONE}fabric: {{mtu: 100}}\n"), "fabric.mtu: 100 is not between"),
        (&format!("{ONE}fabric: {{uplink: pleo_host}}\n"), "fabric.uplink: `pleo_host` can't be"),
        (
            &format!("{ONE}service-cidr: 172.16.9.0/24\ncluster-dns: 172.16.9.9\n"),
            "service-cidr: 172.16.9.0/24",
        ),
        (&format!("{ONE}cluster-dns: 1.1.1.1\n"), "cluster-dns: 1.1.1.1 lies outside service-cidr"),
        (
            &format!("{ONE}outside:\n- {{name: x, address: 192.168.10.9, addresses: [172.16.0.1]}}\n"),
            "outside[0].addresses[0]: 172.16.0.1 lies inside 172.16.0.0/16",
        ),
        (
            &format!(
                "{ONE}outside:\n- {{name: x, address: 192.168.10.9, gateway: true}}\n\
                 - {{name: y, address: 192.168.10.8, gateway: true}}\n"
            ),
            "outside: 2 hosts are marked gateway",
        ),
    ];
    for (yaml, message) in cases {
        let shown = refused(yaml);
        assert!(shown.contains(message), "`{shown}` does not say `{message}`");
    }
}

#[test]
fn an_unknown_key_and_a_bad_value_say_where() {
    let shown = refused("nodes:\n- {name: a, address: 192.168.10.2, colour: red}\n");
    assert!(shown.contains("t.yaml") && shown.contains("colour"), "{shown}");
    let shown = refused("nodes:\n- {name: a, address: 192.168.10}\n");
    assert!(shown.contains("line 2"), "{shown}");
}
