//! Every program is accepted by the verifier with every corner of the configuration, within a budget of instructions.

use crate::loaded;
use pleopod_abi::{
    Addr16, Config, DropReason, ForwardReason, config::config_flags, maps, metrics::counter,
    reason::ObservationPoint,
};
use std::net::Ipv4Addr;

/// Instructions that the verifier may walk, about a quarter above what it walks now in the worst corner. The kernel gives up at a
/// million; older ones walk more than newer ones.
const BUDGET: &[(&str, u32)] = &[
    ("from_pod", 40_000),
    ("to_pod", 19_500),
    ("from_uplink", 23_000),
    ("to_uplink", 60_500),
    ("from_host", 4_700),
    ("to_host", 4_500),
    ("uplink_service", 30_600),
    ("uplink_answer", 21_000),
    ("pod_answer", 10_300),
    ("uplink_onward", 24_200),
    ("sock_connect4", 1_800),
    ("sock_connect6", 4_200),
    ("sock_sendmsg4", 1_800),
    ("sock_sendmsg6", 2_950),
    ("sock_recvmsg4", 800),
    ("sock_recvmsg6", 850),
    ("sock_getpeer4", 1_100),
    ("sock_getpeer6", 1_150),
];

#[test]
fn every_program_loads_with_every_config_corner() {
    let all = [
        config_flags::FLOW_EVENTS,
        config_flags::SOCK_EVENTS,
        config_flags::EVENT_PER_PACKET,
        config_flags::MASQUERADE,
        config_flags::SOCKET_LB,
        config_flags::CONNTRACK,
        config_flags::ANTI_SPOOF,
        config_flags::SERVICE_PACKETS,
    ];
    let everything = all.iter().fold(0, |sum, bit| sum | bit);
    let mut corners = vec![0, everything, Config::STANDARD.flags];
    corners.extend(all);
    corners.extend(all.iter().map(|bit| everything & !bit));
    let mut most = std::collections::BTreeMap::<&str, u32>::new();
    for flags in corners {
        let config = Config {
            flags,
            native4: Addr16::from(Ipv4Addr::new(10, 0, 0, 0)),
            native4_prefixlen: 104,
            ..Config::STANDARD
        };
        let mut ebpf = loaded::object(&config);
        for (name, _) in maps::PROGRAMS {
            let walked = loaded::load(&mut ebpf, name);
            let entry = most.entry(name).or_default();
            *entry = walked.max(*entry);
        }
    }
    let mut unset = loaded::object(&Config::UNSET);
    for (name, _) in maps::PROGRAMS {
        loaded::load(&mut unset, name);
    }
    let mut wrong = Vec::new();
    for (name, limit) in BUDGET {
        let walked = most.remove(name).unwrap_or_else(|| panic!("no program {name}"));
        // A budget far above the need hides the next growth.
        if walked > *limit || walked * 2 < *limit {
            wrong.push(format!("{name}: the verifier walked {walked} instructions, its budget is {limit}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(most.is_empty(), "without a budget: {most:?}");
}

/// A reason that no program can give, or a counter that none counts, is a promise to users that nobody keeps.
#[test]
fn every_reason_can_be_given() {
    let room = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    for dir in [room.join("src"), room.join("../logic/src")] {
        for entry in std::fs::read_dir(&dir).unwrap() {
            source += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
        }
    }
    for reason in DropReason::ALL {
        assert!(source.contains(&format!("DropReason::{reason:?}")), "nobody gives {reason:?}");
    }
    for reason in ForwardReason::ALL {
        assert!(source.contains(&format!("ForwardReason::{reason:?}")), "nobody gives {reason:?}");
    }
    for (_, name) in counter::ALL {
        let constant = name.to_uppercase().replace('-', "_");
        assert!(source.contains(&format!("counter::{constant}")), "nobody counts {name}");
    }
    for point in ObservationPoint::ALL {
        let unused = [ObservationPoint::FromStack];
        assert!(
            unused.contains(point) || source.contains(&format!("ObservationPoint::{point:?}")),
            "nobody sees at {point:?}"
        );
    }
}
