//! An agent that answers with fixed facts on a socket of its own.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Output};

use pleopod_api::agent::agent_server::{Agent, AgentServer};
use pleopod_api::agent::*;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

pub struct Fixture {
    socket: PathBuf,
    _dir: tempfile::TempDir,
    // Ends the server when dropped.
    _runtime: tokio::runtime::Runtime,
}

/// Runs the program against the agent at `socket`.
pub fn pleopod(socket: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pleopod"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TZ", "UTC")
        .arg("--socket")
        .arg(socket)
        .args(args)
        .output()
        .unwrap()
}

impl Fixture {
    pub fn start() -> Self {
        Self::serve(Facts { ready: true })
    }

    pub fn start_not_ready() -> Self {
        Self::serve(Facts { ready: false })
    }

    fn serve(facts: Facts) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = dir.path().join("agent.sock");
        let listener = runtime.block_on(async { UnixListener::bind(&socket).unwrap() });
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(AgentServer::new(facts))
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        Self { socket, _dir: dir, _runtime: runtime }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

struct Facts {
    ready: bool,
}

type Answer<T> = Result<Response<T>, Status>;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn pod_labels(app: &str) -> Vec<String> {
    vec![
        format!("k8s:app={app}"),
        "k8s:io.kubernetes.pod.namespace=default".into(),
        "k8s:io.pleopod.k8s.namespace.labels.kubernetes.io/metadata.name=default".into(),
        "k8s:io.pleopod.k8s.policy.cluster=default".into(),
        "k8s:io.pleopod.k8s.policy.serviceaccount=default".into(),
    ]
}

#[tonic::async_trait]
impl Agent for Facts {
    async fn get_status(&self, request: Request<StatusRequest>) -> Answer<StatusReply> {
        let verbose = request.into_inner().verbose;
        let check = |name: &str, ok, message: &str| Check { name: name.into(), ok, message: message.into() };
        let address = |address: &str, owner: &str, restored| AllocatedAddress {
            address: address.into(),
            owner: owner.into(),
            restored,
        };
        let attached = |program: &str, hook: &str, program_id, link_id, error: &str| Attached {
            program: program.into(),
            hook: hook.into(),
            program_id,
            link_id,
            error: error.into(),
        };
        Ok(Response::new(StatusReply {
            node: "k8s-s".into(),
            version: "0.1.0".into(),
            pid: 4242,
            started_at: 1_729_508_400_000_000_000,
            ready: self.ready,
            checks: vec![
                if self.ready {
                    check("kubernetes", true, "1.33.0 at https://192.168.10.10:6443")
                } else {
                    check("kubernetes", false, "no answer")
                },
                check("datapath", true, "8 maps, 12 programs"),
                check("cni", true, "ready"),
            ],
            pod_cidrs: strings(&["172.16.0.0/24"]),
            addresses_in_use: 3,
            addresses_total: 254,
            addresses: if verbose {
                vec![
                    address("172.16.0.12", "router", false),
                    address("172.16.0.230", "default/netpod", true),
                    address("172.16.0.236", "health", false),
                ]
            } else {
                Vec::new()
            },
            endpoints: 3,
            identities: 10,
            services: 4,
            routing: "native".into(),
            masquerading: "bpf (ens5)".into(),
            mtu: 9001,
            attached: vec![
                attached("from_uplink", "ens5 tcx/ingress", 1284, 16, ""),
                attached("to_uplink", "ens5 tcx/egress", 1290, 17, ""),
                attached("sock_connect6", "cgroup /", 0, 0, "attach: permission denied"),
            ],
            flows: Some(FlowStats {
                seen: 1234,
                lost_in_kernel: 2,
                lost_in_agent: 0,
                ring_capacity: 4096,
                ring_used: 1234,
                per_second: 12.34,
            }),
            kernel: "6.18.0".into(),
        }))
    }

