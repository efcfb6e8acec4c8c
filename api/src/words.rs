//! How Hubble words the values of its messages: what goes between the arrow and the end of a line of `observe`.

use crate::flow::{
    self, DropReason, Flow, SocketTranslationPoint, TcpFlags, TraceObservationPoint, layer4::Protocol,
};

#[cfg(test)]
mod tests;

/// `event_type.type` of a dropped packet.
pub const EVENT_DROP: i32 = 1;
/// `event_type.type` of a packet on its way.
pub const EVENT_TRACE: i32 = 4;
/// `event_type.type` of a request or response of an application protocol.
pub const EVENT_L7: i32 = 129;
/// `event_type.type` of a socket call.
pub const EVENT_SOCK: i32 = 7;

/// Names of the event types, as `observe --type` takes them.
pub const EVENT_NAMES: [(&str, i32); 4] =
    [("drop", EVENT_DROP), ("trace", EVENT_TRACE), ("trace-sock", EVENT_SOCK), ("l7", EVENT_L7)];

/// `to-endpoint`, `from-network`, ...
pub fn observation_point(point: TraceObservationPoint) -> &'static str {
    use TraceObservationPoint as P;
    match point {
        P::UnknownPoint => "unknown",
        P::ToProxy => "to-proxy",
        P::ToHost => "to-host",
        P::ToStack => "to-stack",
        P::ToOverlay => "to-overlay",
        P::ToEndpoint => "to-endpoint",
        P::FromEndpoint => "from-endpoint",
        P::FromProxy => "from-proxy",
        P::FromHost => "from-host",
        P::FromStack => "from-stack",
        P::FromOverlay => "from-overlay",
        P::FromNetwork => "from-network",
        P::ToNetwork => "to-network",
        P::FromCrypto => "from-crypto",
        P::ToCrypto => "to-crypto",
    }
}

/// `pre-xlate-fwd`, `post-xlate-rev`, ...
pub fn translation_point(point: SocketTranslationPoint) -> &'static str {
    use SocketTranslationPoint as P;
    match point {
        P::SockXlatePointUnknown => "unknown",
        P::SockXlatePointPreDirectionFwd => "pre-xlate-fwd",
        P::SockXlatePointPostDirectionFwd => "post-xlate-fwd",
        P::SockXlatePointPreDirectionRev => "pre-xlate-rev",
        P::SockXlatePointPostDirectionRev => "post-xlate-rev",
    }
}

/// The reason of a drop in words: `Policy denied`, `Stale or unroutable IP`.
pub fn drop_reason(reason: DropReason) -> String {
    let mut words = String::new();
    for (at, word) in reason.as_str_name().trim_start_matches("DROP_").split('_').enumerate() {
        let acronym = ["IP", "MAC", "CT", "TCP", "L2", "L3", "L4", "SNAT", "NAT", "FIB", "TTL", "DSR", "VNI"]
            .contains(&word)
            || word.starts_with("ICMP")
            || word.starts_with("IPV");
        if at > 0 {
            words.push(' ');
        }
        let lower = word.to_lowercase();
        match lower.chars().next() {
            Some(_) if word == "CLUSTERIP" => words.push_str("ClusterIP"),
            Some(_) if acronym => words.push_str(word),
            Some(first) if at == 0 => {
                words.extend(first.to_uppercase());
                words.push_str(&lower[first.len_utf8()..]);
            }
            _ => words.push_str(&lower),
        }
    }
    words
}

