//! A history of takes and gives against a plain list of places.

use proptest::prelude::*;

use super::*;

const SIZE: u32 = 64;

#[test]
fn small_ones_fill_small_holes() {
    let mut regions = Regions::new(100);
    let [a, b, c] = [3, 2, 3].map(|n| regions.take(n).expect("room"));
    assert_eq!([a, b, c], [0, 3, 5]);
    regions.give(b, 2).expect("taken");
    assert_eq!(regions.take(2), Some(3));
    assert_eq!((regions.left(), regions.longest()), (92, 92));
    assert_eq!(regions.take(93), None);
    assert_eq!(regions.take(0), Some(0));
}

#[test]
fn what_is_not_so_is_refused_and_changes_nothing() {
    let mut regions = Regions::new(100);
    regions.claim(10, 10).expect("free");
    let before = regions.clone();
    for (at, length) in [(19, 1), (5, 6), (0, 100), (90, 11), (u32::MAX, 2)] {
        assert_eq!(regions.claim(at, length), Err(RegionError::Taken { at, length }));
    }
    for (at, length) in [(9, 1), (9, 2), (15, 6), (95, 10), (u32::MAX, 2)] {
        assert_eq!(regions.give(at, length), Err(RegionError::NotTaken { at, length }));
    }
    assert_eq!(regions, before);
    regions.give(12, 3).expect("a part may go alone");
    assert_eq!(regions.left(), 93);
}

#[derive(Clone, Debug)]
enum Step {
    Take(u32),
    Give(usize),
    Restart,
}

proptest! {
    /// Regions never overlap, nothing leaks, what is free is found, and claiming what is taken gives the same state.
    #[test]
    fn no_two_have_one_place(steps in prop::collection::vec(
        prop_oneof![
            5 => (0u32..12).prop_map(Step::Take),
            4 => (0usize..32).prop_map(Step::Give),
            1 => Just(Step::Restart),
        ],
        0..120,
    )) {
        let mut regions = Regions::new(SIZE);
        let mut taken: Vec<(u32, u32)> = Vec::new();
        for step in steps {
            let places = |taken: &[(u32, u32)]| {
                let mut places = [false; SIZE as usize];
                for at in taken.iter().flat_map(|(at, length)| *at..at + length) {
                    assert!(!std::mem::replace(&mut places[at as usize], true), "{at} is taken twice");
                }
                places
            };
            match step {
                Step::Take(length) => match regions.take(length) {
                    Some(at) => {
                        prop_assert!(at + length <= SIZE);
                        taken.push((at, length));
                    }
                    None => {
                        let free = places(&taken);
                        let longest = free.split(|p| *p).map(<[bool]>::len).max().unwrap_or_default();
                        prop_assert!(longest < length as usize, "there was room for {}", length);
                    }
                },
                Step::Give(n) if !taken.is_empty() => {
                    let (at, length) = taken.swap_remove(n % taken.len());
                    prop_assert_eq!(regions.give(at, length), Ok(()));
                }
                Step::Give(_) => {}
                Step::Restart => {
                    let mut again = Regions::new(SIZE);
                    for (at, length) in taken.iter().rev() {
                        prop_assert_eq!(again.claim(*at, *length), Ok(()));
                    }
                    prop_assert_eq!(&again, &regions);
                }
            }
            let free = places(&taken).iter().filter(|p| !**p).count();
            prop_assert_eq!(regions.left() as usize, free);
        }
    }
}
