//! Holds every offset and size to a golden file. `pins.rs` says when a change means a new `LAYOUT` number.

use pleopod_abi::{
    config::*, ct::*, endpoint::*, event::*, frag::*, ipcache::*, lb::*, metrics::*, nat::*, node::*,
    route::*, *,
};
use std::{
    fmt::Write as _,
    mem::{align_of, offset_of, size_of},
};

macro_rules! layout {
    ($out:ident, $($name:ident { $($field:ident)* })*) => {$(
        writeln!($out, "{} size {} align {}", stringify!($name), size_of::<$name>(), align_of::<$name>()).unwrap();
        $( writeln!($out, "  {:>4} {}", offset_of!($name, $field), stringify!($field)).unwrap(); )*
    )*};
}

#[test]
fn records_keep_their_layout() {
    let mut out = String::new();
    writeln!(out, "LAYOUT {LAYOUT} EVENT_VERSION {EVENT_VERSION} MAGIC {MAGIC:#x}").unwrap();
    writeln!(out, "Addr16 size {} align {}", size_of::<Addr16>(), align_of::<Addr16>()).unwrap();
    writeln!(out, "Be16 size {} align {}", size_of::<Be16>(), align_of::<Be16>()).unwrap();
    layout!(out,
        EndpointKey { addr }
        EndpointValue { ifindex identity id flags mac node_mac }
        NetnsKey { cookie }
        NetnsValue { identity id flags addr4 addr6 }
        IpcacheKey { addr }
        IpcacheLpmKey { prefixlen addr }
        IpcacheValue { identity flags tunnel_endpoint }
        LbFrontendKey { addr port proto _pad }
        LbRegion { at len }
        LbFrontendValue { service_id inside outside affinity_timeout flags balancing _pad }
        LbBackend { addr port proto flags backend_id }
        LbAddress { addr port proto _pad }
        LbSourceKey { prefixlen source }
        LbSource { service_id addr }
        LbAffinityKey { client service_id }
        LbAffinityValue { backend_id place last }
        LbReverseKey { cookie addr port proto _pad }
        LbReverseValue { addr port _pad service_id }
        CtKey { a b a_port b_port proto zone _pad }
        CtValue { expires src_identity last_report unreported seen state flags service_id backend }
        FragKey { src dst id proto _pad }
        FragValue { sport dport expires proto _pad }
        NatKey { src dst sport dport proto dir _pad }
        NatValue { addr port flags expires }
        NodeValue { uplink_ifindex uplink_mtu addr4 addr6 }
        RouteValue { src dst sport dport proto tos family flags next_hop tick ifindex }
        MetricValue { packets bytes }
        EventHeader { kind version len cpu time_ns }
        FlowEvent { header point verdict reason ct direction proto tcp_flags icmp_type icmp_code _pad flags src_identity
            dst_identity endpoint_id ether_type ifindex packets len src dst sport dport src_mac dst_mac _pad2 }
        SockEvent { header socket_cookie netns_cookie cgroup_id point verdict proto _pad service_id src_identity
            endpoint_id sport src dst dport _pad2 pid }
        Config { magic layout flags host_ifindex net_ifindex event_interval event_rate event_burst calls ct
            nat_port_min nat_port_max native4_prefixlen native6_prefixlen native4 native6 router4 router6 }
        CtTimeouts { tcp_syn tcp_established tcp_close unreplied replied icmp fragment }
    );
    insta::assert_snapshot!("layout", out);
}

#[test]
fn maps_keep_their_shape() {
    let mut out = String::new();
    for m in maps::ALL {
        writeln!(
            out,
            "{:<15} {:<12} key {:>2} value {:>2} max {:>7} flags {}",
            m.name,
            format!("{:?}", m.kind),
            m.key_size,
            m.value_size,
            m.max_entries,
            m.flags
        )
        .unwrap();
        assert!(m.name.len() <= 15, "{} is too long for the kernel", m.name);
    }
    for (name, kind) in maps::PROGRAMS {
        writeln!(out, "{name} {kind:?}").unwrap();
    }
    insta::assert_snapshot!("maps", out);
}

#[test]
fn reasons_keep_their_numbers() {
    let mut out = String::new();
    let mut all: Vec<(u8, &str, &str)> = Vec::new();
    all.extend(ForwardReason::ALL.iter().map(|r| (*r as u8, "forward", r.name())));
    all.extend(counter::ALL.iter().map(|(n, name)| (*n, "counter", *name)));
    all.extend(DropReason::ALL.iter().map(|r| (*r as u8, "drop", r.name())));
    assert!(all.is_sorted_by(|x, y| x.0 < y.0), "the number spaces overlap");
    for (n, kind, name) in all {
        writeln!(out, "{n:>3} {kind:<7} {name}").unwrap();
    }
    insta::assert_snapshot!("reasons", out);
}

#[test]
fn a_connection_fits_its_budget() {
    assert!(size_of::<CtValue>() <= 32);
    assert_eq!(size_of::<CtKey>(), 40);
}
