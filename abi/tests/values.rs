//! Conversions that both sides rely on.

use pleopod_abi::{Addr16, Be16, Config, ipcache::IpcacheLpmKey, metrics::*, time};
use std::net::IpAddr;
use zerocopy::IntoBytes as _;

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

#[test]
fn addresses_stand_in_network_order() {
    let a = Addr16::from(ip("10.1.2.3"));
    assert_eq!(a.as_bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
    assert!(a.is_v4());
    assert_eq!(a.to_ip(), ip("10.1.2.3"));
    assert_eq!(a, Addr16::from(ip("::ffff:10.1.2.3")));
    let b = Addr16::from(ip("fd00::1"));
    assert_eq!(b.as_bytes(), b.octets());
    assert!(!b.is_v4());
    assert_eq!(b.to_ip(), ip("fd00::1"));
    assert!(!Addr16::UNSPECIFIED.is_v4());
    assert_eq!(Addr16::from_octets(b.octets()), b);
}

#[test]
fn ports_stand_in_network_order() {
    assert_eq!(Be16::new(80).as_bytes(), [0, 80]);
    assert_eq!(Be16::from_wire([0x1f, 0x90]).get(), 8080);
}

#[test]
fn prefixes_are_masked_and_counted_in_128_bits() {
    let k = IpcacheLpmKey::new(ip("10.1.2.3").into(), 16).unwrap();
    assert_eq!((k.prefixlen, k.addr.to_ip()), (112, ip("10.1.0.0")));
    let world = IpcacheLpmKey::new(ip("0.0.0.0").into(), 0).unwrap();
    assert_eq!(world.prefixlen, 96);
    let world6 = IpcacheLpmKey::new(ip("2001:db8::1").into(), 0).unwrap();
    assert_eq!((world6.prefixlen, world6.addr), (0, Addr16::UNSPECIFIED));
    assert!(IpcacheLpmKey::new(ip("10.0.0.0").into(), 33).is_none());
    assert!(IpcacheLpmKey::new(ip("::").into(), 129).is_none());
}

#[test]
fn metric_indexes_are_reversible() {
    for reason in 0..=255 {
        for d in [Direction::Unknown, Direction::Ingress, Direction::Egress] {
            assert_eq!(metric_of_index(metric_index(reason, d)), Some((reason, d)));
        }
    }
    assert_eq!(metric_of_index(METRICS_LEN), None);
    assert_eq!(metric_of_index(3), None);
}

#[test]
fn times_round_up_and_survive_a_wrap() {
    assert_eq!(time::millis_to_ticks(5000), 4769);
    assert_eq!(time::secs_to_beats(1), 1);
    assert_eq!(time::ticks_since(3, u32::MAX - 1), 5);
    assert!(time::beat_to_ns(time::beats(5_000_000_000)) <= 5_000_000_000);
}

#[test]
fn an_unset_config_is_recognisable() {
    assert_eq!(Config::UNSET.magic, 0);
    assert_eq!(Config::default().layout, pleopod_abi::LAYOUT);
}
