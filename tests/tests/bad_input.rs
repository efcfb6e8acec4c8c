//! What people give that makes no sense, and what they are told: one line that names the object, the field and a way out,
//! and nothing is lost. The sentences stand in `docs/guide/troubleshooting.md`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use pleopod_tests::{Lab, Run, manifest, until};

const NODE: &str = "k8s-s";

/// A command must end with this code and say this, in one line.
fn told(run: Run, code: i32, sentence: &str) {
    let said = run.run();
    assert_eq!(said.code, Some(code), "{said}");
    let last = said.err.lines().last().unwrap_or_default();
    assert!(last.contains(sentence), "{sentence}\n{said}");
}

#[test]
fn commands_that_make_no_sense() {
    let lab = Lab::up_with(&["--nodes", "1", "--without-dns"]);
    let words = |words: &[&str]| lab.pleopod(words);
    // Exit code 2: the request makes no sense.
    for (line, sentence) in [
        (&["frob"][..], "pleopod: unrecognized subcommand 'frob'; see --help"),
        (&["status", "--frob"], "pleopod: unexpected argument '--frob' found; see --help"),
        (&["map", "get"], "pleopod: the following required arguments were not provided: <NAME>; see --help"),
        (
            &["observe", "--last", "x"],
            "pleopod: invalid value 'x' for '--last <N>': expected a number of flows; see --help",
        ),
        (
            &["observe", "--verdict", "MAYBE"],
            "pleopod: invalid value 'MAYBE' for '--verdict <VERDICT>': expected forwarded, dropped,",
        ),
        (
            &["observe", "--since", "yesterday"],
            "pleopod: --since yesterday: expected a duration such as 5m, or a time such as ",
        ),
        (
            &["service", "list", "-o", "xml"],
            "pleopod: invalid value 'xml' for '--output <FORMAT>' [possible values: table, json, yaml]",
        ),
    ] {
        told(words(line), 2, sentence);
    }
    // Exit code 1: it made sense, and there is no such thing.
    for (line, sentence) in [
        (&["status", "--node", "nowhere"][..], "pleopod: no node nowhere with an agent in lab "),
        (
            &["--socket", "/nowhere.sock", "status"],
            "pleopod: cannot reach the agent at /nowhere.sock: there is no such socket; is pleopod-agent running on that node?",
        ),
        (&["endpoint", "get", "9999"], "pleopod: no endpoint 9999 at the agent "),
        (&["identity", "get", "999"], "pleopod: no identity 999: see `pleopod identity list`"),
        (
            &["map", "get", "nomap"],
            "there is no map \"nomap\" with rows; there are endpoints, netns, ipcache, ",
        ),
        (
            &["lab", "exec", "nopod", "--", "true"],
            "pleopod-lab: pod default/nopod is on no node of this lab; `pleopod lab get pods -A` lists them",
        ),
        (&["lab", "node", "nowhere", "--", "true"], "pleopod-lab: no node nowhere in lab "),
        (&["lab", "outside", "nobody", "--", "true"], "pleopod-lab: no outside host nobody in lab "),
        (&["lab", "fault", "agent", "nowhere", "kill"], "pleopod-lab: no agent on a node nowhere"),
        (&["lab", "fault", "link", "nowhere", "cut"], "pleopod-lab: no host nowhere in lab "),
    ] {
        told(words(line), 1, sentence);
    }
    lab.agent_ok(NODE);
    lab.down().ok();
}

