//! Every program is accepted by the verifier with every corner of the configuration, within a budget of instructions.

use crate::loaded;
use pleopod_abi::{Addr16, Config, config::config_flags, maps};
use std::net::Ipv4Addr;

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
    eprintln!("{most:#?}");
}
