//! A map that is pinned outlives the agent, and the next agent's programs read its rows as they are. So a shape belongs to one
//! number of [`LAYOUT`] for ever: `layouts.txt` says which, and a map that differs without a new number fails here.

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};

use pleopod_abi::maps::{self, MapSpec};
use pleopod_abi::{ct::*, endpoint::*, frag::*, ipcache::*, lb::*, metrics::*, nat::*, node::*, route::*, *};

/// One line a map and number: `LAYOUT MAP FINGERPRINT`. Lines are added, never changed.
const LAYOUTS: &str = include_str!("layouts.txt");

macro_rules! record {
    ($name:ident { $($field:ident)* }) => {{
        let mut text = format!("{} {}", stringify!($name), size_of::<$name>());
        $( write!(text, " {}@{}", stringify!($field), offset_of!($name, $field)).expect("memory"); )*
        text
    }};
}

/// Every map whose rows mean something to who did not write them, with its key and value.
fn shapes() -> Vec<(&'static MapSpec, String)> {
    let number = || "u32".to_owned();
    let ipcache = record!(IpcacheValue { identity flags tunnel_endpoint });
    let rows = [
        (
            &maps::ENDPOINTS,
            record!(EndpointKey { addr }),
            record!(EndpointValue { ifindex identity id flags mac node_mac }),
        ),
        (&maps::NETNS, record!(NetnsKey { cookie }), record!(NetnsValue { identity id flags addr4 addr6 })),
        (&maps::IPCACHE, record!(IpcacheKey { addr }), ipcache.clone()),
        (&maps::IPC_LPM, record!(IpcacheLpmKey { prefixlen addr }), ipcache),
        (
            &maps::LB_FE,
            record!(LbFrontendKey { addr port proto }),
            record!(LbFrontendValue { service_id inside outside affinity_timeout flags balancing }),
        ),
        (&maps::LB_TABLE, number(), number()),
        (&maps::LB_BE, number(), record!(LbBackend { addr port proto flags backend_id })),
        (&maps::LB_ADDR, number(), record!(LbAddress { addr port proto })),
        (&maps::LB_TURN, number(), "u64".to_owned()),
        (&maps::LB_SRC, record!(LbSourceKey { prefixlen source }), number()),
        (
            &maps::LB_AFF,
            record!(LbAffinityKey { client service_id }),
            record!(LbAffinityValue { backend_id place last }),
        ),
        (
            &maps::LB_REV,
            record!(LbReverseKey { cookie addr port proto }),
            record!(LbReverseValue { addr port service_id }),
        ),
        (
            &maps::CT,
            record!(CtKey { a b a_port b_port proto zone }),
            record!(CtValue { expires src_identity last_report unreported seen state flags service_id backend }),
        ),
        (
            &maps::NAT,
            record!(NatKey { src dst sport dport proto dir }),
            record!(NatValue { addr port flags expires }),
        ),
        (
            &maps::FRAG,
            record!(FragKey { src dst id proto }),
            record!(FragValue { sport dport expires proto _pad }),
        ),
        (&maps::METRICS, number(), record!(MetricValue { packets bytes })),
        (&maps::NODE, number(), record!(NodeValue { uplink_ifindex uplink_mtu addr4 addr6 })),
        (
            &maps::ROUTES,
            number(),
            record!(RouteValue { src dst sport dport proto tos family flags next_hop tick ifindex }),
        ),
    ];
    let shape = |(spec, key, value): (&'static MapSpec, String, String)| {
        (spec, format!("{:?} flags {} key {key} value {value}", spec.kind, spec.flags))
    };
    rows.into_iter().map(shape).collect()
}

/// FNV-1a.
fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn lines() -> impl Iterator<Item = (u32, &'static str, &'static str)> {
    LAYOUTS.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [layout, map, fingerprint] = words[..] else { panic!("layouts.txt: {line:?}") };
        (layout.parse().expect("a number"), map, fingerprint)
    })
}

#[test]
fn a_map_of_another_shape_has_another_layout() {
    let mut wrong = String::new();
    for (spec, shape) in shapes() {
        let now = fingerprint(&shape);
        match lines().find(|(layout, map, _)| (*layout, *map) == (LAYOUT, spec.name)) {
            Some((_, _, known)) if known == now => {}
            Some(_) => writeln!(
                wrong,
                "{}: another shape under the same LAYOUT {LAYOUT}. Raise LAYOUT and add a line for each map.",
                spec.name
            )
            .expect("memory"),
            None => writeln!(wrong, "no line of this map and LAYOUT, add: {LAYOUT} {} {now}", spec.name)
                .expect("memory"),
        }
    }
    assert!(wrong.is_empty(), "abi/tests/layouts.txt:\n{wrong}");
    assert!(
        lines().all(|(layout, ..)| layout <= LAYOUT),
        "LAYOUT never goes back: pins of {LAYOUT} are of an older shape"
    );
}

#[test]
fn no_map_is_forgotten() {
    let known = shapes();
    for spec in maps::ALL {
        // Work space and events: nobody reads what somebody else left there.
        let left_out = [maps::SCRATCH.name, maps::CALLS.name, maps::EVENTS.name].contains(&spec.name);
        assert_eq!(known.iter().any(|(s, _)| s.name == spec.name), !left_out, "{}", spec.name);
    }
}
