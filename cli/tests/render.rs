//! What a user sees, against an agent that serves fixed facts (those of the walk through three nodes).

#[path = "render/fixture.rs"]
mod fixture;

use fixture::{Fixture, pleopod};

fn table(fixture: &Fixture, args: &[&str]) -> String {
    let output = pleopod(fixture.socket(), args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tables() {
    let fixture = Fixture::start();
    for (name, args) in [
        ("endpoint_list", &["endpoint", "list"][..]),
        ("endpoint_get", &["endpoint", "get", "416"]),
        ("identity_list", &["identity", "list"]),
        ("ip_list", &["ip", "list"]),
        ("ip_list_numeric", &["ip", "list", "--numeric"]),
        ("service_list", &["service", "list"]),
        ("service_list_verbose", &["service", "list", "--verbose"]),
        ("service_get", &["service", "get", "3"]),
        ("node_list", &["node", "list"]),
        ("map_list", &["map", "list"]),
        ("map_get_ipcache", &["map", "get", "pleo_ipcache"]),
        ("bpf_endpoint_list", &["bpf", "endpoint", "list"]),
        ("config_view", &["config", "view"]),
        ("status", &["status"]),
        ("status_verbose", &["status", "--verbose"]),
    ] {
        insta::assert_snapshot!(name, table(&fixture, args));
    }
}

#[test]
fn json_and_yaml_hold_the_same_facts() {
    let fixture = Fixture::start();
    insta::assert_snapshot!(
        "endpoint_get_json",
        table(&fixture, &["endpoint", "get", "default/netpod", "-o", "json"])
    );
    insta::assert_snapshot!(
        "bpf_endpoint_list_json",
        table(&fixture, &["bpf", "endpoint", "list", "-o", "json"])
    );
    insta::assert_snapshot!("service_list_yaml", table(&fixture, &["service", "list", "-o", "yaml"]));
}

#[test]
fn exit_codes_and_one_line_errors() {
    let fixture = Fixture::start();
    let run = |args: &[&str]| {
        let output = pleopod(fixture.socket(), args);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = run(&["endpoint", "get", "7"]);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("pleopod: no endpoint 7 at the agent "), "{error}");
    assert_eq!(error.lines().count(), 1);
    let (code, error) = run(&["map", "get", "nonsense"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("cannot show map nonsense") && error.contains("no map nonsense"), "{error}");
    for (args, said) in [
        (&["endpoint", "lst"][..], "'lst'"),
        (&["endpoint", "get"], "<ID>"),
        (&["identity", "get", "web"], "'web' for '<ID>': expected a number"),
        (&["observe", "--port", "http"], "'http' for '--port <PORT>': expected a number from 0 to 65535"),
        (&["observe", "--pod", "a", "--from-pod", "b"], "--pod cannot be combined"),
        (&["observe", "--ip", "10.0.0"], "10.0.0 is not an address or CIDR"),
        (&["observe", "-o", "xml"], "'xml'"),
        (&["observe", "--not"], "--not is the last word"),
        (&["status", "--nod", "k8s-s"], "a similar argument exists: '--node'"),
    ] {
        let (code, error) = run(args);
        assert_eq!((code, error.lines().count()), (Some(2), 1), "{args:?}: {error}");
        assert!(error.starts_with("pleopod: ") && error.contains(said), "{args:?}: {error}");
    }
}

#[test]
fn a_service_is_found_by_number_name_and_address() {
    let fixture = Fixture::start();
    let ids = |which: &str| -> Vec<u64> {
        let said = table(&fixture, &["service", "get", which, "-o", "json"]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let one = std::slice::from_ref(&said);
        said.as_array().map_or(one, Vec::as_slice).iter().map(|s| s["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids("2"), [2]);
    assert_eq!(ids("10.97.1.148:80"), [2]);
    for which in ["svc", "default/svc"] {
        assert_eq!(ids(which), [2, 3], "{which}");
    }
    assert_eq!(ids("kube-system/kube-dns"), [1]);
    let whole = table(&fixture, &["service", "get", "svc"]);
    assert!(whole.contains("ClusterIP") && whole.contains("172.16.1.111:80"), "{whole}");
    for which in ["kube-dns", "10.97.1.148:81", "9", "10.97.1.148"] {
        let output = pleopod(fixture.socket(), &["service", "get", which]);
        assert_eq!(output.status.code(), Some(1), "{which}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error, format!("pleopod: no service {which}: see `pleopod service list`\n"));
    }
}

#[test]
fn an_agent_that_is_not_there_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let output = pleopod(&dir.path().join("none.sock"), &["status"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().count(), 1);
    assert!(
        error.contains("none.sock: there is no such socket; is pleopod-agent running on that node?"),
        "{error}"
    );
}

#[test]
fn not_ready_fails_and_wait_gives_up() {
    let fixture = Fixture::start_not_ready();
    let output = pleopod(fixture.socket(), &["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("Not ready: kubernetes: no answer"));
    let output = pleopod(fixture.socket(), &["status", "--wait", "--wait-duration", "300ms"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("gave up after 300ms: node k8s-s is not ready: kubernetes: no answer"), "{error}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let fixture = Fixture::start();
    let script = format!(
        "set -o pipefail; '{}' --socket '{}' monitor | head -n 1",
        env!("CARGO_BIN_EXE_pleopod"),
        fixture.socket().display()
    );
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "trace event 0\n");
}

#[test]
fn version_names_both_sides() {
    let fixture = Fixture::start();
    let text = table(&fixture, &["version"]);
    assert_eq!(
        text,
        format!("Client: {0}\nAgent:  0.1.0 (node k8s-s, kernel 6.18.0)\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn bugtool_collects_everything() {
    let fixture = Fixture::start();
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("report.tar.gz");
    let output = pleopod(fixture.socket(), &["bugtool", "--to", target.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = std::process::Command::new("tar").arg("-tzf").arg(&target).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for file in ["status.txt", "endpoints.json", "map-ipcache.json", "bpf-metrics.json", "links.txt"] {
        assert!(list.contains(&format!("report/{file}")), "{file} missing in {list}");
    }
    assert!(!dir.path().join("report").exists());
}

#[test]
fn completion_and_man_pages_come_from_the_flags() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none.sock");
    let output = pleopod(&none, &["completion", "bash"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("--from-pod"));
    let pages = dir.path().join("man");
    assert!(pleopod(&none, &["man", pages.to_str().unwrap()]).status.success());
    let page = std::fs::read_to_string(pages.join("pleopod-observe.1")).unwrap();
    assert!(page.contains("tcp\\-flags"), "{page}");
}
