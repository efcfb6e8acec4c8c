//! Pages and checks of the walks.

use super::page::{WIDTH, fill, fold};
use super::seen::Seen;
use super::{W1_TOPOLOGY, Which};
use crate::topology::Topology;

fn fits(lines: &[String]) -> bool {
    lines.iter().all(|line| line.chars().count() <= WIDTH)
}

#[test]
fn a_line_that_fits_stays_as_it_is() {
    assert_eq!(fold("172.16.0.4/32   k8s:app=netpod  "), ["172.16.0.4/32   k8s:app=netpod"]);
    assert_eq!(fold(""), [""]);
}

#[test]
fn a_long_sentence_breaks_between_words() {
    let parts = fold(&format!("{} last words", "word ".repeat(23).trim_end()));
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[1], "      words");
    assert!(fits(&parts));
}

#[test]
fn brackets_stay_together() {
    let flow = format!("{} to-endpoint FORWARDED (TCP Flags: ACK, PSH)", "word ".repeat(17).trim_end());
    let parts = fold(&flow);
    assert_eq!(parts[1].trim_start(), "(TCP Flags: ACK, PSH)");
    assert!(fits(&parts));
}

#[test]
fn a_table_gives_up_its_widest_gaps() {
    let row = format!("4    Disabled   {}{}172.16.0.4   ready", "x".repeat(60), " ".repeat(60));
    let parts = fold(&row);
    assert_eq!(parts.len(), 1, "{parts:?}");
    assert_eq!(parts[0].chars().count(), WIDTH);
    assert!(
        parts[0].starts_with("4    Disabled   x") && parts[0].ends_with("172.16.0.4   ready"),
        "{parts:?}"
    );
}

#[test]
fn deep_indentation_gives_way_before_anything_breaks() {
    let label = "k8s:io.pleopod.k8s.namespace.labels.kubernetes.io/metadata.name=kube-system";
    let parts = fold(&format!("{}{label}", " ".repeat(60)));
    assert_eq!(parts.len(), 1);
    assert!(fits(&parts) && parts[0].ends_with(label));
}

#[test]
fn one_endless_word_is_cut() {
    let parts = fold(&"x".repeat(300));
    assert!(fits(&parts), "{parts:?}");
    assert_eq!(parts.concat().matches('x').count(), 300);
}

#[test]
fn headings_are_filled() {
    let lines = fill(&"word ".repeat(60));
    assert!(lines.iter().all(|line| line.chars().count() + 2 <= WIDTH));
    assert_eq!(lines.join(" ").split(' ').count(), 60);
}

#[test]
fn checks_say_what_is_missing() {
    let seen = Seen { code: 7, text: "one\ntwo three\n".to_owned() };
    assert_eq!(seen.ended(7), Ok(()));
    assert_eq!(seen.ended(0), Err("exit code 7, not 0".to_owned()));
    assert_eq!(seen.row("two"), ["two", "three"]);
    assert!(seen.says_all(&["one", "four"]).is_err());
    assert!(seen.silent().is_err() && seen.lacks("four").is_ok());
}

#[test]
fn a_walk_fits_the_lab_that_has_its_nodes() {
    let one = Topology::from_yaml(W1_TOPOLOGY, "w1.yaml").expect("the topology of W1");
    assert_eq!(Which::of(&one), Some(Which::W1));
    let built_in = |nodes| Topology::built_in(nodes).expect("the built-in topology");
    assert_eq!(Which::of(&built_in(3)), Some(Which::W4));
    assert_eq!(Which::of(&built_in(4)), Some(Which::W4));
    assert_eq!(Which::of(&built_in(2)), None);
}