#[test]
fn configurations_that_make_no_sense() {
    let lab = Lab::up_with(&["--nodes", "1", "--without-dns"]);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.yaml");
    let agent = lab.program("pleopod-agent");
    // What can be told without looking at the node ends with 2.
    for (text, sentence) in [
        ("node-nam: x\n", "is not valid: unknown field `node-nam`, expected one of node-name, "),
        ("mtu: big\n", "is not valid: invalid u32 at line 1, column 6: `mtu: big`"),
        (
            "mtu: 100\n",
            "pleopod-agent: config: mtu is 100; give 1280 to 65535, or leave it out to follow the uplink",
        ),
        ("ct-entries: 1\n", "pleopod-agent: config: ct-entries is 1; give 1024 to 16777216"),
        ("lb-backends: 9\n", "pleopod-agent: config: lb-backends is 9; give 256 to 1048576"),
        (
            "routing: ipip\n",
            "pleopod-agent: config: routing is \"ipip\"; the only mode of this version is \"native\"",
        ),
        ("run-dir: here\n", "pleopod-agent: config: run-dir is here; give an absolute path"),
        (
            "uplinks: [averyverylongname]\n",
            "pleopod-agent: config: uplinks has \"averyverylongname\", which is no interface name (1 to 15 bytes)",
        ),
        (
            "nodeport-addresses: [10.0.0.1]\n",
            "pleopod-agent: config: nodeport-addresses has \"10.0.0.1\", which is no prefix; give \"primary\", or prefixes such as ",
        ),
        (
            "lb-algorithm: fair\n",
            "unknown variant `fair`, expected one of random, round-robin, source-hash, maglev",
        ),
        (
            "nodeport-localhost: maybe\n",
            "is not valid: invalid boolean at line 1, column 21: `nodeport-localhost: maybe`",
        ),
        ("log-format: xml\n", "unknown variant `xml`, expected one of text, json"),
        (
            "native-routing-cidrs: [10.0.0.0/33]\n",
            "is not valid: invalid IP address syntax at line 1, column 24",
        ),
    ] {
        std::fs::write(&path, text).expect("writing");
        let run =
            Run::new(&agent).words(&["--config", &path.display().to_string()]).within(Duration::from_secs(5));
        told(run, 2, sentence);
    }
    let run = Run::new(&agent).words(&["--config", "/nowhere.yaml"]).within(Duration::from_secs(5));
    told(run, 2, "pleopod-agent: config: reading /nowhere.yaml: No such file or directory (os error 2)");

    // What only the node can tell ends with 1. The lab's own agent makes room for it.
    lab.pleopod(&["lab", "fault", "agent", NODE, "stop"]).ok();
    let config = lab.layout().node(NODE).agent_config().display().to_string();
    for (flag, value, sentence) in [
        (
            "--mtu",
            "20000",
            "pleopod-agent: config: mtu is 20000, more than the 9001 of the uplink; packets of that size would not leave the node",
        ),
        (
            "--uplinks",
            "nosuch0",
            "pleopod-agent: no uplink found: there is no link nosuch0 (links here: lo, ens5, ",
        ),
        ("--kubeconfig", "/nowhere", "pleopod-agent: can't connect to the API server: kubeconfig /nowhere: "),
        ("--cgroup-root", "/tmp", "pleopod-agent: config: cgroup-root /tmp is not in a cgroup2 file system"),
        (
            "--health-address",
            "192.0.2.1:9",
            "pleopod-agent: config: health-address: listening at 192.0.2.1:9: Cannot assign requested address",
        ),
        ("--state-dir", "/proc/none", "pleopod-agent: state: making /proc/none: "),
        (
            "--native-routing-cidrs",
            "10.0.0.0/8,11.0.0.0/8",
            "pleopod-agent: config: native-routing-cidrs has 10.0.0.0/8 and 11.0.0.0/8; give one prefix for each family",
        ),
    ] {
        let run = lab.node(NODE, &[&agent, "--config", &config, flag, value]).within(Duration::from_secs(10));
        told(run, 1, sentence);
    }
    // A name that no Node has is waited for: the object may be on its way.
    let mut waiting = lab.node(NODE, &[&agent, "--config", &config, "--node-name", "nobody"]).start();
    until("status says what is missing", Duration::from_secs(10), || {
        let status = lab.agent(NODE, &["status"]).run().out;
        status
            .contains("kubernetes: there is no Node nobody; check node-name in the agent's configuration")
            .then_some(())
    });
    assert!(waiting.runs());
    let _ = waiting.stop();
    lab.pleopod(&["lab", "fault", "agent", NODE, "start"]).ok();
    lab.agent_ok(NODE);
    lab.down().ok();
}

#[test]
fn topologies_that_make_no_sense() {
    let lab = Lab::unmade();
    let good = lab.pleopod(&["lab", "up", "--print-topology"]).ok();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("topology.yaml");
    for (from, to, sentence) in [
        ("mtu: 9001", "mtu: 12", "topology: fabric.mtu: 12 is not between 1280 and 65535"),
        ("name: k8s-w1", "name: k8s-s", "topology: nodes[1].name: `k8s-s` is taken already"),
        (
            "name: k8s-w1",
            "name: Bad_Name",
            "topology: nodes[1].name: `Bad_Name` is not a name; use at most 40 lower-case letters, digits and inner dashes",
        ),
        (
            "192.168.10.101",
            "10.1.1.1",
            "topology: nodes[1].address: 10.1.1.1 lies outside fabric.cidr 192.168.10.0/24",
        ),
        (
            "172.16.1.0/24",
            "172.16.0.0/24",
            "topology: nodes[1].pod-cidr: 172.16.0.0/24 overlaps that of nodes[0]",
        ),
        (
            "172.16.1.0/24",
            "10.99.0.0/24",
            "topology: nodes[1].pod-cidr: 10.99.0.0/24 lies outside cluster-cidr 172.16.0.0/16",
        ),
        ("10.96.0.10", "1.2.3.4", "topology: cluster-dns: 1.2.3.4 lies outside service-cidr 10.96.0.0/12"),
    ] {
        assert!(good.contains(from), "{from} is in {good}");
        std::fs::write(&path, good.replacen(from, to, 1)).expect("writing");
        let said = lab.bring_up(&["--topology", &path.display().to_string()]);
        assert_eq!(
            (said.code, said.err.trim_end()),
            (Some(1), format!("pleopod-lab: {sentence}").as_str()),
            "{said}"
        );
    }
    std::fs::write(&path, "nods: []\n").expect("writing");
    let said = lab.bring_up(&["--topology", &path.display().to_string()]);
    assert!(said.err.contains("unknown field `nods`, expected one of cluster-name, "), "{said}");
    assert_eq!(lab.traces(), [] as [String; 0], "nothing was begun");
}

