//! Hubble's flow filters, compiled once and asked of events before any message is built.
//!
//! Of several filters one has to match; within a filter every field that is set; of a field's values one. What no event
//! here can have (DNS names, HTTP, traces) matches nothing.

mod node;
mod selector;

use std::net::IpAddr;

use ipnet::IpNet;
use pleopod_abi::proto;
use pleopod_api::flow::{EventTypeFilter, FlowFilter, NetworkInterface, TcpFlags, Workload};

use crate::event::{End, Event, Kind};
use crate::flow::{self, Origin};
use node::NodePattern;
use selector::Selector;

#[cfg(test)]
mod tests;

/// Which flows to take and which of these to leave out.
#[derive(Debug, Default)]
pub struct Filters {
    whitelist: Vec<Filter>,
    blacklist: Vec<Filter>,
}

/// One compiled filter.
#[derive(Debug)]
struct Filter(Vec<Clause>);

/// One field that is set. Values of a list widen.
#[derive(Debug)]
enum Clause {
    Source(Side),
    Destination(Side),
    Uuid(Vec<String>),
    Verdict(Vec<i32>),
    DropReason(Vec<i32>),
    EventType(Vec<EventTypeFilter>),
    Protocol(Vec<u8>),
    Reply(Vec<bool>),
    TcpFlags(Vec<TcpFlags>),
    Direction(Vec<i32>),
    IpVersion(Vec<i32>),
    Node(Vec<NodePattern>),
    Interface(Vec<NetworkInterface>),
    Encrypted(bool),
    /// About something no event here has.
    Never,
}

/// A field about one side.
#[derive(Debug)]
enum Side {
    Ip(Vec<IpNet>),
    Pod(Vec<Named>),
    Service(Vec<Named>),
    Label(Vec<Selector>),
    Workload(Vec<Workload>),
    Port(Vec<u16>),
    Identity(Vec<u32>),
    Cluster(Vec<String>),
}

/// `namespace/prefix`. An empty namespace is any.
#[derive(Debug)]
struct Named {
    namespace: String,
    prefix: String,
}

/// A filter that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter {field} {value:?}: {why}")]
pub struct Error {
    /// Field of the filter.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
}

// === impl Filters ===

impl Filters {
    /// Compiles the filters of a request.
    pub fn compile(whitelist: &[FlowFilter], blacklist: &[FlowFilter]) -> Result<Self, Error> {
        let list = |filters: &[FlowFilter]| filters.iter().map(Filter::compile).collect::<Result<_, _>>();
        Ok(Self { whitelist: list(whitelist)?, blacklist: list(blacklist)? })
    }

    /// Whether the event is taken; `number` is its place in the ring.
    pub fn take(&self, event: &Event, number: u64, origin: &Origin) -> bool {
        let matches = |filter: &Filter| filter.matches(event, number, origin);
        (self.whitelist.is_empty() || self.whitelist.iter().any(matches))
            && !self.blacklist.iter().any(matches)
    }
}

// === impl Filter ===

impl Filter {
    fn compile(f: &FlowFilter) -> Result<Self, Error> {
        let mut clauses = Vec::new();
        let source = Fields {
            ip: &f.source_ip,
            pod: &f.source_pod,
            service: &f.source_service,
            label: &f.source_label,
            workload: &f.source_workload,
            port: &f.source_port,
            identity: &f.source_identity,
            cluster: &f.source_cluster_name,
            names: ["source_ip", "source_label", "source_port"],
        };
        let destination = Fields {
            ip: &f.destination_ip,
            pod: &f.destination_pod,
            service: &f.destination_service,
            label: &f.destination_label,
            workload: &f.destination_workload,
            port: &f.destination_port,
            identity: &f.destination_identity,
            cluster: &f.destination_cluster_name,
            names: ["destination_ip", "destination_label", "destination_port"],
        };
        clauses.extend(source.compile()?.into_iter().map(Clause::Source));
        clauses.extend(destination.compile()?.into_iter().map(Clause::Destination));
        let protocols =
            some(&f.protocol).map(|list| all(list, protocol).map(|lists| lists.concat())).transpose()?;
        clauses.extend(protocols.map(Clause::Protocol));
        let nodes = some(&f.node_name)
            .map(|list| {
                all(list, |text| NodePattern::parse(text).map_err(|why| wrong("node_name", text, &why)))
            })
            .transpose()?;
        clauses.extend(nodes.map(Clause::Node));
        if let Some(label) = f.node_labels.first() {
            return Err(wrong("node_labels", label, "not supported by this observer"));
        }
        clauses.extend(some(&f.uuid).map(|list| Clause::Uuid(list.to_vec())));
        clauses.extend(some(&f.verdict).map(|list| Clause::Verdict(list.to_vec())));
        clauses.extend(some(&f.drop_reason_desc).map(|list| Clause::DropReason(list.to_vec())));
        clauses.extend(some(&f.event_type).map(|list| Clause::EventType(list.to_vec())));
        clauses.extend(some(&f.reply).map(|list| Clause::Reply(list.to_vec())));
        clauses.extend(some(&f.tcp_flags).map(|list| Clause::TcpFlags(list.to_vec())));
        clauses.extend(some(&f.traffic_direction).map(|list| Clause::Direction(list.to_vec())));
        clauses.extend(some(&f.ip_version).map(|list| Clause::IpVersion(list.to_vec())));
        clauses.extend(some(&f.interface).map(|list| Clause::Interface(list.to_vec())));
        clauses.extend(some(&f.encrypted).map(|list| Clause::Encrypted(list.contains(&true))));
        let never = [
            &f.source_fqdn,
            &f.destination_fqdn,
            &f.source_ip_xlated,
            &f.http_status_code,
            &f.http_method,
            &f.http_path,
            &f.http_url,
            &f.dns_query,
            &f.trace_id,
        ];
        if never.iter().any(|list| !list.is_empty()) || !f.http_header.is_empty() {
            clauses.push(Clause::Never);
        }
        Ok(Self(clauses))
    }

