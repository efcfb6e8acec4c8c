//! The agent inside what `deploy/daemonset.yaml` gives it: its capabilities, a read-only root, `/proc/sys` and `/sys`
//! read-only but for what is mounted, a cgroup namespace of its own.
//!
//! No runtime is at hand; the same kernel features are set up with `unshare`, `mount` and `setpriv`, and the lab runs
//! its agents in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use pleopod_tests::{Lab, manifest};
use serde::Deserialize;

use super::manifests::text;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    privileged: bool,
    read_only_root_filesystem: bool,
    capabilities: Capabilities,
}

#[derive(Deserialize)]
struct Capabilities {
    drop: Vec<String>,
    add: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    name: String,
    mount_path: String,
}

fn agent_container() -> (SecurityContext, Vec<Mount>) {
    let object: serde_json::Value = serde_saphyr::from_str(&text("daemonset.yaml")).expect("YAML");
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    let part = |name: &str| container[name].clone();
    (
        serde_json::from_value(part("securityContext")).expect("a security context"),
        serde_json::from_value(part("volumeMounts")).expect("mounts"),
    )
}

/// Numbers of capabilities, linux/capability.h.
fn number(name: &str) -> u32 {
    match name {
        "NET_ADMIN" => 12,
        "SYS_ADMIN" => 21,
        "PERFMON" => 38,
        "BPF" => 39,
        other => panic!("{other} is new: privileges.md must say what it is for"),
    }
}

#[test]
fn the_agent_works_with_what_the_daemonset_gives_it() {
    let (security, mounts) = agent_container();
    assert!(!security.privileged && security.read_only_root_filesystem);
    assert_eq!(security.capabilities.drop, ["ALL"]);
    let names: BTreeSet<&str> = mounts.iter().map(|mount| mount.name.as_str()).collect();
    assert!(names.is_superset(&BTreeSet::from(["proc-sys-net", "rcu-expedited"])), "{names:?}");
    let proc_sys_net = mounts.iter().find(|mount| mount.name == "proc-sys-net").expect("a mount");
    assert_eq!(proc_sys_net.mount_path, "/mnt/proc/sys/net");

    let lab = Lab::unmade();
    let bounds: String =
        security.capabilities.add.iter().map(|name| format!(",+{}", name.to_lowercase())).collect();
    let dir = tempfile::tempdir().expect("a directory");
    let wrapper = dir.path().join("agent-in-a-container");
    let script = format!(
        r#"#!/bin/sh
exec unshare --mount --cgroup --propagation slave sh -c '
set -e
# As distributions start: the agent has something to change.
echo 2 > /proc/sys/net/ipv4/conf/default/rp_filter
[ -e /proc/sys/net/ipv4/conf/pleo_host ] || echo 0 > /proc/sys/net/ipv4/ip_forward
mount --rbind /run /run
mount -t tmpfs none /mnt
mkdir -p /mnt/proc/sys/net
mount --bind /proc/sys/net /mnt/proc/sys/net
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /sys/kernel/rcu_expedited /sys/kernel/rcu_expedited
mount -o remount,bind,ro /sys
mount -o remount,bind,ro /
exec setpriv --bounding-set -all{bounds} --inh-caps -all{bounds} {agent} "$@"' agent "$@"
"#,
        agent = lab.program("pleopod-agent"),
    );
    fs::write(&wrapper, script).expect("the wrapper");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("the wrapper");
    lab.bring_up(&["--agent", &wrapper.display().to_string()]).ok();

    let pid = lab.agent_process("k8s-s").pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("its capabilities");
    let expected = security.capabilities.add.iter().fold(0u64, |bits, name| bits | 1 << number(name));
    assert_eq!(u64::from_str_radix(effective, 16).expect("hexadecimal"), expected);
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("the agent");
    let read_only = |at: &str| mounts.lines().any(|line| line.contains(&format!(" {at} ro,")));
    assert!(read_only("/proc/sys") && read_only("/sys") && read_only("/"), "{mounts}");

    for file in ["w4.yaml", "svc.yaml"] {
        lab.kubectl(&["apply", "-f", &manifest(file)]).ok();
    }
    lab.ready("default");
    let webpod = lab.pod_ip("webpod2");
    assert!(lab.exec("netpod", &["ping", "-c", "1", "-W", "2", &webpod]).ok().contains("ttl=62"));
    lab.exec("netpod", &["curl", "-sS", "--max-time", "5", "http://svc"]).ok();
    lab.pleopod(&["lab", "fault", "agent", "k8s-s", "kill"]).ok();
    lab.agent_ok("k8s-s");
    lab.kubectl(&["delete", "pod", "netpod"]).ok();
    lab.kubectl(&["apply", "-f", &manifest("w4.yaml")]).ok();
    lab.ready("default");
    lab.exec("netpod", &["curl", "-sS", "--max-time", "5", "http://svc"]).ok();
}
