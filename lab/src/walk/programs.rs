//! The programs and maps of a node, as `bpftool` sees them.

use std::io::Write;

use super::seen::so;
use super::session::Session;

/// Programs are attached by name where they should be; maps have names.
pub fn attached<W: Write>(s: &mut Session<W>, node: &str) -> anyhow::Result<()> {
    s.look(
        "Programs in the kernel",
        "Without our own tools: what is attached to the uplink, the router pair and every pod.",
    )?;
    let command = format!("pleopod lab node {node} -- bpftool net show");
    let net = s.run(&command)?;
    if net.text.contains("tcx/") {
        for (interface, hook, program) in [
            ("ens5(", "tcx/ingress", "from_uplink"),
            ("ens5(", "tcx/egress", "to_uplink"),
            ("pleo_host(", "tcx/ingress", "to_host"),
            ("pleo_host(", "tcx/egress", "from_host"),
            ("pleo_net(", "tcx/ingress", "to_host"),
            ("lxc", "tcx/ingress", "from_pod"),
            ("lxc", "tcx/egress", "to_pod"),
        ] {
            let wanted = format!("{hook} {program} ");
            let there = net.text.lines().any(|line| line.starts_with(interface) && line.contains(&wanted));
            let name = interface.trim_end_matches('(');
            s.check(&format!("{name}: {program}"), so(there, || format!("no {wanted}")))?;
        }
    } else {
        by_links(s, node)?;
    }
    let maps = s.run("bpftool map list | grep -o 'name pleo_[a-z_]*' | sort -u")?;
    s.check(
        "the maps have names",
        maps.says_all(&["pleo_ct", "pleo_endpoints", "pleo_ipcache", "pleo_metrics"]),
    )
}

/// For a bpftool that is older than tcx (before 7.3): its links and programs by number, joined with the agent's list.
fn by_links<W: Write>(s: &mut Session<W>, node: &str) -> anyhow::Result<()> {
    s.note("This bpftool is older than tcx and shows none of it. The agent's list, and each link's program by bpftool:")?;
    let status = s.run(&format!("pleopod status --verbose --node {node} | grep ' tcx/'"))?;
    for line in status.text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [interface, hook, program, _, number, _, link] = words[..] else { continue };
        let seen = s.ask_quietly(&format!("bpftool link show id {link}; bpftool prog show id {number}"))?;
        let wanted =
            [format!("{link}: "), format!("prog {number} "), format!("{number}: sched_cls  name {program} ")];
        s.check(&format!("{interface} {hook}: link {link} runs {program}"), seen.says_all(&wanted))?;
    }
    let names = ["from_uplink", "to_uplink", "from_host", "to_host", "from_pod", "to_pod"];
    s.check("every hook has its program", status.says_all(&names.map(|name| format!(" {name} prog_id "))))
}