    fn matches(&self, event: &Event, number: u64, origin: &Origin) -> bool {
        self.0.iter().all(|clause| clause.matches(event, number, origin))
    }
}

/// The fields of a filter about one side.
struct Fields<'a> {
    ip: &'a [String],
    pod: &'a [String],
    service: &'a [String],
    label: &'a [String],
    workload: &'a [Workload],
    port: &'a [String],
    identity: &'a [u32],
    cluster: &'a [String],
    /// Names of the fields that can be wrong: ip, label, port.
    names: [&'static str; 3],
}

impl Fields<'_> {
    fn compile(&self) -> Result<Vec<Side>, Error> {
        let [ip, label, port] = self.names;
        let label = |text: &str| Selector::parse(text).map_err(|why| wrong(label, text, &why));
        let port =
            |text: &str| text.parse().map_err(|_| wrong(port, text, "expected a number from 0 to 65535"));
        let names = |list: &[String]| list.iter().map(|text| named(text)).collect();
        let mut sides = Vec::new();
        if let Some(list) = some(self.ip) {
            sides.push(Side::Ip(all(list, |text| net(ip, text))?));
        }
        if let Some(list) = some(self.label) {
            sides.push(Side::Label(all(list, label)?));
        }
        if let Some(list) = some(self.port) {
            sides.push(Side::Port(all(list, port)?));
        }
        sides.extend(some(self.pod).map(|list| Side::Pod(names(list))));
        sides.extend(some(self.service).map(|list| Side::Service(names(list))));
        sides.extend(some(self.workload).map(|list| Side::Workload(list.to_vec())));
        sides.extend(some(self.identity).map(|list| Side::Identity(list.to_vec())));
        sides.extend(some(self.cluster).map(|list| Side::Cluster(list.to_vec())));
        Ok(sides)
    }
}

// === impl Clause ===