    async fn list_endpoints(&self, _: Request<ListEndpointsRequest>) -> Answer<ListEndpointsReply> {
        let common = Endpoint {
            state: "ready".into(),
            policy_ingress: "Disabled".into(),
            policy_egress: "Disabled".into(),
            ..Default::default()
        };
        Ok(Response::new(ListEndpointsReply {
            endpoints: vec![
                Endpoint {
                    id: 1541,
                    identity: 1,
                    labels: strings(&[
                        "k8s:node-role.kubernetes.io/control-plane",
                        "k8s:node.kubernetes.io/exclude-from-external-load-balancers",
                        "reserved:host",
                    ]),
                    ..common.clone()
                },
                Endpoint {
                    id: 416,
                    pod_namespace: "default".into(),
                    pod_name: "netpod".into(),
                    container_id: "35c57e2301ba".into(),
                    identity: 39126,
                    labels: pod_labels("netpod"),
                    ipv4: "172.16.0.230".into(),
                    ifname: "lxc7408fc78b9ff".into(),
                    ifindex: 10,
                    mac: "92:EF:86:7B:D1:D4".into(),
                    node_mac: "5E:B5:9A:19:FB:B3".into(),
                    netns: "/run/netns/cni-35c57e23-01ba-0bc8-9858-769f1479059c".into(),
                    created_at: 1_729_508_782_000_000_000,
                    restored: true,
                    ..common.clone()
                },
                Endpoint {
                    id: 905,
                    identity: 4,
                    labels: strings(&["reserved:health"]),
                    ipv4: "172.16.0.236".into(),
                    ..common
                },
            ],
        }))
    }

    async fn list_identities(&self, request: Request<ListIdentitiesRequest>) -> Answer<ListIdentitiesReply> {
        let wanted = request.into_inner().id;
        let all = [
            Identity { id: 39126, labels: pod_labels("netpod") },
            Identity { id: 1, labels: strings(&["reserved:host"]) },
            Identity { id: 25054, labels: pod_labels("webpod") },
        ];
        let identities = all.into_iter().filter(|i| wanted == 0 || i.id == wanted).collect();
        Ok(Response::new(ListIdentitiesReply { identities }))
    }

    async fn list_ips(&self, _: Request<ListIpsRequest>) -> Answer<ListIpsReply> {
        let entry = |prefix: &str, identity, labels: Vec<String>, source: &str| IpEntry {
            prefix: prefix.into(),
            identity,
            labels,
            source: source.into(),
            ..Default::default()
        };
        let reserved = |name: &str| vec![format!("reserved:{name}")];
        Ok(Response::new(ListIpsReply {
            entries: vec![
                entry("192.168.10.101/32", 6, reserved("remote-node"), ""),
                entry("172.16.1.111/32", 25054, pod_labels("webpod"), "custom-resource"),
                entry("172.16.0.230/32", 39126, pod_labels("netpod"), "custom-resource"),
                entry("172.16.0.12/32", 1, strings(&["reserved:host", "reserved:kube-apiserver"]), ""),
                entry("0.0.0.0/0", 2, reserved("world"), ""),
                entry("172.16.2.180/32", 25054, pod_labels("webpod"), "custom-resource"),
            ],
        }))
    }

    async fn list_services(&self, _: Request<ListServicesRequest>) -> Answer<ListServicesReply> {
        let backend = |id, address: &str, state: &str, node: &str| Backend {
            id,
            address: address.into(),
            state: state.into(),
            node: node.into(),
            weight: 1,
            local: node == "k8s-s",
            inside: state == "active",
            outside: state == "active" && node == "k8s-s",
            ..Default::default()
        };
        let service = |id, frontend: &str, protocol: &str, name: &str, port: &str, backends| Service {
            id,
            frontend: frontend.into(),
            protocol: protocol.into(),
            r#type: "ClusterIP".into(),
            backends,
            name: name.into(),
            port_name: port.into(),
            algorithm: "random".into(),
            inside: "Cluster".into(),
            outside: "Cluster".into(),
            topology: "any".into(),
            removed_backend: "drain".into(),
            ..Default::default()
        };
        let node_port = Service {
            r#type: "NodePort".into(),
            algorithm: "maglev".into(),
            outside: "Local".into(),
            affinity: 10800,
            source_ranges: strings(&["192.0.2.0/24", "198.51.100.0/24"]),
            ..service(
                3,
                "192.168.10.10:30080",
                "TCP",
                "default/svc",
                "svc-webport",
                vec![
                    backend(1, "172.16.1.111:80", "active", "k8s-w1"),
                    backend(2, "172.16.2.180:80", "terminating", ""),
                    backend(3, "172.16.0.7:80", "active", "k8s-s"),
                    Backend { inside: false, ..backend(4, "172.16.1.112:80", "active", "k8s-w1") },
                ],
            )
        };
        Ok(Response::new(ListServicesReply {
            services: vec![
                service(
                    2,
                    "10.97.1.148:80",
                    "TCP",
                    "default/svc",
                    "svc-webport",
                    vec![
                        backend(1, "172.16.1.111:80", "active", "k8s-w1"),
                        backend(2, "172.16.2.180:80", "terminating", ""),
                    ],
                ),
                node_port,
                service(1, "10.96.0.10:53", "UDP", "kube-system/kube-dns", "", Vec::new()),
            ],
        }))
    }

    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Answer<ListNodesReply> {
        let node = |name: &str, address: &str, cidr: &str, router: &str, health: &str, local| Node {
            name: name.into(),
            addresses: strings(&[address]),
            pod_cidrs: strings(&[cidr]),
            router_addresses: strings(&[router]),
            health_addresses: strings(&[health]),
            local,
        };
        Ok(Response::new(ListNodesReply {
            nodes: vec![
                node("k8s-w1", "192.168.10.101", "172.16.1.0/24", "172.16.1.198", "172.16.1.159", false),
                node("k8s-s", "192.168.10.10", "172.16.0.0/24", "172.16.0.12", "172.16.0.236", true),
            ],
        }))
    }

