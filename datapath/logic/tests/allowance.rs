//! The budget of events.

use pleopod_datapath_logic::allowance::{BUCKETS, Bucket, bucket_of, pay};

/// How many of `tries` events in one tick are paid for.
fn told(bucket: &mut Bucket, tick: u32, tries: u32, cost: u32) -> u32 {
    (0..tries).map(|_| u32::from(pay(bucket, tick, cost, 10, 100))).sum()
}

#[test]
fn a_burst_then_so_many_each_tick() {
    let mut bucket = Bucket::default();
    assert_eq!(told(&mut bucket, 1_000_000, 500, 1), 100);
    assert_eq!(told(&mut bucket, 1_000_000, 500, 1), 0);
    assert_eq!(told(&mut bucket, 1_000_001, 500, 1), 10);
    assert_eq!(told(&mut bucket, 1_000_004, 500, 1), 30);
    assert_eq!(told(&mut bucket, 2_000_000, 500, 1), 100, "no more than the burst is saved up");
}

#[test]
fn what_is_dear_leaves_room_for_what_is_cheap() {
    let mut bucket = Bucket::default();
    assert_eq!(told(&mut bucket, 1_000_000, 500, 8), 12);
    assert_eq!(told(&mut bucket, 1_000_000, 500, 1), 4);
}

#[test]
fn the_clock_may_wrap() {
    let mut bucket = Bucket { tick: u32::MAX - 1, tokens: 0 };
    assert_eq!(told(&mut bucket, 1, 500, 1), 30);
}

#[test]
fn neighbours_have_buckets_of_their_own() {
    // 172.16.1.0/27 as the programs see it, in network order on a little-endian machine.
    let used: std::collections::BTreeSet<usize> =
        (0u8..16).map(|host| bucket_of(u32::from_le_bytes([172, 16, 1, host]))).collect();
    assert!(used.len() >= 12, "{used:?}");
    assert!(used.iter().all(|bucket| *bucket < BUCKETS));
}