impl Clause {
    fn matches(&self, event: &Event, number: u64, origin: &Origin) -> bool {
        match self {
            Self::Source(side) => side.matches(&event.source, event.protocol, origin),
            Self::Destination(side) => side.matches(&event.destination, event.protocol, origin),
            Self::Uuid(list) => list.contains(&flow::uuid(origin, number)),
            Self::Verdict(list) => {
                use pleopod_api::flow::Verdict as V;
                let verdict = match event.verdict() {
                    crate::event::Verdict::Forwarded => V::Forwarded,
                    crate::event::Verdict::Dropped => V::Dropped,
                    crate::event::Verdict::Traced => V::Traced,
                    crate::event::Verdict::Translated => V::Translated,
                };
                list.contains(&verdict.into())
            }
            Self::DropReason(list) => event
                .packet()
                .and_then(|p| p.dropped)
                .is_some_and(|reason| list.contains(&i32::from(reason as u8))),
            Self::EventType(list) => {
                let own = flow::event_type(event);
                list.iter()
                    .any(|f| f.r#type == own.r#type && (!f.match_sub_type || f.sub_type == own.sub_type))
            }
            Self::Protocol(list) => list.contains(&event.protocol),
            Self::Reply(list) => event.reply().is_some_and(|reply| list.contains(&reply)),
            Self::TcpFlags(list) => match &event.kind {
                Kind::Packet(packet) if event.protocol == proto::TCP => {
                    list.iter().any(|wanted| has_flags(packet.tcp_flags, wanted))
                }
                _ => false,
            },
            Self::Direction(list) => list.contains(&i32::from(event.traffic_direction() as u8)),
            Self::IpVersion(list) => {
                let version = match event.source.address.or(event.destination.address) {
                    None => 0,
                    Some(IpAddr::V4(_)) => 1,
                    Some(IpAddr::V6(_)) => 2,
                };
                list.contains(&version)
            }
            Self::Node(list) => list.iter().any(|pattern| pattern.matches(&origin.cluster, &origin.node)),
            Self::Interface(list) => event.packet().is_some_and(|packet| {
                let name = packet.interface.as_deref().unwrap_or_default();
                list.iter().any(|wanted| {
                    (wanted.index == 0 || wanted.index == packet.ifindex)
                        && (wanted.name.is_empty() || wanted.name == name)
                })
            }),
            Self::Encrypted(wanted) => !wanted,
            Self::Never => false,
        }
    }
}

// === impl Side ===

impl Side {
    fn matches(&self, end: &End, protocol: u8, origin: &Origin) -> bool {
        match self {
            Self::Ip(nets) => {
                end.address.is_some_and(|address| nets.iter().any(|net| net.contains(&address)))
            }
            Self::Pod(list) => end.pod().is_some_and(|name| list.iter().any(|wanted| wanted.matches(name))),
            Self::Service(list) => {
                end.service_name().is_some_and(|name| list.iter().any(|w| w.matches(name)))
            }
            Self::Label(list) => list.iter().any(|selector| selector.matches(end.labels())),
            Self::Workload(list) => end.peer.as_ref().is_some_and(|peer| {
                peer.workloads.iter().any(|(kind, name)| {
                    list.iter().any(|wanted| {
                        (wanted.kind.is_empty() || wanted.kind == *kind)
                            && (wanted.name.is_empty() || wanted.name == *name)
                    })
                })
            }),
            Self::Port(list) => {
                matches!(protocol, proto::TCP | proto::UDP | proto::SCTP) && list.contains(&end.port)
            }
            Self::Identity(list) => list.contains(&end.identity),
            Self::Cluster(list) => end.pod().is_some() && list.contains(&origin.cluster),
        }
    }
}

// === impl Named ===

impl Named {
    fn matches(&self, (namespace, name): (&str, &str)) -> bool {
        (self.namespace.is_empty() || self.namespace == namespace) && name.starts_with(&self.prefix)
    }
}

fn has_flags(bits: u8, wanted: &TcpFlags) -> bool {
    let own = flow::tcp_flags(bits);
    [
        (wanted.fin, own.fin),
        (wanted.syn, own.syn),
        (wanted.rst, own.rst),
        (wanted.psh, own.psh),
        (wanted.ack, own.ack),
        (wanted.urg, own.urg),
        (wanted.ece, own.ece),
        (wanted.cwr, own.cwr),
        (wanted.ns, own.ns),
    ]
    .iter()
    .all(|(wanted, own)| !wanted || *own)
}

/// `prefix` in the namespace default, `namespace/prefix`, `namespace/` or `/prefix` in any namespace.
fn named(text: &str) -> Named {
    let (namespace, prefix) = text.split_once('/').unwrap_or(("default", text));
    Named { namespace: namespace.to_owned(), prefix: prefix.to_owned() }
}

fn net(field: &'static str, text: &str) -> Result<IpNet, Error> {
    let parsed = match text.contains('/') {
        true => text.parse::<IpNet>().ok(),
        false => text.parse::<IpAddr>().ok().map(IpNet::from),
    };
    parsed.ok_or_else(|| wrong(field, text, "expected an address or CIDR"))
}

fn protocol(text: &str) -> Result<Vec<u8>, Error> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "tcp" => vec![proto::TCP],
        "udp" => vec![proto::UDP],
        "sctp" => vec![proto::SCTP],
        "icmp" => vec![proto::ICMP, proto::ICMPV6],
        "icmpv4" => vec![proto::ICMP],
        "icmpv6" => vec![proto::ICMPV6],
        // Known, but no event here has them.
        "http" | "dns" | "kafka" | "vrrp" | "igmp" => Vec::new(),
        _ => return Err(wrong("protocol", text, "expected tcp, udp, sctp, icmp, icmpv4 or icmpv6")),
    })
}

fn wrong(field: &'static str, value: &str, why: &str) -> Error {
    Error { field, value: value.to_owned(), why: why.to_owned() }
}

fn some<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

fn all<T>(list: &[String], parse: impl Fn(&str) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    list.iter().map(|text| parse(text)).collect()
}
