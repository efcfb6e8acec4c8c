//! The checks, on this checkout.

use super::{licences, rules};
use crate::place::Place;

#[test]
fn this_checkout_keeps_the_rules_of_the_house() {
    let found = rules(&Place::find().expect("a checkout")).expect("the rules can be checked");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_dependency_has_a_licence_we_accept() {
    let found = licences(&Place::find().expect("a checkout")).expect("the licences can be checked");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
