//! Every event in words as it leaves the kernel, for whoever watches right now. Costs nothing while nobody does.

use std::collections::BTreeMap;
use std::sync::Arc;

use pleopod_abi::{event::flow_flags, proto};
use pleopod_api::agent::MonitorEvent;
use pleopod_api::words;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};

use crate::clock;
use crate::decode::{Call, Outcome, Packet, Record};
use crate::flow;

/// Events a slow watcher may be behind before it loses some.
const BEHIND: usize = 8192;

/// Kinds that can be asked for.
pub const TYPES: [&str; 3] = ["drop", "trace", "sock"];

/// Hands events to watchers.
#[derive(Debug)]
pub struct Monitor {
    sender: broadcast::Sender<Arc<MonitorEvent>>,
}

/// A kind that was asked for and is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event type {0:?}: expected drop, trace or sock")]
pub struct UnknownType(pub String);

// === impl Monitor ===

impl Monitor {
    /// Nobody watches yet.
    pub fn new() -> Self {
        Self { sender: broadcast::Sender::new(BEHIND) }
    }

    /// Tells watchers, if there are any.
    pub fn tell(&self, record: &Record, time: i64) {
        if self.sender.receiver_count() > 0 {
            // Fails only when the last watcher left just now.
            let _ = self.sender.send(Arc::new(words(record, time)));
        }
    }

    /// The events from now on, of these kinds; no kind for all.
    pub fn watch(
        &self,
        types: Vec<String>,
    ) -> Result<impl Stream<Item = MonitorEvent> + Send + use<>, UnknownType> {
        if let Some(unknown) = types.iter().find(|wanted| !TYPES.contains(&wanted.as_str())) {
            return Err(UnknownType(unknown.clone()));
        }
        let events = BroadcastStream::new(self.sender.subscribe());
        Ok(events.filter_map(move |event| match event {
            Ok(event) if types.is_empty() || types.contains(&event.r#type) => {
                Some(Arc::unwrap_or_clone(event))
            }
            Ok(_) => None,
            Err(BroadcastStreamRecvError::Lagged(count)) => Some(lost(count)),
        }))
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self::new()
    }
}

fn lost(count: u64) -> MonitorEvent {
    MonitorEvent {
        time: clock::realtime(),
        r#type: "lost".to_owned(),
        summary: format!("!! {count} events lost: this client reads too slowly"),
        fields: [("count".to_owned(), count.to_string())].into(),
        ..Default::default()
    }
}

/// One record in words.
pub fn words(record: &Record, time: i64) -> MonitorEvent {
    let (kind, cpu, summary, fields) = match record {
        Record::Flow(packet) => packet_words(packet),
        Record::Sock(call) => call_words(call),
    };
    MonitorEvent { time, r#type: kind.to_owned(), cpu, summary, fields: fields.into_iter().collect() }
}

type Words = (&'static str, u32, String, BTreeMap<String, String>);

fn packet_words(packet: &Packet) -> Words {
    let raw = &packet.raw;
    let addresses = if packet.has(flow_flags::HAS_ADDRESSES) {
        let ports = matches!(raw.proto, proto::TCP | proto::UDP | proto::SCTP);
        let side = |address: pleopod_abi::Addr16, port: u16| match address.to_ip() {
            ip if !ports => ip.to_string(),
            ip => std::net::SocketAddr::new(ip, port).to_string(),
        };
        format!("{} -> {} ", side(raw.src, raw.sport.get()), side(raw.dst, raw.dport.get()))
    } else {
        format!("ethertype {:#06x} ", raw.ether_type)
    };
    let protocol = match raw.proto {
        proto::TCP => format!("tcp {}", words::tcp_flags(&flow::tcp_flags(raw.tcp_flags))),
        proto::UDP => "udp".to_owned(),
        proto::SCTP => "sctp".to_owned(),
        proto::ICMP => format!("icmp {}", words::icmpv4(raw.icmp_type.into(), raw.icmp_code.into())),
        proto::ICMPV6 => format!("icmpv6 {}", words::icmpv6(raw.icmp_type.into(), raw.icmp_code.into())),
        other => format!("protocol {other}"),
    };
    let mut fields = BTreeMap::new();
    let mut field = |name: &str, value: String| drop(fields.insert(name.to_owned(), value));
    let (kind, what) = match packet.outcome {
        Outcome::Forwarded(reason) => {
            field("forward_reason", reason.name().to_owned());
            ("trace", format!("-> {}", packet.point.name()))
        }
        Outcome::Dropped(reason) => {
            field("drop_reason", reason.name().to_owned());
            ("drop", format!("xx drop ({}) {}", reason.name(), packet.point.name()))
        }
    };
    field("point", packet.point.name().to_owned());
    field("endpoint", raw.endpoint_id.to_string());
    field("ifindex", raw.ifindex.to_string());
    field("ct", packet.ct.name().to_owned());
    field("direction", packet.direction.name().to_owned());
    field("source_identity", raw.src_identity.to_string());
    field("destination_identity", raw.dst_identity.to_string());
    field("packets", raw.packets.to_string());
    field("length", raw.len.to_string());
    if packet.has(flow_flags::HAS_ADDRESSES) {
        field("source", raw.src.to_string());
        field("destination", raw.dst.to_string());
        field("source_port", raw.sport.get().to_string());
        field("destination_port", raw.dport.get().to_string());
    }
    field("protocol", raw.proto.to_string());
    if let Some(reply) = packet.is_reply() {
        field("reply", reply.to_string());
    }
    let summary = format!(
        "{what} endpoint {} ifindex {} identity {}->{} state {}: {addresses}{protocol} (packets {}, last of {} bytes)",
        raw.endpoint_id,
        raw.ifindex,
        raw.src_identity,
        raw.dst_identity,
        packet.ct.name(),
        raw.packets,
        raw.len
    );
    (kind, raw.header.cpu, summary, fields)
}

fn call_words(call: &Call) -> Words {
    let raw = &call.raw;
    let protocol = match raw.proto {
        proto::TCP => "tcp",
        proto::UDP => "udp",
        _ => "other",
    };
    let peer = std::net::SocketAddr::new(raw.dst.to_ip(), raw.dport.get());
    let verdict = if call.translated { "TRANSLATED" } else { "TRACED" };
    let summary = format!(
        "<> {} {verdict} endpoint {} identity {} pid {} cgroup {} sock {:#x}: {peer} {protocol} service {}",
        call.point.name(),
        raw.endpoint_id,
        raw.src_identity,
        raw.pid,
        raw.cgroup_id,
        raw.socket_cookie,
        raw.service_id
    );
    let fields = [
        ("point", call.point.name().to_owned()),
        ("verdict", verdict.to_owned()),
        ("endpoint", raw.endpoint_id.to_string()),
        ("source_identity", raw.src_identity.to_string()),
        ("pid", raw.pid.to_string()),
        ("cgroup", raw.cgroup_id.to_string()),
        ("socket_cookie", raw.socket_cookie.to_string()),
        ("netns_cookie", raw.netns_cookie.to_string()),
        ("peer", peer.to_string()),
        ("protocol", protocol.to_owned()),
        ("service", raw.service_id.to_string()),
    ];
    ("sock", raw.header.cpu, summary, fields.map(|(name, value)| (name.to_owned(), value)).into())
}
