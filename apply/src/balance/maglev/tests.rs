//! Shares, disruption, agreement.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use pleopod_model::intent::Protocol;
use proptest::prelude::*;

use super::*;
use crate::encode::service::BackendKey;

fn key(n: usize) -> BackendKey {
    (SocketAddr::from(([172, 16, (n >> 8) as u8, n as u8], 8080)), Protocol::Tcp)
}

fn members(count: usize) -> Vec<Member> {
    (0..count).map(|n| (key(n), 1)).collect()
}

/// The table by backend instead of by position.
fn choices(members: &[Member], size: u32) -> Vec<BackendKey> {
    table(members, size).into_iter().map(|i| members[i as usize].0).collect()
}

fn places(table: &[u32], member: usize) -> usize {
    table.iter().filter(|i| **i as usize == member).count()
}

/// Places of others that change hands when one of `count` goes, at worst, in parts of a thousand.
fn disruption(count: usize, size: u32) -> usize {
    let all = members(count);
    let before = choices(&all, size);
    let moved = |gone: usize| {
        let left: Vec<Member> = all.iter().filter(|m| m.0 != key(gone)).copied().collect();
        let after = choices(&left, size);
        before.iter().zip(&after).filter(|(b, a)| **b != key(gone) && b != a).count()
    };
    (0..count).step_by(7).map(moved).max().unwrap_or_default() * 1000 / size as usize
}

#[test]
fn sizes_are_prime() {
    assert_eq!(
        [0, 251, 252, 1000, 1021, 16_381, 131_071, u32::MAX].map(size),
        [251, 251, 257, 1009, 1021, 16_381, 131_071, 131_071]
    );
}

#[test]
fn every_place_is_taken_and_shares_differ_by_one_place() {
    for (count, size) in [(1, 251), (3, 1021), (100, 1021), (250, 251), (300, 251)] {
        let table = table(&members(count), size);
        let shares: Vec<usize> = (0..count).map(|n| places(&table, n)).collect();
        assert_eq!(shares.iter().sum::<usize>(), size as usize);
        let (least, most) = (shares.iter().min().expect("some"), shares.iter().max().expect("some"));
        assert!(most - least <= 1, "{count} on {size}: {least} to {most}");
    }
    assert!(table(&[], 251).is_empty());
    assert!(table(&[(key(1), 0)], 251).is_empty());
}

#[test]
fn weights_are_shares() {
    let all = [(key(0), 1), (key(1), 3), (key(2), 0), (key(3), 4)];
    let table = table(&all, 1021);
    let shares: Vec<usize> = (0..4).map(|n| places(&table, n)).collect();
    for (share, weight) in shares.iter().zip([1, 3, 0, 4]) {
        assert!(share.abs_diff(1021 * weight / 8) <= 2, "{shares:?}");
    }
}

#[test]
fn few_others_move_when_one_goes() {
    let moved: Vec<usize> = [1021, 4093, 10_007, 16_381, 65_521].map(|size| disruption(100, size)).to_vec();
    assert_eq!(moved, [50, 29, 18, 14, 6], "as the documentation says, and under 1 % on the largest");
    assert_eq!(disruption(10, 1021), 24);
}

proptest! {
    /// The order in which backends are given says nothing; nor do those of weight 0.
    #[test]
    fn every_node_makes_the_same_table(
        chosen in prop::collection::btree_map(0usize..1000, 0u16..5, 1..12),
        turn in 0usize..12,
    ) {
        let all: Vec<Member> = chosen.iter().map(|(n, w)| (key(*n), *w)).collect();
        let mut other: Vec<Member> = all.iter().filter(|m| m.1 > 0).copied().collect();
        let turn = turn % other.len().max(1);
        other.rotate_left(turn);
        let table = choices(&all, 251);
        prop_assert_eq!(&table, &choices(&other, 251));
        let there: BTreeSet<BackendKey> = table.into_iter().collect();
        prop_assert_eq!(there, other.iter().map(|m| m.0).collect::<BTreeSet<_>>());
    }
}
