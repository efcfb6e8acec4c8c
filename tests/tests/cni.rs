//! The real plugin and a real agent, called in every way a runtime may.

use std::path::Path;
use std::time::Duration;

use pleopod_tests::runtime::{Container, Runtime};
use pleopod_tests::{Lab, Run, until};
use serde_json::{Value, json};

const NODE: &str = "k8s-s";

fn lab() -> Lab {
    Lab::up_with(&["--nodes", "1", "--without-dns"])
}

/// Host sides of pods on the node.
fn interfaces(lab: &Lab) -> Vec<String> {
    let links = lab.node(NODE, &["sh", "-c", "ip -o link show type veth | cut -d: -f2 | cut -d@ -f1"]).ok();
    links.lines().map(str::trim).filter(|name| name.starts_with("lxc")).map(str::to_owned).collect()
}

#[test]
fn every_version_gets_its_result_and_calls_may_come_twice() {
    let lab = lab();
    let mut runtime = Runtime::new(&lab, NODE);
    let said = runtime.call("VERSION", "", Path::new(""), &Value::Null).ok();
    assert_eq!(said.json["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    let _ = runtime.status().ok();
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        runtime.version = version.to_owned();
        let container = Container::new("add");
        let first = runtime.add(&container).ok();
        assert_eq!(first.json["cniVersion"], version);
        assert_eq!(first.json["interfaces"][1]["name"], "eth0");
        assert_eq!(first.json["interfaces"][1]["sandbox"], container.netns.path().display().to_string());
        assert_eq!(first.json["ips"][0]["interface"], 1);
        assert_eq!(first.json["ips"][0]["version"] == "4", version.starts_with('0'), "{}", first.said);
        assert_eq!(first.json["interfaces"][1]["mtu"] == 9001, version == "1.1.0", "{}", first.said);
        assert!(
            container
                .ip(&["-o", "address", "show", "dev", "eth0"])
                .contains(&format!(" {}/32 ", first.address()))
        );

        let second = runtime.add(&container).ok();
        assert_eq!(second.json, first.json, "ADD once more says the same");
        if version != "0.3.1" {
            let _ = runtime.check(&container, &first).ok();
        }
        for _ in 0..2 {
            let _ = runtime.del(&container).ok();
        }
        assert_eq!(interfaces(&lab), [] as [&str; 0], "{version}");
    }
    let _ = runtime.call("DEL", "never-heard-of", Path::new("/run/netns/none"), &Value::Null).ok();
    let _ = runtime.call("DEL", "never-heard-of", Path::new(""), &Value::Null).ok();

    // Two interfaces for one pod of two sandboxes: the runtime makes the second before it ends the first.
    let (old, new) = (Container::new("old"), Container::new("new"));
    let (a, b) = (runtime.add(&old).ok(), runtime.add(&new).ok());
    assert_ne!(a.address(), b.address());
    let _ = runtime.del(&old).ok();
    until("the object has the new address", Duration::from_secs(5), || {
        (lab.field("pep/byhand", ".status.networking.addressing[0].ipv4") == b.address()).then_some(())
    });
    let _ = runtime.del(&new).ok();
    lab.down().ok();
}

#[test]
fn check_tells_what_is_damaged_and_add_mends_it() {
    let lab = lab();
    let runtime = Runtime::new(&lab, NODE);
    let container = Container::new("check");
    let added = runtime.add(&container).ok();
    let address = format!("{}/32", added.address());
    let host = added.json["interfaces"][0]["name"].as_str().expect("the host side").to_owned();
    let on_node = |words: &[&str]| lab.node(NODE, words).ok();

    let damages: [(&dyn Fn() -> String, &str); 7] = [
        (
            &|| container.ip(&["address", "del", &address, "dev", "eth0"]),
            "eth0 does not have address 172.16.0.",
        ),
        (&|| container.ip(&["link", "set", "eth0", "mtu", "1400"]), "eth0 has MTU 1400 instead of 9001"),
        (&|| container.ip(&["link", "set", "eth0", "down"]), "eth0 is down"),
        (&|| container.ip(&["route", "del", "default"]), "the pod has no default route via 172.16.0.1"),
        (
            &|| container.ip(&["neigh", "del", "172.16.0.1", "dev", "eth0"]),
            "the pod does not know the MAC address of 172.16.0.1",
        ),
        (&|| on_node(&["ip", "link", "set", &host, "down"]), "is down"),
        (&|| on_node(&["ip", "link", "del", &host]), "is gone; the pod has no interface eth0"),
    ];
    for (damage, sentence) in damages {
        let _ = runtime.check(&container, &added).ok();
        damage();
        let said = runtime.check(&container, &added).refused(3);
        assert!(said.contains(sentence), "{sentence}: {said}");
        assert!(said.contains("interface of pod default/byhand: "), "{said}");
        let again = runtime.add(&container).ok();
        assert_eq!(again.json, added.json, "after {sentence}");
        let ping = Run::new("ip").words(&[
            "netns",
            "exec",
            container.netns.name(),
            "ping",
            "-c1",
            "-W2",
            "172.16.0.1",
        ]);
        ping.ok();
    }

    let said = runtime.call("CHECK", &container.id, container.netns.path(), &Value::Null).refused(7);
    assert!(said.contains("needs `prevResult`"), "{said}");
    let mut other = added.clone();
    other.json["ips"][0]["address"] = json!("172.16.0.99/32");
    let said = runtime.check(&container, &other).refused(3);
    assert!(
        said.contains("address 172.16.0.99 of prevResult is not leased to pod default/byhand; it has"),
        "{said}"
    );
    let stranger = Container::new("stranger");
    let said = runtime.check(&stranger, &added).refused(3);
    assert!(said.contains("is not known to this node's agent"), "{said}");
    lab.down().ok();
}

#[test]
fn a_pod_whose_interface_vanished_hinders_nobody() {
    let lab = lab();
    let runtime = Runtime::new(&lab, NODE);
    let (lost, kept) = (Container::new("lost"), Container::new("kept"));
    let (lost_at, kept_at) = (runtime.add(&lost).ok(), runtime.add(&kept).ok());
    // A sandbox that died without DEL takes both ends of the pair with it.
    lost.ip(&["link", "del", "eth0"]);
    until("its rows are gone", Duration::from_secs(40), || {
        let rows = lab.agent(NODE, &["map", "get", "endpoints"]).ok();
        assert!(rows.contains(&format!("{}:0 ", kept_at.address())), "{rows}");
        (!rows.contains(&format!("{}:0 ", lost_at.address()))).then_some(())
    });
    lab.agent_ok(NODE);
    let status = lab.agent(NODE, &["status", "--verbose"]).ok();
    assert!(!status.contains("Error"), "nothing is wrong with the node: {status}");
    assert!(
        status.contains(&format!("{} (default/byhand)", lost_at.address())),
        "its address is kept: {status}"
    );
    let ping = |to: &str| {
        Run::new("ip").words(&["netns", "exec", kept.netns.name(), "ping", "-c1", "-W1", to]).run().success()
    };
    assert!(ping("172.16.0.1"));
    assert!(!ping(&lost_at.address()));

    // The runtime notices: it asks for the same again, or ends it.
    let again = runtime.add(&lost).ok();
    assert_eq!(again.json, lost_at.json);
    assert!(ping(&lost_at.address()));
    lost.ip(&["link", "del", "eth0"]);
    let _ = runtime.del(&lost).ok();
    let _ = runtime.check(&kept, &kept_at).ok();
    assert_eq!(interfaces(&lab).len(), 1);
    lab.down().ok();
}

#[test]
fn gc_ends_what_the_runtime_does_not_know() {
    let lab = lab();
    let mut runtime = Runtime::new(&lab, NODE);
    let (kept, one, two) = (Container::new("kept"), Container::new("one"), Container::new("two"));
    let added = runtime.add(&kept).ok();
    for container in [&one, &two] {
        let _ = runtime.add(container).ok();
    }
    let said = runtime.call("GC", "", Path::new(""), &Value::Null).refused(7);
    assert!(said.ends_with("the runtime must pass it, nothing was removed"), "{said}");
    assert_eq!(interfaces(&lab).len(), 3);
    let _ = runtime.gc(&[&kept]).ok();
    until("two interfaces are gone", Duration::from_secs(5), || (interfaces(&lab).len() == 1).then_some(()));
    let _ = runtime.check(&kept, &added).ok();
    assert!(runtime.check(&one, &added).refused(3).contains("is not known"));
    let status = lab.agent(NODE, &["status", "--verbose"]).ok();
    assert!(status.contains("Addresses:               3/254"), "{status}");

    // Another network of the same runtime knows nothing of these, and they are none of its business; nor after a restart.
    runtime.network = "storage".to_owned();
    let _ = runtime.gc(&[]).ok();
    let _ = runtime.check(&kept, &added).ok();
    lab.pleopod(&["lab", "fault", "agent", NODE, "restart"]).ok();
    lab.agent_ok(NODE);
    let _ = runtime.gc(&[]).ok();
    let _ = runtime.check(&kept, &added).ok();
    runtime.network = "pleopod".to_owned();
    let _ = runtime.gc(&[]).ok();
    until("nothing is left", Duration::from_secs(5), || interfaces(&lab).is_empty().then_some(()));
    lab.down().ok();
}

#[test]
fn wrong_calls_are_told_apart() {
    let lab = lab();
    let mut runtime = Runtime::new(&lab, NODE);
    let container = Container::new("wrong");
    let path = container.netns.path().to_owned();
    let said = runtime.call("FROB", "c", &path, &Value::Null).refused(4);
    assert_eq!(said, "CNI_COMMAND=\"FROB\" is not one of ADD, DEL, CHECK, STATUS, GC, VERSION");
    assert_eq!(
        runtime.call("ADD", "", &path, &Value::Null).refused(4),
        "CNI_CONTAINERID is not set; the runtime must pass it"
    );
    let said = runtime.call("ADD", "../x", &path, &Value::Null).refused(4);
    assert_eq!(said, "CNI_CONTAINERID=\"../x\" is not valid: letters, digits, '_', '.' and '-' only");
    let said = runtime.call("ADD", "c", Path::new("/run/netns/pleo-t-none"), &Value::Null).refused(4);
    assert!(said.ends_with("the runtime must make it before ADD and keep it"), "{said}");
    let said = runtime.call("ADD", "c", &path, &json!({"prevResult": {"ips": []}})).refused(7);
    assert!(said.contains("must be the first plugin of the conflist"), "{said}");
    let said = runtime.call("ADD", "c", &path, &json!({"socket": 7})).refused(6);
    assert!(said.starts_with("the network configuration on standard input is not valid: "), "{said}");
    for version in ["0.2.0", "2.0.0"] {
        runtime.version = version.to_owned();
        let said = runtime.add(&container).refused(1);
        let supported = "0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0";
        assert_eq!(
            said,
            format!(
                "cniVersion \"{version}\" is not supported; set it to one of {supported} in the conflist"
            )
        );
    }
    runtime.version = "1.1.0".to_owned();
    runtime.pod = "nobody".to_owned();
    let said = runtime.add(&container).refused(11);
    assert_eq!(
        said,
        "ADD of pod default/nobody: pod default/nobody is not known to the API server (any more)"
    );
    assert_eq!(interfaces(&lab), [] as [&str; 0]);
    lab.down().ok();
}

#[test]
fn without_an_agent_the_runtime_is_told_to_try_again() {
    let lab = lab();
    let runtime = Runtime::new(&lab, NODE);
    let container = Container::new("alone");
    lab.pleopod(&["lab", "fault", "agent", NODE, "stop"]).ok();
    let away = format!("pleopod-agent does not answer at {}", runtime.socket.display());
    for (verb, code) in [("ADD", 11), ("DEL", 11), ("STATUS", 50)] {
        let answer = runtime.call(verb, &container.id, container.netns.path(), &Value::Null);
        let said = answer.refused(code);
        assert!(said.contains(&away), "{said}");
        assert!(
            said.ends_with("check that the pleopod pod of this node runs, the call can be tried again"),
            "{said}"
        );
        assert!(answer.said.took < Duration::from_secs(5), "{verb} took {:?}", answer.said.took);
    }
    lab.pleopod(&["lab", "fault", "agent", NODE, "start"]).ok();
    lab.agent_ok(NODE);
    let _ = runtime.add(&container).ok();
    let _ = runtime.del(&container).ok();
    lab.down().ok();
}