#[test]
fn objects_that_make_no_sense() {
    let lab = Lab::up();
    lab.kubectl(&["apply", "-f", &manifest("w4.yaml"), "-f", &manifest("svc.yaml")]).ok();
    lab.ready("default");
    let service = lab.field("svc/svc", ".spec.clusterIP");

    // The API server refuses what can't be an object.
    let before = everything(&lab);
    for (yaml, sentence) in [
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: Bad_Name}, spec: {containers: [{name: c, image: x}]}}",
            "The Pod \"Bad_Name\" is invalid: metadata.name: Invalid value: ",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: []}}",
            "The Pod \"x\" is invalid: spec.containers: Required value",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: c, imag: x}]}}",
            "strict decoding error: unknown field \"spec.containers[0].imag\"",
        ),
        (
            "{apiVersion: v1, kind: Servce, metadata: {name: x}}",
            "no matches for kind \"Servce\" in version \"v1\"",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 99999}]}}",
            "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {clusterIP: 1.2.3.4, ports: [{port: 80}]}}",
            "failed to allocate IP 1.2.3.4: the provided IP is not in the valid range",
        ),
        (
            "{apiVersion: pleopod.io/v1alpha1, kind: PleopodIdentity, metadata: {name: '300'}, spec: {labels: 7}}",
            "spec.labels in body must be of type array: \"integer\"",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: Bad_Name}, spec: {ports: [{port: 80}]}}",
            "The Service \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a DNS-1035 label must consist",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: eighty}]}}",
            "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal string into Go struct field \
             spec.ports[0].port of type int32",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {}}",
            "The Service \"x\" is invalid: spec.ports: Required value",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 80}, {port: 81}]}}",
            "spec.ports[1].name: Required value",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {clusterIP: 10.96.0.300, ports: [{port: 80}]}}",
            "spec.clusterIPs: Invalid value: [\"10.96.0.300\"]: must be a valid IP address",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 80, protocol: ICMP}]}}",
            "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: nowhere}, spec: {containers: [{name: c, image: x}]}}",
            "(NotFound): error when creating \"STDIN\": namespaces \"nowhere\" not found",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: {name: c, image: x}}}",
            "json: cannot unmarshal object into Go struct field spec.containers of type",
        ),
        (
            "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: x}, addressType: IPv4, ports: [], \
             endpoints: [{addresses: [1.2.3.400]}]}",
            "endpoints[0].addresses[0]: Invalid value: \"1.2.3.400\": must be a valid IPv4 address",
        ),
        (
            "{apiVersion: pleopod.io/v1alpha1, kind: PleopodEndpoint, metadata: {name: x}}",
            "The PleopodEndpoint \"x\" is invalid: spec: Required value",
        ),
        ("{kind: Pod, metadata: {name: x}}", "error validating data: apiVersion not set"),
        ("{apiVersion: v1, metadata: {name: x}}", "error validating data: kind not set"),
        ("kind: [", "error converting YAML to JSON: yaml: "),
    ] {
        let said = lab.kubectl(&["apply", "-f", "-"]).input(&format!("# \n{}", block(yaml))).run();
        assert!(said.code == Some(1) && said.err.contains(sentence), "{sentence}\n{said}");
    }
    assert_eq!(everything(&lab), before, "what was refused left nothing");

    // What it takes and we can't use is told as an event of the object, in status and in the log; all else goes on.
    lab.apply(
        r"
apiVersion: pleopod.io/v1alpha1
kind: PleopodIdentity
metadata: {name: notanumber}
spec: {labels: [a=b]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky, annotations: {pleopod.io/load-balancer-algorithm: least-connections}}
spec: {selector: {app: webpod}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: outer, annotations: {pleopod.io/removed-backend: reset}}
spec: {type: NodePort, selector: {app: webpod}, ports: [{port: 80}]}
",
    );
    for (object, kind, sentence) in [
        (
            "notanumber",
            "PleopodIdentity notanumber",
            "metadata.name: the name is not a number from 256 to 65535; delete it; the agents make the objects they need",
        ),
        (
            "sticky",
            "Service default/sticky",
            "metadata.annotations[pleopod.io/load-balancer-algorithm]: least-connections is not supported yet; backends are chosen at random; leave the annotation out",
        ),
        (
            "outer",
            "Service default/outer",
            "metadata.annotations[pleopod.io/removed-backend]: is not supported yet; connections to removed backends go on; leave the annotation out",
        ),
    ] {
        until(&format!("status tells of {object}"), Duration::from_secs(10), || {
            lab.agent(NODE, &["status"])
                .ok()
                .contains(&format!("Objects:                 Error   {kind} {sentence}"))
                .then_some(())
        });
        until(&format!("an event tells of {object}"), Duration::from_secs(10), || {
            let events = ["get", "events", "-A", "--field-selector", "reason=PleopodProblem", "-o"];
            let events = lab
                .kubectl(&events)
                .words(&["custom-columns=O:.involvedObject.name,M:.message", "--no-headers"])
                .ok();
            events.lines().any(|line| line.starts_with(object) && line.contains(sentence)).then_some(())
        });
        let log = std::fs::read_to_string(lab.layout().node(NODE).agent_log()).expect("the log");
        assert!(log.contains(&format!("{kind} {sentence}")), "{log}");
    }
    lab.agent_ok(NODE);
    for service in
        [&service, &lab.field("svc/sticky", ".spec.clusterIP"), &lab.field("svc/outer", ".spec.clusterIP")]
    {
        lab.exec("netpod", &["curl", "-sS", "--max-time", "3", "-o", "/dev/null", service]).ok();
    }
    lab.kubectl(&["delete", "pleopodidentity/notanumber", "svc/sticky", "svc/outer"]).ok();
    until("nothing is complained of any more", Duration::from_secs(10), || {
        (!lab.agent(NODE, &["status"]).ok().contains("Objects:")).then_some(())
    });
    lab.down().ok();
}