/// Where the flow was seen, or why it was dropped: the word before the verdict.
pub fn event(flow: &Flow) -> String {
    let kind = flow.event_type.as_ref().map_or(0, |event| event.r#type);
    match kind {
        EVENT_DROP => drop_reason(flow.drop_reason_desc()),
        EVENT_SOCK => translation_point(flow.sock_xlate_point()).to_owned(),
        EVENT_TRACE => observation_point(flow.trace_observation_point()).to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// The names of the flags that are set, in Hubble's order: `SYN, ACK`.
pub fn tcp_flags(flags: &TcpFlags) -> String {
    let named = [
        (flags.syn, "SYN"),
        (flags.ack, "ACK"),
        (flags.rst, "RST"),
        (flags.fin, "FIN"),
        (flags.psh, "PSH"),
        (flags.urg, "URG"),
        (flags.ece, "ECE"),
        (flags.cwr, "CWR"),
        (flags.ns, "NS"),
    ];
    named.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

/// The protocol in words: `TCP Flags: SYN`, `UDP`, `ICMPv4 EchoRequest`.
pub fn summary(l4: Option<&flow::Layer4>) -> String {
    match l4.and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(tcp)) => match tcp.flags.as_ref().map(tcp_flags) {
            Some(flags) if !flags.is_empty() => format!("TCP Flags: {flags}"),
            _ => "TCP".to_owned(),
        },
        Some(Protocol::Udp(_)) => "UDP".to_owned(),
        Some(Protocol::Sctp(_)) => "SCTP".to_owned(),
        Some(Protocol::IcmPv4(icmp)) => format!("ICMPv4 {}", icmpv4(icmp.r#type, icmp.code)),
        Some(Protocol::IcmPv6(icmp)) => format!("ICMPv6 {}", icmpv6(icmp.r#type, icmp.code)),
        None => "Unknown".to_owned(),
    }
}

/// Type and code of RFC 792 in words.
pub fn icmpv4(kind: u32, code: u32) -> String {
    let detail = match (kind, code) {
        (3, 0) => "Net",
        (3, 1) => "Host",
        (3, 2) => "Protocol",
        (3, 3) => "Port",
        (3, 4) => "FragmentationNeeded",
        (3, 13) => "CommAdminProhibited",
        (11, 0) => "TTLExceeded",
        (11, 1) => "FragmentReassemblyTimeExceeded",
        _ => "",
    };
    let name = match kind {
        0 => "EchoReply",
        3 => "DestinationUnreachable",
        4 => "SourceQuench",
        5 => "Redirect",
        8 => "EchoRequest",
        9 => "RouterAdvertisement",
        10 => "RouterSolicitation",
        11 => "TimeExceeded",
        12 => "ParameterProblem",
        13 => "TimestampRequest",
        14 => "TimestampReply",
        _ => return format!("{kind}({code})"),
    };
    named(name, detail, kind == 3 || kind == 11, code)
}

/// Type and code of RFC 4443 and RFC 4861 in words.
pub fn icmpv6(kind: u32, code: u32) -> String {
    let detail = match (kind, code) {
        (1, 0) => "NoRouteToDst",
        (1, 1) => "AdminProhibited",
        (1, 3) => "Address",
        (1, 4) => "Port",
        (3, 0) => "HopLimitExceeded",
        (3, 1) => "FragmentReassemblyTimeExceeded",
        _ => "",
    };
    let name = match kind {
        1 => "DestinationUnreachable",
        2 => "PacketTooBig",
        3 => "TimeExceeded",
        4 => "ParameterProblem",
        128 => "EchoRequest",
        129 => "EchoReply",
        133 => "RouterSolicitation",
        134 => "RouterAdvertisement",
        135 => "NeighborSolicitation",
        136 => "NeighborAdvertisement",
        137 => "Redirect",
        _ => return format!("{kind}({code})"),
    };
    named(name, detail, kind == 1 || kind == 3, code)
}

fn named(name: &str, detail: &str, with_code: bool, code: u32) -> String {
    match (with_code, detail) {
        (false, _) => name.to_owned(),
        (true, "") => format!("{name}({code})"),
        (true, detail) => format!("{name}({detail})"),
    }
}

/// A security identity in parentheses: `(ID:39126)`, `(world)`.
pub fn identity(id: u32) -> String {
    let name = match id {
        0 => "unknown",
        1 => "host",
        2 => "world",
        3 => "unmanaged",
        4 => "health",
        5 => "init",
        6 => "remote-node",
        7 => "kube-apiserver",
        8 => "ingress",
        _ => return format!("(ID:{id})"),
    };
    format!("({name})")
}
