//! The plain table: each backend as often as its weight says, spread out.

use super::Member;

/// The longest table; weights that would need more are made coarser.
pub const LONGEST: usize = 4096;

/// The table, as positions in `members`. All weights alike: each backend once, sorted. Otherwise as often as its weight,
/// divided by what all weights have in common, with as much of the others in between as there is, so that taking one
/// place after the other is a fair turn at any moment. Weight 0 has no place.
pub fn table(members: &[Member]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..members.len()).filter(|i| members[*i].1 > 0).collect();
    order.sort_unstable_by_key(|i| members[*i].0);
    let divisor = order.iter().map(|i| u32::from(members[*i].1)).fold(0, gcd).max(1);
    let weight = |i: &usize| i64::from(u32::from(members[*i].1) / divisor);
    let mut weights: Vec<i64> = order.iter().map(weight).collect();
    let sum: i64 = weights.iter().sum();
    let room = i64::try_from(LONGEST.max(order.len())).unwrap_or(i64::MAX);
    if sum > room {
        weights.iter_mut().for_each(|w| *w = (*w * (room - order.len() as i64) / sum).max(1));
    }
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0; weights.len()];
    let mut table = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
    for _ in 0..total {
        if total == weights.len() as i64 {
            break;
        }
        // Each gains its weight; who has most takes the place and pays what all gained together.
        credit.iter_mut().zip(&weights).for_each(|(c, w)| *c += w);
        let richest = (0..credit.len()).rev().max_by_key(|i| credit[*i]).unwrap_or_default();
        credit[richest] -= total;
        table.push(u32::try_from(order[richest]).unwrap_or(u32::MAX));
    }
    if table.is_empty() {
        table = order.iter().map(|i| u32::try_from(*i).unwrap_or(u32::MAX)).collect();
    }
    table
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use pleopod_model::intent::Protocol;

    use super::*;

    fn members(weights: &[u16]) -> Vec<Member> {
        let key = |n: usize| (SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80)), Protocol::Tcp);
        weights.iter().enumerate().map(|(n, w)| (key(n), *w)).collect()
    }

    #[test]
    fn each_once_or_as_often_as_it_weighs_and_spread_out() {
        assert_eq!(table(&[]), [0; 0]);
        assert_eq!(table(&members(&[1, 1, 1])), [0, 1, 2]);
        assert_eq!(table(&members(&[7, 7])), [0, 1]);
        assert_eq!(table(&members(&[4, 0, 2])), [0, 2, 0]);
        assert_eq!(table(&members(&[5, 1, 1])), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(table(&members(&[0, 0])), [0; 0]);
    }

    #[test]
    fn it_never_is_longer_than_it_may_be_and_nobody_is_forgotten() {
        let weights: Vec<u16> = (0..1000).map(|n| 1 + n % 256).collect();
        let all = table(&members(&weights));
        assert!(all.len() <= LONGEST, "{}", all.len());
        assert!((0..1000).all(|n| all.contains(&n)));
        assert_eq!(table(&members(&[1; 5000])).len(), 5000);
    }
}
