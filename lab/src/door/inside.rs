//! Commands that become a process somewhere else. They pass on the terminal, standard input and the exit code.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use pleopod_lab::cgroup;
use pleopod_lab::enter::{Entry, Place, View};
use pleopod_lab::layout::{Layout, NETNS_DIR};
use pleopod_lab::pod::place;

use super::args::{Exec, OnHost};
use super::{running, topology_of};

pub fn exec(name: Option<&str>, args: Exec) -> anyhow::Result<u8> {
    let layout = running(name)?;
    let pod = args.pod.strip_prefix("pod/").unwrap_or(&args.pod);
    let found = place::find(&layout.index(), &args.namespace, pod, args.container.as_deref())?;
    let mut entry = found.entry(args.command)?;
    if let Ok(terminal) = std::env::var("TERM") {
        entry.env.push(("TERM".to_owned(), terminal));
    }
    become_it(&entry)
}

pub fn node(name: Option<&str>, args: OnHost) -> anyhow::Result<u8> {
    let layout = running(name)?;
    let topology = topology_of(&layout)?;
    if !topology.nodes.iter().any(|node| node.name == args.host) {
        let known: Vec<&str> = topology.nodes.iter().map(|node| node.name.as_str()).collect();
        bail!("no node {} in lab {}; its nodes are {}", args.host, layout.lab, known.join(", "));
    }
    let node = layout.node(&args.host);
    let view = View {
        bpffs: Some(node.bpffs()),
        files: vec![
            (node.dir.join("resolv.conf"), PathBuf::from("/etc/resolv.conf")),
            (node.dir.join("hosts"), PathBuf::from("/etc/hosts")),
        ],
    };
    let mut entry = on_host(&layout, args, view, "system/shell")?;
    entry.env = vec![
        ("PLEOPOD_LAB".to_owned(), layout.lab.clone()),
        ("PLEOPOD_NODE".to_owned(), node.name.clone()),
        ("KUBECONFIG".to_owned(), node.kubeconfig().display().to_string()),
    ];
    become_it(&entry)
}

pub fn outside(name: Option<&str>, args: OnHost) -> anyhow::Result<u8> {
    let layout = running(name)?;
    let topology = topology_of(&layout)?;
    if !topology.outside.iter().any(|host| host.name == args.host) {
        let known: Vec<&str> = topology.outside.iter().map(|host| host.name.as_str()).collect();
        bail!("no outside host {} in lab {}; there is {}", args.host, layout.lab, known.join(", "));
    }
    let entry = on_host(&layout, args, View::default(), "shell")?;
    become_it(&entry)
}

fn on_host(layout: &Layout, args: OnHost, view: View, cgroup: &str) -> anyhow::Result<Entry> {
    let netns = Path::new(NETNS_DIR).join(layout.netns(&args.host));
    let argv = if args.command.is_empty() {
        vec![std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned())]
    } else {
        args.command
    };
    let mut entry = Entry::in_netns(netns, argv);
    let mount = cgroup::mount_point().context("cgroup2")?;
    entry.cgroup = Some(mount.join(layout.cgroup()).join(&args.host).join(cgroup));
    entry.hostname = Some(args.host);
    entry.place = Place::Node(view);
    Ok(entry)
}

fn become_it(entry: &Entry) -> anyhow::Result<u8> {
    Ok(entry.become_it(&serde_json::to_string(entry)?, false))
}