    async fn list_maps(&self, _: Request<ListMapsRequest>) -> Answer<ListMapsReply> {
        let map = |name: &str, kind: &str, entries, max_entries, errors, synced, id| Map {
            name: name.into(),
            kernel_name: format!("pleo_{name}"),
            r#type: kind.into(),
            entries,
            max_entries,
            key_size: 16,
            value_size: 24,
            errors,
            synced,
            id,
        };
        Ok(Response::new(ListMapsReply {
            maps: vec![
                map("ipcache", "hash", 23, 131_072, 1, true, 66),
                map("ct", "lru_hash", 100, 524_288, 0, false, 67),
            ],
        }))
    }

    async fn get_map(&self, request: Request<GetMapRequest>) -> Answer<GetMapReply> {
        let name = request.into_inner().name;
        if name != "ipcache" {
            return Err(Status::not_found(format!("no map {name}: there are ct and ipcache")));
        }
        let row = |key: &str, value: &str, state: &str, error: &str| MapRow {
            key: key.into(),
            value: value.into(),
            state: state.into(),
            error: error.into(),
        };
        Ok(Response::new(GetMapReply {
            rows: vec![
                row(
                    "172.16.1.210/32",
                    "identity=39166 encryptkey=0 tunnelendpoint=192.168.10.101, flags=<none>",
                    "sync",
                    "",
                ),
                row("0.0.0.0/0", "identity=2 encryptkey=0 tunnelendpoint=0.0.0.0, flags=<none>", "sync", ""),
                row(
                    "172.16.1.111/32",
                    "identity=25054 encryptkey=0 tunnelendpoint=192.168.10.101, flags=<none>",
                    "error",
                    "no space left in the map",
                ),
            ],
        }))
    }

    async fn dump_bpf(&self, request: Request<DumpBpfRequest>) -> Answer<DumpBpfReply> {
        let row = |cells: &[&str]| BpfRow { cells: strings(cells) };
        Ok(Response::new(match request.into_inner().table.as_str() {
            "endpoint" => DumpBpfReply {
                columns: strings(&["ip_address", "local_endpoint_info"]),
                rows: vec![
                    row(&["192.168.10.10:0", "(localhost)"]),
                    row(&[
                        "172.16.0.230:0",
                        "id=416 sec_id=39126 flags=0x0000 ifindex=10 mac=92:EF:86:7B:D1:D4 nodemac=5E:B5:9A:19:FB:B3",
                    ]),
                ],
            },
            _ => DumpBpfReply { columns: strings(&["key", "value"]), rows: Vec::new() },
        }))
    }

    async fn get_config(&self, _: Request<ConfigRequest>) -> Answer<ConfigReply> {
        let item = |key: &str, value: &str, source: &str, description: &str| ConfigItem {
            key: key.into(),
            value: value.into(),
            source: source.into(),
            description: description.into(),
        };
        Ok(Response::new(ConfigReply {
            items: vec![
                item("uplinks", "[ens5]", "file", "Interfaces to other nodes"),
                item("mtu", "9001", "detected", "MTU of pods"),
            ],
        }))
    }

    type MonitorStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<MonitorEvent, Status>> + Send>>;

    async fn monitor(&self, _: Request<MonitorRequest>) -> Answer<Self::MonitorStream> {
        let event = |n: u32| MonitorEvent { summary: format!("trace event {n}"), ..Default::default() };
        Ok(Response::new(Box::pin(tokio_stream::iter((0..100_000).map(move |n| Ok(event(n)))))))
    }
}
