//! Flags of `observe`: those of `hubble observe`.

pub mod not;

use clap::{Args, ValueEnum};
use pleopod_api::flow::Verdict;

/// Flags of `observe`.
#[derive(Debug, Default, Args)]
pub struct Observe {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = ObserveFormat::Compact, value_name = "FORMAT")]
    pub output: ObserveFormat,
    /// Ask this observer in place of the node's: HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["node", "socket"])]
    pub server: Option<String>,
    /// Go on with flows as they come
    #[arg(short, long, conflicts_with = "first")]
    pub follow: bool,
    /// How the time is printed
    #[arg(long, value_enum, default_value_t = TimeFormat::StampMilli, value_name = "FORMAT")]
    pub time_format: TimeFormat,
    /// Also print the node that saw the flow
    #[arg(long)]
    pub print_node_name: bool,
    /// Numbers and addresses, no names
    #[arg(long)]
    pub numeric: bool,
    /// When to colour the output
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,

    /// Which flows, by time
    #[command(flatten)]
    pub range: Range,
    /// Which flows, by content
    #[command(flatten)]
    pub filter: Filter,
    /// The filter after this leaves flows out: --not --port 53
    #[arg(long, help_heading = "Filters", action = clap::ArgAction::Count)]
    pub not: u8,
    /// The filters that stood after --not.
    #[arg(skip)]
    pub without: Filter,
}

/// Which part of what is kept.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Range")]
pub struct Range {
    /// Everything that is kept
    #[arg(long, conflicts_with_all = ["last", "first"])]
    pub all: bool,
    /// The latest N flows (100 unless another range is given)
    #[arg(long, value_name = "N", value_parser = count)]
    pub last: Option<u64>,
    /// The oldest N flows
    #[arg(long, value_name = "N", conflicts_with = "last", value_parser = count)]
    pub first: Option<u64>,
    /// From this time on: 5m (ago), or a time such as 2026-01-02T15:04:05Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub until: Option<String>,
}

/// Every flag narrows; the values of one flag widen.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct Filter {
    /// Pod at either end: a prefix of its name, NAMESPACE/PREFIX, or /PREFIX in any namespace
    #[arg(long, value_name = "POD")]
    pub pod: Vec<String>,
    /// Pod that sends
    #[arg(long, value_name = "POD")]
    pub from_pod: Vec<String>,
    /// Pod that receives
    #[arg(long, value_name = "POD")]
    pub to_pod: Vec<String>,
    /// Namespace of either end
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Vec<String>,
    /// Namespace that sends
    #[arg(long, value_name = "NAMESPACE")]
    pub from_namespace: Vec<String>,
    /// Namespace that receives
    #[arg(long, value_name = "NAMESPACE")]
    pub to_namespace: Vec<String>,
    /// Address or CIDR of either end
    #[arg(long, value_name = "IP")]
    pub ip: Vec<String>,
    /// Address or CIDR that sends
    #[arg(long, value_name = "IP")]
    pub from_ip: Vec<String>,
    /// Address or CIDR that receives
    #[arg(long, value_name = "IP")]
    pub to_ip: Vec<String>,
    /// Port of either end
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub port: Vec<u16>,
    /// Port that sends
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub from_port: Vec<u16>,
    /// Port that receives
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub to_port: Vec<u16>,
    /// Service at either end: [NAMESPACE/]PREFIX
    #[arg(long, value_name = "SERVICE")]
    pub service: Vec<String>,
    /// Service that sends
    #[arg(long, value_name = "SERVICE")]
    pub from_service: Vec<String>,
    /// Service that receives
    #[arg(long, value_name = "SERVICE")]
    pub to_service: Vec<String>,
    /// Label selector of either end, such as app=webpod or k8s:app in (a,b)
    #[arg(short, long, value_name = "SELECTOR")]
    pub label: Vec<String>,
    /// Label selector of the side that sends
    #[arg(long, value_name = "SELECTOR")]
    pub from_label: Vec<String>,
    /// Label selector of the side that receives
    #[arg(long, value_name = "SELECTOR")]
    pub to_label: Vec<String>,
    /// Identity of either end: a number or a reserved name such as world
    #[arg(long, value_name = "IDENTITY", value_parser = identity)]
    pub identity: Vec<u32>,
    /// Identity that sends
    #[arg(long, value_name = "IDENTITY", value_parser = identity)]
    pub from_identity: Vec<u32>,
    /// Identity that receives
    #[arg(long, value_name = "IDENTITY", value_parser = identity)]
    pub to_identity: Vec<u32>,
    /// Workload at either end: NAME or KIND/NAME
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: Vec<String>,
    /// Workload that sends
    #[arg(long, value_name = "WORKLOAD")]
    pub from_workload: Vec<String>,
    /// Workload that receives
    #[arg(long, value_name = "WORKLOAD")]
    pub to_workload: Vec<String>,
    /// Protocol: tcp, udp, sctp, icmp, icmpv4, icmpv6
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Vec<String>,
    /// Verdict: forwarded, dropped, traced, translated, ...
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    pub verdict: Vec<i32>,
    /// Reason of a drop, by name or number
    #[arg(long, value_name = "REASON", value_parser = drop_reason)]
    pub drop_reason_desc: Vec<i32>,
    /// Kind of event: trace, drop, trace-sock, or TYPE:SUBTYPE such as trace:to-endpoint
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub event_type: Vec<String>,
    /// TCP flags that are all set, such as SYN,ACK
    #[arg(long, value_name = "FLAGS", value_parser = tcp_flags)]
    pub tcp_flags: Vec<pleopod_api::flow::TcpFlags>,
    /// Direction seen from the pod of the node: ingress or egress
    #[arg(long, value_name = "DIRECTION", value_enum)]
    pub traffic_direction: Vec<Direction>,
    /// Only replies (true) or only requests (false)
    #[arg(long, value_name = "BOOL")]
    pub reply: Option<bool>,
    /// Only IPv4
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Node that saw the flow: a name, or a pattern with *
    #[arg(long, value_name = "NAME")]
    pub node_name: Vec<String>,
    /// Flows with these ids
    #[arg(long, value_name = "UUID")]
    pub uuid: Vec<String>,
    /// Flows of these traces
    #[arg(long, value_name = "ID")]
    pub trace_id: Vec<String>,
}

