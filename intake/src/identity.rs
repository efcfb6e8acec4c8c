//! From a set of labels to the numbers it may get.
//!
//! The first candidate is a hash of the labels, so every node asks for the same number; when another set has it, the
//! next number is tried, and so on round the range. Creating the object named by the number is what claims it.

use pleopod_model::{IdentityId, Labels};

const COUNT: u32 = IdentityId::LAST_CLUSTER - IdentityId::FIRST_CLUSTER + 1;

/// Hash of a label set: 64-bit FNV-1a over the sorted labels, each ended by a newline (which no label holds), then
/// mixed so that sets that differ little spread over the range.
pub fn hash(labels: &Labels) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for label in labels.to_strings() {
        for byte in label.bytes().chain([b'\n']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// The hash as the value of the label `pleopod.io/labels-hash`.
pub fn hash_text(labels: &Labels) -> String {
    format!("{:016x}", hash(labels))
}

/// Every number, in the order in which this label set tries them.
pub fn candidates(labels: &Labels) -> impl Iterator<Item = IdentityId> + use<> {
    let start = (hash(labels) % u64::from(COUNT)) as u32;
    (0..COUNT).map(move |i| IdentityId(IdentityId::FIRST_CLUSTER + (start + i) % COUNT))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn labels(text: &str) -> Labels {
        Labels::from(vec![text.to_owned()])
    }

    #[test]
    fn every_number_is_tried_once_and_only_those_for_label_sets() {
        let all: Vec<u32> = candidates(&labels("k8s:app=web")).map(|id| id.0).collect();
        let set: BTreeSet<u32> = all.iter().copied().collect();
        assert_eq!((all.len(), set.len()), (65_280, 65_280));
        assert_eq!((set.first(), set.last()), (Some(&256), Some(&65_535)));
    }

    /// The numbers are what all nodes, old and new, agree on; this one must never change.
    #[test]
    fn the_first_candidate_is_for_ever() {
        let of = |text: &str| candidates(&labels(text)).next().map(|id| id.0);
        assert_eq!((of("k8s:app=web"), hash_text(&labels("k8s:app=web"))), (GOLDEN.0, GOLDEN.1.to_owned()));
    }

    const GOLDEN: (Option<u32>, &str) = (Some(16_931), "bd1408b032dea523");

    #[test]
    fn alike_sets_spread() {
        let firsts: BTreeSet<u32> = (0..200)
            .filter_map(|n| candidates(&labels(&format!("k8s:app=web{n}"))).next())
            .map(|id| id.0)
            .collect();
        assert!(firsts.len() > 195, "{} of 200", firsts.len());
    }
}