/// Names of all objects that a person would write.
fn everything(lab: &Lab) -> String {
    lab.kubectl(&["get", "svc,pods,nodes,namespaces,endpointslices,pep,pid", "-A", "-o", "name"]).ok()
}

/// One line of YAML, as kubectl takes it: a line that begins with a brace would be JSON to it.
fn block(yaml: &str) -> String {
    let Some(inner) = yaml.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return yaml.to_owned();
    };
    let mut depth = 0;
    let mut text = String::new();
    for c in inner.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        let end = c == ',' && depth == 0;
        text.push(if end { '\n' } else { c });
    }
    text.lines().map(|line| format!("{}\n", line.trim_start())).collect()
}

/// Every source of ours, strings on several lines put together, quotes as they are printed.
fn sources(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "tests" {
            sources(&path, text);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let source = std::fs::read_to_string(&path).expect("a source");
            let mut joined = String::new();
            for line in source.lines() {
                match line.strip_suffix('\\') {
                    Some(begun) => joined.push_str(begun.trim_start()),
                    None => {
                        joined.push_str(line.trim_start());
                        joined.push('\n');
                    }
                }
            }
            text.push_str(&joined.replace("\\\"", "\""));
        }
    }
}

#[test]
fn the_guide_quotes_what_the_software_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let mut said = String::new();
    sources(root, &mut said);
    let guide = std::fs::read_to_string(root.join("docs/guide/troubleshooting.md")).expect("the guide");
    let mut rows = 0;
    let mut unknown = String::new();
    for line in guide.lines().filter(|line| line.starts_with("| `")) {
        let message = line.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
        let message = message.trim_matches('`').trim();
        // The name of a status line is put together from the part's name.
        let message = message
            .split_once(": ")
            .filter(|(name, _)| STATUS_LINES.contains(name))
            .map_or(message, |(_, rest)| rest);
        rows += 1;
        for piece in message.split('…').flat_map(|piece| piece.split("`, `")) {
            let piece = piece.trim_matches(|c: char| " `:;,().".contains(c));
            // Too short to tell anything, or two that stand in different places: `NAME: sentence`.
            let found = piece.len() < 8
                || said.contains(piece)
                || piece.split([':', ';']).all(|part| said.contains(part.trim()));
            if !found {
                let _ = writeln!(unknown, "{piece}");
            }
        }
    }
    assert!(rows > 50, "{rows} rows");
    assert_eq!(unknown, "", "the guide quotes what nothing says");
}

const STATUS_LINES: [&str; 8] =
    ["Agent", "API server", "Kubernetes", "Tables", "Uplinks", "State", "Objects", "Connections"];
