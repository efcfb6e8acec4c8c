//! What both walks look at around the Service `svc`. The session knows `p0`, `SVC` and the pods' addresses.

use std::io::Write;

use super::seen::{Outcome, Seen, so};
use super::session::Session;

/// Calls that are counted.
const CALLS: usize = 100;

/// The Service answers by name and by address, from both pods.
pub fn answers<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "The Service answers",
        "By name through the cluster's DNS and by address; both pods take their share.",
    )?;
    let one = s.run("p0 curl -s -m 5 svc")?;
    s.check("a pod answers http://svc", one.says("Hostname: webpod"))?;
    let from = format!("RemoteAddr: {}:", s.value("NETPODIP"));
    s.check("it sees netpod's own address", one.says(&from))?;
    let many = s.run(&format!(
        "p0 sh -c 'for i in $(seq {CALLS}); do curl -s -m 5 '$SVC' | grep Hostname; done' | sort | uniq -c"
    ))?;
    s.check(&format!("{CALLS} calls are spread evenly, as chance allows"), spread(&many, CALLS))
}

/// Whether `calls` fell on two pods as `calls` throws of a coin do, within five standard deviations.
fn spread(seen: &Seen, calls: usize) -> Outcome {
    let of = |pod: &str| {
        let line = seen.text.lines().find(|line| line.ends_with(pod));
        line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0)
    };
    let (one, two) = (of("webpod1"), of("webpod2"));
    // Five standard deviations: 5 * sqrt(calls) / 2, without roots: (2 * distance)^2 <= 25 * calls.
    let twice = (2 * one).abs_diff(calls);
    so(one + two == calls && twice * twice <= 25 * calls, || format!("{one} and {two} of {calls}"))
}

/// The Service's row in the agent's list.
pub fn listed<W: Write>(s: &mut Session<W>, services: &Seen) -> anyhow::Result<()> {
    let frontend = format!("{}:80/TCP", s.value("SVC"));
    let row = services.text.lines().skip_while(|line| !line.contains(&frontend)).take(2).collect::<Vec<_>>();
    let text = row.join("\n");
    s.check(
        "frontend and type are svc's",
        so(text.contains("ClusterIP") && text.contains("default/svc:svc-webport"), || {
            "no such row".to_owned()
        }),
    )?;
    let backends = s.run("kubectl get endpointslices -l kubernetes.io/service-name=svc")?;
    let addresses: Vec<String> =
        ["WEBPOD1IP", "WEBPOD2IP"].iter().map(|name| format!("{}:80 (active)", s.value(name))).collect();
    let outcome = addresses.iter().try_for_each(|backend| {
        so(text.contains(backend.as_str()), || format!("backend {backend} is missing"))
    });
    s.check("both pods are its backends", outcome.and(backends.ended(0)))
}

/// `connect()` names the Service, and so does `getpeername()`.
pub fn system_calls<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "The program sees the Service",
        "connect() is called with the ClusterIP. In the kernel it becomes a pod's address; getpeername() answers the \
         ClusterIP again.",
    )?;
    let calls =
        s.run("p0 strace -f -e trace=connect,getpeername curl -s -o /dev/null $SVC 2>&1 | grep AF_INET")?;
    let peer = format!("sin_port=htons(80), sin_addr=inet_addr(\"{}\")", s.value("SVC"));
    let call = |name: &str| {
        let lines = calls.text.lines().filter(|line| line.contains(name));
        let (all, right) =
            lines.fold((0, 0), |(all, right), line| (all + 1, right + usize::from(line.contains(&peer))));
        so(all > 0 && all == right, || format!("{right} of {all} calls name the Service"))
    };
    let (connect, getpeername) = (call("connect("), call("getpeername("));
    s.check("connect() goes to the ClusterIP", connect)?;
    s.check("getpeername() answers the ClusterIP", getpeername)
}

/// The node's own processes have the Service too.
pub fn node_process<W: Write>(s: &mut Session<W>, node: &str) -> anyhow::Result<()> {
    s.look(
        "Processes of the node have it too",
        "A process in no pod calls the same ClusterIP, with the node's address.",
    )?;
    s.set("NODEIP", &format!("kubectl get node {node} -o jsonpath={{.status.addresses[0].address}}"))?;
    let answer =
        s.run(&format!("pleopod lab node {node} -- curl -s -m 5 $SVC | grep -E 'Hostname|RemoteAddr'"))?;
    s.check("a pod answers", answer.says("Hostname: webpod"))?;
    let from = format!("RemoteAddr: {}:", s.value("NODEIP"));
    s.check("it sees the node's address", answer.says(&from))
}

/// In-cluster clients find the API server.
pub fn api_server<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "In-cluster clients find the API server",
        "https://kubernetes.default is a Service as any other, with the control plane's node as its backend; the pod's \
         own token and CA certificate are good for it.",
    )?;
    s.define("D=/var/run/secrets/kubernetes.io/serviceaccount")?;
    s.define("api() { p0 curl -s -m 5 --cacert $D/ca.crt --oauth2-bearer \"$(p0 cat $D/token)\" https://kubernetes.default$1; }")?;
    let version = s.run("api /version | grep -o '\"gitVersion\":\"[^\"]*\"'")?;
    s.check("it answers its version", version.says("\"gitVersion\":"))
}
