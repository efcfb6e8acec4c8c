//! W1: one node, a Service without iptables.

use std::io::Write;

use super::seen::{Seen, so};
use super::session::Session;
use super::{programs, service};

/// The node that the manifest names.
pub const NODE: &str = "acme-control";

/// Walks.
pub fn walk<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    pods(s)?;
    routes(s)?;
    neighbour(s)?;
    service::answers(s)?;
    no_rules(s)?;
    listed(s)?;
    service::system_calls(s)?;
    wire(s)?;
    service::node_process(s, NODE)?;
    service::api_server(s)?;
    programs::attached(s, NODE)?;
    without_cgroup2(s)
}

fn pods<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "Three pods and a Service",
        "netpod calls; webpod1 and webpod2 stand behind the ClusterIP Service svc.",
    )?;
    s.run("kubectl apply -f w1.yaml -f svc.yaml")?;
    let wait = s.run("kubectl wait pods --all --for=condition=Ready --timeout=50s")?;
    s.check("every pod became Ready", wait.ended(0))?;
    let pods = s.run("kubectl get pods -o wide")?;
    let runs = |name: &str| {
        let row = pods.row(name);
        so(row.get(1..3) == Some(&["1/1", "Running"]) && row.contains(&NODE), || format!("{name}: {row:?}"))
    };
    s.check(
        "all three run on acme-control",
        ["netpod", "webpod1", "webpod2"].into_iter().try_for_each(runs),
    )?;
    s.define("p0() { kubectl exec netpod -- \"$@\"; }")?;
    s.set("NETPODIP", "kubectl get pod netpod -o jsonpath={.status.podIP}")?;
    s.set("WEBPOD1IP", "kubectl get pod webpod1 -o jsonpath={.status.podIP}")?;
    s.set("WEBPOD2IP", "kubectl get pod webpod2 -o jsonpath={.status.podIP}")?;
    s.set("SVC", "kubectl get service svc -o jsonpath={.spec.clusterIP}")?;
    Ok(())
}

fn routes<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "The pod's way out",
        "The pod has a /32. Its default route leads to the node's router address, and a second route says that this \
         address is on the link. On the node it is the address of pleo_host.",
    )?;
    let address = s.run("p0 ip -br addr show eth0")?;
    s.check("the address is a /32", address.says(&format!("{}/32", s.value("NETPODIP"))))?;
    let host = s.run(&format!("pleopod lab node {NODE} -- ip -4 -br addr show pleo_host"))?;
    let router = host.text.split_whitespace().nth(2).and_then(|net| net.strip_suffix("/32")).unwrap_or("?");
    let routes = s.run("p0 ip route")?;
    let lines = [format!("default via {router} dev eth0"), format!("{router} dev eth0 scope link")];
    s.check("a default route to pleo_host's address, and a link route to it", routes.says_all(&lines))?;
    s.check("and no other route", so(routes.text.lines().count() == 2, || "there are more".to_owned()))
}

fn neighbour<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "Who answers for the gateway",
        "The pod believes that its gateway has the MAC address of the host side of its own veth pair, the lxc interface. \
         Nothing is ever asked by ARP.",
    )?;
    let neighbour = s.run("p0 ip neigh")?;
    s.set("LINK", "p0 cat /sys/class/net/eth0/iflink")?;
    let links = format!("pleopod lab node {NODE} -- ip -o link");
    s.set("LXC", &format!("{links} | sed -n \"s/^$LINK: \\(.*\\)@.*/\\1/p\""))?;
    s.check(
        "the other end of eth0 is an lxc interface of the node",
        so(s.value("LXC").starts_with("lxc"), || format!("it is `{}`", s.value("LXC"))),
    )?;
    let link = s.run(&format!("pleopod lab node {NODE} -- ip -br link show dev $LXC"))?;
    let mac = link.text.split_whitespace().nth(2);
    s.check(
        "the gateway's neighbour entry is its MAC address, and permanent",
        mac.map_or_else(
            || Err("no MAC address".to_owned()),
            |mac| neighbour.says(&format!("lladdr {mac} PERMANENT")),
        ),
    )
}

fn no_rules<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "No rule does this",
        "kube-proxy would have left chains named KUBE-SVC here. The node has no rule at all.",
    )?;
    let rules = s.run(&format!("pleopod lab node {NODE} -- iptables-save"))?;
    s.check("iptables-save prints nothing", rules.silent())?;
    let rules = s.run(&format!("pleopod lab node {NODE} -- nft list ruleset"))?;
    s.check("nft list ruleset prints nothing", rules.silent())
}

fn listed<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look("What the agent knows of the Service", "Frontend, type, and both pods as backends.")?;
    let services = s.run("pleopod service list")?;
    service::listed(s, &services)
}

fn wire<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "On the wire: no translation",
        "The SYN that reaches webpod1 comes from netpod's own address and was sent to webpod1's, not to the Service's: the \
         choice was made in connect(), before there was a packet.",
    )?;
    let seen = s.run(
        "kubectl exec webpod1 -- timeout 20 tcpdump -tlnni eth0 -c 1 'tcp[13] == 2' 2>/dev/null &\n\
         while kill -0 $! 2>/dev/null; do p0 curl -s -m 5 $SVC >/dev/null; done",
    )?;
    let syn = |seen: &Seen| {
        seen.says(&format!("IP {}.", s.value("NETPODIP")))?;
        seen.says(&format!(" > {}.80: Flags [S]", s.value("WEBPOD1IP")))
    };
    let outcome = syn(&seen);
    s.check("from netpod's address to webpod1's, port 80", outcome)?;
    let outcome = seen.lacks(&s.value("SVC"));
    s.check("the Service's address is nowhere", outcome)
}

fn without_cgroup2<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "A node without cgroup2",
        "The choice in connect() hangs on cgroup2. The agent is started anew where cgroup2 is mounted nowhere: it mounts \
         its own, and Services go on.",
    )?;
    s.run(&format!("pleopod lab fault agent {NODE} without-cgroup2"))?;
    let command = format!("grep 'no cgroup2 mounted' ../nodes/{NODE}/agent.log | tail -n 1");
    let log = s.run_until(&command, |seen| seen.says("mounted our own"))?;
    s.check("it says that it mounted its own", log.says("mounted our own"))?;
    let hooks =
        s.run_until("pleopod status --verbose | grep 'sock_connect4\\|sock_getpeer4'", |seen| seen.ended(0))?;
    s.check(
        "its socket programs hang there",
        hooks.says_all(&["sock_connect4 prog_id", "sock_getpeer4 prog_id"]),
    )?;
    let answer = s.run("p0 curl -s -m 5 svc | grep Hostname")?;
    s.check("the Service answers", answer.says("Hostname: webpod"))?;
    s.run(&format!("pleopod lab fault agent {NODE} restart"))?;
    let well = s.run_until("pleopod status | head -n 2", |seen| seen.says("Agent:").and(seen.says("Ok")))?;
    s.check("and with cgroup2 again, the agent is well", well.says("Ok"))
}
