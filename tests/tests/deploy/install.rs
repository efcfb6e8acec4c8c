//! `pleopod-agent install` and `uninstall`, as the DaemonSets run them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use pleopod_tests::{Lab, Run};

use super::manifests::text;

/// A path as a word of a command.
fn word(flag: &str, path: &std::path::Path) -> String {
    format!("{flag}={}", path.display())
}

#[test]
fn install_puts_the_plugin_and_its_conflist_in_place_and_may_be_run_again() {
    let lab = Lab::unmade();
    let dir = tempfile::tempdir().expect("a directory");
    let (bin, conf) = (dir.path().join("bin"), dir.path().join("conf"));
    let bpffs = dir.path().join("bpf");
    // A mount namespace of its own: what is mounted goes with it.
    let script = "set -e; \"$@\"; \"$@\"; findmnt -n -o FSTYPE \"$WHERE\"";
    let agent = lab.program("pleopod-agent");
    let words = [word("--bpffs", &bpffs), word("--cni-bin", &bin), word("--cni-conf", &conf)];
    let said = Run::new("unshare")
        .env("WHERE", &bpffs)
        .words(&["--mount", "--propagation", "private", "sh", "-c", script, "sh", &agent, "install"])
        .words(&words.each_ref().map(String::as_str))
        .ok();
    assert_eq!(said.matches("mounted bpffs at").count(), 1, "{said}");
    assert_eq!(said.lines().last(), Some("bpf"), "{said}");
    let plugin = bin.join("pleopod-cni");
    assert_eq!(fs::metadata(&plugin).expect("the plugin").permissions().mode() & 0o7777, 0o755);
    let shipped = fs::read(lab.program("pleopod-cni")).expect("the plugin that was built");
    assert!(fs::read(&plugin).expect("the plugin") == shipped, "the plugin is the one beside the agent");
    let conflist = fs::read_to_string(conf.join("05-pleopod.conflist")).expect("the conflist");
    assert_eq!(conflist, text("05-pleopod.conflist"));
    let names = |dir| fs::read_dir(dir).expect("a directory").count();
    assert_eq!((names(&bin), names(&conf)), (1, 1), "nothing half-written stays");
}

/// Kernel's numbers of the links that a node has pinned: its attachments.
fn links_pinned(lab: &Lab, node: &str) -> Vec<String> {
    let each = "for pin in /sys/fs/bpf/pleopod/links/*; do bpftool link show pinned $pin; done";
    let said = lab.node(node, &["sh", "-c", each]).run().out;
    let numbers = said.lines().filter_map(|line| line.split_once(": "));
    numbers.filter(|(id, _)| id.parse::<u32>().is_ok()).map(|(id, _)| id.to_owned()).collect()
}

/// Whether the kernel has it. Some versions of bpftool show a link and end with an error all the same.
fn link_lives(id: &str) -> bool {
    Run::new("bpftool").words(&["link", "show", "id", id]).run().out.contains("prog ")
}

#[test]
fn uninstall_leaves_nothing_on_a_node() {
    let lab = Lab::up_with(&["--nodes", "1"]);
    lab.ready("kube-system");
    let node = "k8s-s";
    let layout = lab.layout().node(node);
    let dir = tempfile::tempdir().expect("a directory");
    let (bin, conf) = (dir.path().join("bin"), dir.path().join("conf"));
    for (dir, file) in [(&bin, "pleopod-cni"), (&conf, "05-pleopod.conflist"), (&conf, "10-other.conflist")] {
        fs::create_dir_all(dir).expect("a directory");
        fs::write(dir.join(file), "x").expect("a file");
    }
    let state = layout.agent_state();
    let run = layout.run.clone();
    let options = [
        "--bpffs=/sys/fs/bpf".to_owned(),
        word("--cni-bin", &bin),
        word("--cni-conf", &conf),
        word("--state-dir", &state),
        word("--run-dir", &run),
    ];
    let agent = lab.program("pleopod-agent");
    let uninstall =
        || lab.node(node, &[&agent, "uninstall"]).words(&options.each_ref().map(String::as_str)).run();

    // There is something to remove, and it can be seen with these very commands.
    let seen = |words: &[&str]| lab.node(node, words).ok();
    assert!(seen(&["ip", "link"]).contains("pleo_host") && seen(&["ip", "link"]).contains(": lxc"));
    let links = links_pinned(&lab, node);
    assert!(links.len() > 10 && links.iter().all(|id| link_lives(id)), "{links:?}");
    assert!(seen(&["ip", "route"]).contains("dev lxc"));
    assert!(state.join("leases.json").exists());

    let said = uninstall();
    assert!(!said.success() && said.err.contains("another pleopod-agent runs on this node"), "{said}");
    assert!(conf.join("05-pleopod.conflist").exists(), "refused, so nothing is done");
    lab.pleopod(&["lab", "fault", "agent", node, "stop"]).ok();
    // What an agent leaves that is killed while it writes.
    fs::write(state.join("leases.tmp"), "{").expect("a file");
    let said = uninstall();
    assert!(said.success() && said.out.contains("removed pleo_host"), "{said}");

    let there = seen(&["ip", "-o", "link"]);
    assert!(!there.contains("pleo_") && !there.contains("lxc"), "{there}");
    let routes = seen(&["ip", "route", "show", "table", "all"]);
    assert!(!routes.contains("lxc") && !routes.contains("172.16."), "{routes}");
    // The kernel has files of its own there.
    assert!(!seen(&["ls", "/sys/fs/bpf"]).contains("pleopod"), "pins");
    assert!(!links.iter().any(|id| link_lives(id)), "programs are still attached");
    let left = |dir: &std::path::Path| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    assert_eq!(left(&state), [] as [String; 0]);
    assert_eq!(left(&run), [] as [String; 0]);
    assert_eq!(left(&bin), [] as [String; 0]);
    assert_eq!(left(&conf), ["10-other.conflist"], "what others put there stays");

    // Twice is once.
    uninstall().ok();
    assert_eq!(left(&run), [] as [String; 0]);
}