/// How `observe` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ObserveFormat {
    /// One line a flow
    #[default]
    Compact,
    /// One line a field
    Dict,
    /// One JSON object a message of the observer (jsonpb is the same, as in Hubble's client)
    #[value(alias = "jsonpb")]
    Json,
    /// Aligned columns
    Table,
}

/// How `observe` prints the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TimeFormat {
    /// Oct 21 11:12:10.998, in local time
    #[default]
    StampMilli,
    /// 2024-10-21T11:12:10Z
    Rfc3339,
    /// 2024-10-21T11:12:10.998Z
    Rfc3339Milli,
    /// 2024-10-21T11:12:10.998123Z
    Rfc3339Micro,
    /// 2024-10-21T11:12:10.998123456Z
    Rfc3339Nano,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Direction seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// To the pod
    Ingress,
    /// From the pod
    Egress,
}

fn identity(text: &str) -> Result<u32, String> {
    text.parse().ok().or_else(|| (1..=8).find(|id| pleopod_api::words::identity(*id) == format!("({text})"))).ok_or_else(
        || "expected a number, or host, world, unmanaged, health, init, remote-node, kube-apiserver or ingress".into(),
    )
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a number of flows".to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "expected a number from 0 to 65535".to_owned())
}

fn verdict(text: &str) -> Result<i32, String> {
    Verdict::from_str_name(&text.to_uppercase()).map(|v| v as i32).ok_or_else(|| {
        "expected forwarded, dropped, error, audit, redirected, traced or translated".to_owned()
    })
}

fn drop_reason(text: &str) -> Result<i32, String> {
    use pleopod_api::flow::DropReason;
    let name = text.to_uppercase().replace(['-', ' '], "_");
    let number = || text.parse().ok().and_then(|n: i32| DropReason::try_from(n).ok());
    DropReason::from_str_name(&name)
        .or_else(number)
        .map(|reason| reason as i32)
        .ok_or_else(|| "expected a reason such as POLICY_DENIED or its number".to_owned())
}

fn tcp_flags(text: &str) -> Result<pleopod_api::flow::TcpFlags, String> {
    let mut flags = pleopod_api::flow::TcpFlags::default();
    for name in text.split(',').map(str::trim) {
        let flag = match name.to_uppercase().as_str() {
            "FIN" => &mut flags.fin,
            "SYN" => &mut flags.syn,
            "RST" => &mut flags.rst,
            "PSH" => &mut flags.psh,
            "ACK" => &mut flags.ack,
            "URG" => &mut flags.urg,
            "ECE" => &mut flags.ece,
            "CWR" => &mut flags.cwr,
            "NS" => &mut flags.ns,
            _ => {
                return Err(format!(
                    "no TCP flag {name}: expected FIN, SYN, RST, PSH, ACK, URG, ECE, CWR or NS"
                ));
            }
        };
        *flag = true;
    }
    Ok(flags)
}
