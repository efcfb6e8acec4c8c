//! What a runtime sees, verb by verb, as far as no agent is needed for it.

use pleopod_api::agent::{CniAddReply, CniAddress, CniRoute};
use serde_json::{Value, json};

use super::*;

fn env(command: &str) -> Env {
    Env {
        command: command.into(),
        container_id: "c0ffee".into(),
        netns: "/run/netns/cni-1".into(),
        ifname: "eth0".into(),
        args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=netpod".into(),
    }
}

fn conf(version: &str) -> Vec<u8> {
    json!({ "cniVersion": version, "name": "pleopod", "type": "pleopod-cni", "socket": "/nonexistent/agent.sock" })
        .to_string()
        .into_bytes()
}

fn fails(env: &Env, stdin: &[u8]) -> (Code, String) {
    let error = run(env, stdin).expect_err("this call must fail");
    (error.code(), error.to_string())
}

#[test]
fn version_lists_what_we_speak() {
    let out = run(&env("VERSION"), br#"{"cniVersion":"1.0.0"}"#).expect("VERSION").expect("a result");
    let out: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(out["cniVersion"], "1.0.0");
    assert_eq!(out["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
}

#[test]
fn an_absent_agent_is_a_retryable_error_that_says_so() {
    for verb in ["ADD", "DEL"] {
        let (code, msg) = fails(&env(verb), &conf("1.1.0"));
        assert_eq!(code, Code::TryAgainLater, "{msg}");
        assert!(msg.contains("pleopod-agent does not answer at /nonexistent/agent.sock"), "{msg}");
    }
    let (code, _) = fails(&env("STATUS"), &conf("1.1.0"));
    assert_eq!(code, Code::NotAvailable);
}

#[test]
fn bad_environment_names_the_variable() {
    type Spoil = fn(&mut Env);
    let cases: [(&str, Spoil); 6] = [
        ("CNI_CONTAINERID", |e| e.container_id.clear()),
        ("CNI_CONTAINERID", |e| e.container_id = "../x".into()),
        ("CNI_IFNAME", |e| e.ifname = "a-name-much-too-long".into()),
        ("CNI_IFNAME", |e| e.ifname = "a/b".into()),
        ("CNI_NETNS", |e| e.netns.clear()),
        ("CNI_ARGS", |e| e.args = "K8S_POD_NAME=x".into()),
    ];
    for (variable, spoil) in cases {
        let mut env = env("ADD");
        spoil(&mut env);
        let (code, msg) = fails(&env, &conf("1.1.0"));
        assert_eq!(code, Code::InvalidEnvironment, "{msg}");
        assert!(msg.contains(variable), "{msg}");
    }
    assert_eq!(fails(&env("FROBNICATE"), &conf("1.1.0")).0, Code::InvalidEnvironment);
    assert_eq!(fails(&env(""), &conf("1.1.0")).0, Code::InvalidEnvironment);
}

#[test]
fn bad_configuration_is_told_apart() {
    assert_eq!(fails(&env("ADD"), b"{").0, Code::Decode);
    assert_eq!(fails(&env("ADD"), b"").0, Code::Decode);
    assert_eq!(fails(&env("ADD"), &conf("2.0.0")).0, Code::IncompatibleVersion);
    assert_eq!(fails(&env("ADD"), br#"{"cniVersion":"1.1.0"}"#).0, Code::InvalidConfig);
    assert_eq!(
        fails(&env("ADD"), br#"{"cniVersion":"1.1.0","name":"n","socket":"rel"}"#).0,
        Code::InvalidConfig
    );
    let chained = br#"{"cniVersion":"1.1.0","name":"n","prevResult":{"ips":[]}}"#;
    assert_eq!(fails(&env("ADD"), chained).0, Code::InvalidConfig);
}

#[test]
fn verbs_newer_than_the_configuration_are_refused() {
    assert_eq!(fails(&env("CHECK"), &conf("0.3.1")).0, Code::IncompatibleVersion);
    assert_eq!(fails(&env("STATUS"), &conf("1.0.0")).0, Code::IncompatibleVersion);
    assert_eq!(fails(&env("GC"), &conf("1.0.0")).0, Code::IncompatibleVersion);
    assert_eq!(fails(&env("CHECK"), &conf("1.1.0")).0, Code::InvalidConfig);
    assert_eq!(fails(&env("GC"), &conf("1.1.0")).0, Code::InvalidConfig);
}

#[test]
fn results_have_the_shape_of_the_version() {
    let reply = CniAddReply {
        endpoint_id: 7,
        addresses: vec![CniAddress { address: "172.16.0.230/32".into(), gateway: "172.16.0.12".into() }],
        routes: vec![
            CniRoute { destination: "172.16.0.12/32".into(), gateway: String::new(), mtu: 0 },
            CniRoute { destination: "0.0.0.0/0".into(), gateway: "172.16.0.12".into(), mtu: 9001 },
        ],
        host_ifname: "lxc7408fc78b9ff".into(),
        host_mac: "5e:b5:9a:19:fb:b3".into(),
        pod_mac: "92:ef:86:7b:d1:d4".into(),
        mtu: 9001,
    };
    let result = |version: &str| -> Value {
        let conf = NetConf::parse(&conf(version)).expect("configuration");
        serde_json::from_str(&output::add_result(&conf, &reply, "eth0", "/run/netns/cni-1")).expect("JSON")
    };
    let new = result("1.1.0");
    assert_eq!(new["interfaces"][1]["sandbox"], "/run/netns/cni-1");
    assert_eq!(new["interfaces"][1]["mtu"], 9001);
    assert_eq!(
        new["ips"][0],
        json!({"interface": 1, "address": "172.16.0.230/32", "gateway": "172.16.0.12"})
    );
    assert_eq!(new["routes"][0], json!({"dst": "172.16.0.12/32"}));
    assert_eq!(new["routes"][1]["mtu"], 9001);
    let old = result("0.3.1");
    assert_eq!(old["cniVersion"], "0.3.1");
    assert_eq!(old["ips"][0]["version"], "4");
    assert_eq!(old["interfaces"][0].get("mtu"), None);
    assert_eq!(old["routes"][1].get("mtu"), None);
}
