//! Checksums, keys, ports, slots, prefixes.

use pleopod_abi::{Addr16, Be16, proto};
use pleopod_datapath_logic::{
    checksum,
    nat::{answer_key, candidate, in_key, out_key},
    route::in_prefix,
    service::pick,
    tuple::Tuple,
};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The checksum as RFC 1071 defines it, over whole words.
fn full(words: &[u16]) -> u16 {
    let mut sum: u32 = words.iter().map(|w| u32::from(*w)).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn address() -> impl Strategy<Value = Addr16> {
    prop_oneof![
        any::<u32>().prop_map(|n| Addr16::from(IpAddr::V4(Ipv4Addr::from(n)))),
        any::<u128>().prop_map(|n| Addr16::from(IpAddr::V6(Ipv6Addr::from(n)))),
    ]
}

fn tuple() -> impl Strategy<Value = Tuple> {
    (address(), address(), any::<u16>(), any::<u16>(), prop::sample::select(vec![1u8, 6, 17, 58])).prop_map(
        |(src, dst, sport, dport, proto)| Tuple {
            src,
            dst,
            sport: Be16::new(sport),
            dport: Be16::new(dport),
            proto,
        },
    )
}

proptest! {
    /// Updating one word gives what summing everything again gives. 0 and 0xffff are the same number in one's complement.
    #[test]
    fn incremental_checksums_are_exact(mut words in prop::collection::vec(any::<u16>(), 2..40), at in any::<prop::sample::Index>(), new in any::<u16>()) {
        let before = Be16::from_raw(full(&words));
        let at = at.index(words.len());
        let old = std::mem::replace(&mut words[at], new);
        let updated = checksum::update16(before, old, new).raw();
        prop_assert_eq!(updated % 0xffff, full(&words) % 0xffff);
    }

    #[test]
    fn address_changes_are_exact(old in address(), new in address(), rest in prop::collection::vec(any::<u16>(), 1..10)) {
        let words = |a: Addr16| -> Vec<u16> { a.octets().chunks(2).map(|c| u16::from_ne_bytes([c[0], c[1]])).chain(rest.iter().copied()).collect() };
        let before = Be16::from_raw(full(&words(old)));
        let updated = checksum::apply(before, checksum::address_difference(old, new)).raw();
        prop_assert_eq!(updated % 0xffff, full(&words(new)) % 0xffff);
    }

    #[test]
    fn a_lower_ttl_keeps_the_header_sum(ttl in 1u8.., proto in any::<u8>(), rest in prop::collection::vec(any::<u16>(), 8)) {
        let words = |ttl: u8| -> Vec<u16> { std::iter::once(u16::from_ne_bytes([ttl, proto])).chain(rest.iter().copied()).collect() };
        let before = Be16::from_raw(full(&words(ttl)));
        let (lower, after) = checksum::decrement_ttl(ttl, proto, before);
        prop_assert_eq!(lower, ttl - 1);
        prop_assert_eq!(after.raw() % 0xffff, full(&words(lower)) % 0xffff);
    }

    /// Both directions find the same entry, from opposite sides.
    #[test]
    fn both_directions_share_a_key(t in tuple()) {
        let (there, a) = t.key();
        let (back, b) = t.reversed().key();
        prop_assert_eq!(there, back);
        if (t.src, t.sport) != (t.dst, t.dport) { prop_assert_ne!(a, b); }
    }

    #[test]
    fn different_connections_have_different_keys(t in tuple(), u in tuple()) {
        if t != u && t.reversed() != u { prop_assert_ne!(t.key().0, u.key().0); }
    }

    /// The answer to a translated packet is looked up under the key that was claimed for it.
    #[test]
    fn answers_find_the_translation(t in tuple(), own in address(), port in 61000u16..) {
        let port = Be16::new(port);
        let icmp = t.proto == proto::ICMP || t.proto == proto::ICMPV6;
        let t = if icmp { Tuple { dport: t.sport, ..t } } else { t };
        let claimed = answer_key(&out_key(&t), own, port);
        let sent = Tuple { src: own, sport: port, dport: if icmp { port } else { t.dport }, ..t };
        prop_assert_eq!(in_key(&sent.reversed()), claimed);
    }

    #[test]
    fn candidates_stay_in_the_range(own in any::<u16>(), random in any::<u32>(), attempt in 0u32..64, a in any::<u16>(), b in any::<u16>()) {
        let port = candidate(Be16::new(own), random, attempt, a, b).get();
        prop_assert!((a.min(b)..=a.max(b)).contains(&port));
        if attempt == 0 && (a..=b).contains(&own) { prop_assert_eq!(port, own); }
    }

    #[test]
    fn a_pick_is_a_slot(random in any::<u32>(), count in 1u32..) {
        prop_assert!(pick(random, count).unwrap() < count);
    }

    #[test]
    fn prefixes_agree_with_arithmetic(addr in any::<u128>(), net in any::<u128>(), same in 0u32..=128, len in 1u32..=128) {
        let mask = |n: u32| if n == 0 { 0 } else { u128::MAX << (128 - n) };
        let addr = (net & mask(same)) | (addr & !mask(same));
        let expected = addr & mask(len) == net & mask(len);
        let (a, n) = (Addr16::from_octets(addr.to_be_bytes()), Addr16::from_octets(net.to_be_bytes()));
        prop_assert_eq!(in_prefix(&a, &n, len), expected);
    }
}

#[test]
fn no_prefix_holds_nothing() {
    assert!(!in_prefix(&Addr16::UNSPECIFIED, &Addr16::UNSPECIFIED, 0));
}

#[test]
fn nothing_is_picked_from_nothing() {
    assert_eq!(pick(7, 0), None);
}

/// Equal steps through the random numbers fill the slots equally.
#[test]
fn picks_are_even() {
    let mut counts = [0u32; 7];
    for i in 0..7_000u32 {
        counts[pick(i.wrapping_mul(u32::MAX / 7_000), 7).unwrap() as usize] += 1;
    }
    assert!(counts.iter().all(|c| (999..=1001).contains(c)), "{counts:?}");
}

/// A busy range is searched, not given up after its first port.
#[test]
fn attempts_differ() {
    let tried: std::collections::BTreeSet<_> =
        (0..16).map(|n| candidate(Be16::new(80), 0x1234_5678, n, 61000, 65535)).collect();
    assert_eq!(tried.len(), 16);
}
