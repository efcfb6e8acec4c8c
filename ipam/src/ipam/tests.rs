use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::JournalError;

const SECOND: u64 = 1_000_000_000;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|t| t.parse().expect("a CIDR")).collect()
}

fn ipam(cidrs: &[&str]) -> Ipam {
    Ipam::new(Config::default(), &nets(cidrs))
}

fn att(n: u32) -> Attachment {
    Attachment::new(format!("c{n}"), "eth0")
}

fn pod(n: u32) -> ObjectName {
    ObjectName::new("default", format!("pod{n}"))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * SECOND)
}

#[test]
fn network_and_broadcast_are_never_given() {
    let mut ipam = ipam(&["10.0.0.0/30"]);
    let a = ipam.allocate(Owner::Router, Family::V4, at(0)).expect("first");
    let b = ipam.allocate(Owner::Health, Family::V4, at(0)).expect("second");
    assert_eq!([a.to_string(), b.to_string()], ["10.0.0.1", "10.0.0.2"]);
    let error = ipam.allocate(Owner::Health, Family::V4, at(0)).expect_err("full");
    assert_eq!(
        error.to_string(),
        "no free IPv4 address in 10.0.0.0/30: 2 of 2 in use, 0 freed less than 30 s ago"
    );
    let error =
        ipam.allocate_specific(Owner::Health, "10.0.0.3".parse().expect("ip")).expect_err("broadcast");
    assert!(matches!(error, Error::Reserved { .. }), "{error}");
}

#[test]
fn an_address_rests_before_it_is_given_again_and_the_oldest_comes_first() {
    let mut ipam = ipam(&["10.0.0.0/29"]);
    let mut leases = Vec::new();
    for n in 0..6 {
        leases.push(ipam.lease(&att(n), pod(n), "", at(0)).expect("lease").addresses[0]);
    }
    ipam.end_lease(&att(3), at(10));
    ipam.end_lease(&att(1), at(20));
    let error = ipam.lease(&att(9), pod(9), "", at(39)).expect_err("both rest");
    assert_eq!(
        error.to_string(),
        "no free IPv4 address in 10.0.0.0/29: 4 of 6 in use, 2 freed less than 30 s ago; the next is free in 1.0 s"
    );
    assert_eq!(ipam.ids.iter().count(), 4, "a failed lease keeps nothing");
    assert_eq!(ipam.lease(&att(9), pod(9), "", at(60)).expect("rested").addresses, [leases[3]]);
    assert_eq!(ipam.lease(&att(8), pod(8), "", at(60)).expect("rested").addresses, [leases[1]]);
}

#[test]
fn what_was_freed_before_a_boot_rests_from_now_on() {
    let mut ipam = ipam(&["10.0.0.0/30"]);
    for n in 0..2 {
        ipam.lease(&att(n), pod(n), "", at(1_000_000)).expect("lease");
    }
    ipam.end_lease(&att(0), at(1_000_000));
    // The clock begins anew. Versions before this one noted the time of day, which is as far in the future.
    let cidrs = nets(&["10.0.0.0/30"]);
    let mut ipam = Ipam::restore(&ipam.journal(), Config::default(), &cidrs).expect("restores");
    let error = ipam.lease(&att(5), pod(5), "", at(10)).expect_err("not before its time");
    assert!(error.to_string().ends_with("the next is free in 30.0 s"), "{error}");
    assert!(ipam.lease(&att(5), pod(5), "", at(39)).is_err());
    assert!(ipam.lease(&att(5), pod(5), "", at(40)).is_ok());
}

#[test]
fn the_time_of_day_decides_nothing() {
    let mut ipam = ipam(&["10.0.0.0/24"]);
    // The clock was set back between the two.
    ipam.lease(&att(1), pod(1), "", at(10)).expect("lease").created_at = 2_000_000_000 * SECOND;
    ipam.lease(&att(2), pod(1), "", at(20)).expect("lease").created_at = 1_000_000_000 * SECOND;
    let back = Ipam::restore(&ipam.journal(), Config::default(), &nets(&["10.0.0.0/24"])).expect("restores");
    let newest = back.leases().max_by_key(|lease| lease.since).expect("two leases");
    assert_eq!((&newest.attachment, newest.created_at), (&att(2), 1_000_000_000 * SECOND));
    // A journal from before leases had `since` is read all the same.
    let mut older = serde_json::to_value(newest).expect("JSON");
    older.as_object_mut().expect("fields").remove("since").expect("written");
    assert_eq!(serde_json::from_value::<Lease>(older).expect("a lease").since, at(0));
}

#[test]
fn both_families_come_from_their_own_cidr() {
    let mut ipam = ipam(&["10.0.0.0/24", "fd00::/64"]);
    let lease = ipam.lease(&att(1), pod(1), "u", at(0)).expect("lease");
    let texts: Vec<String> = lease.addresses.iter().map(IpAddr::to_string).collect();
    assert_eq!(texts, ["10.0.0.1", "fd00::1"]);
    assert_eq!(ipam.lease(&att(1), pod(1), "u", at(5)).expect("again").addresses.len(), 2);
    assert_eq!(ipam.leases().count(), 1);
}

#[test]
fn a_changed_cidr_leaves_what_was_given() {
    let mut ipam = ipam(&["10.0.0.0/24"]);
    let old = ipam.lease(&att(1), pod(1), "", at(0)).expect("lease").addresses.clone();
    ipam.set_cidrs(&nets(&["10.9.0.0/24"]));
    assert_eq!(ipam.lease(&att(1), pod(1), "", at(1)).expect("same").addresses, old);
    let new = ipam.lease(&att(2), pod(2), "", at(1)).expect("new").addresses[0];
    assert_eq!(new.to_string(), "10.9.0.1");
    let back = Ipam::restore(&ipam.journal(), Config::default(), &nets(&["10.9.0.0/24"])).expect("restores");
    assert_eq!(back.get(&att(1)).expect("kept").addresses, old);
    ipam.end_lease(&att(1), at(2));
    ipam.set_cidrs(&nets(&["10.0.0.0/24"]));
    assert!(!ipam.used.contains_key(&old[0]));
}

#[test]
fn router_and_health_keep_their_addresses() {
    let cidrs = nets(&["172.16.0.0/24"]);
    let mut first = Ipam::new(Config::default(), &cidrs);
    let wish: IpAddr = "172.16.0.12".parse().expect("ip");
    assert_eq!(first.node_addresses(&Owner::Router, &[wish], at(0)), Ok(vec![wish]));
    let health = first.node_addresses(&Owner::Health, &[wish], at(0)).expect("another");
    assert_ne!(health, [wish]);
    let ids = (first.node_endpoint_id(&Owner::Router), first.node_endpoint_id(&Owner::Health));
    let mut second = Ipam::restore(&first.journal(), Config::default(), &cidrs).expect("restores");
    assert_eq!(second.node_addresses(&Owner::Router, &[], at(9)), Ok(vec![wish]));
    assert_eq!(second.node_addresses(&Owner::Health, &[], at(9)), Ok(health));
    assert_eq!((second.node_endpoint_id(&Owner::Router), second.node_endpoint_id(&Owner::Health)), ids);
}

#[test]
fn the_nodes_own_addresses_move_to_a_new_cidr_once_no_pod_needs_them() {
    let mut ipam = ipam(&["10.0.0.0/24"]);
    let old = ipam.node_addresses(&Owner::Router, &[], at(0)).expect("an address");
    let id = ipam.node_endpoint_id(&Owner::Router).expect("a number");
    ipam.lease(&att(1), pod(1), "", at(0)).expect("lease");
    assert!(!ipam.outside(&old));
    ipam.set_cidrs(&nets(&["10.9.0.0/24"]));
    assert!(ipam.outside(&old));
    assert_eq!(ipam.node_addresses(&Owner::Router, &old, at(1)), Ok(old.clone()), "a pod sends to it");
    ipam.end_lease(&att(1), at(2));
    let new = ipam.node_addresses(&Owner::Router, &old, at(3)).expect("another");
    assert_eq!(new, ["10.9.0.1".parse::<IpAddr>().expect("an address")]);
    assert!(!ipam.used.contains_key(&old[0]));
    assert_eq!(ipam.node_endpoint_id(&Owner::Router), Ok(id));
}

#[test]
fn the_journal_brings_back_all_and_marks_it_restored() {
    let cidrs = nets(&["10.0.0.0/24"]);
    let mut ipam = Ipam::new(Config::default(), &cidrs);
    for n in 0..5 {
        let lease = ipam.lease(&att(n), pod(n), "uid", at(1)).expect("lease");
        lease.host_ifname = format!("lxc{n}");
        lease.netns_cookie = 77;
    }
    ipam.end_lease(&att(4), at(2));
    let mut back = Ipam::restore(&ipam.journal(), Config::default(), &cidrs).expect("restores");
    assert!(back.leases().all(|l| l.restored));
    assert!(back.allocated().iter().all(|a| a.restored));
    assert_eq!(back.journal(), ipam.journal());
    let next = back.lease(&att(9), pod(9), "", at(3)).expect("lease");
    assert_eq!((next.addresses[0].to_string(), next.endpoint_id), ("10.0.0.6".into(), 6));
}

#[test]
fn a_damaged_journal_says_so() {
    let cidrs = nets(&["10.0.0.0/24"]);
    let mut ipam = Ipam::new(Config::default(), &cidrs);
    ipam.lease(&att(1), pod(1), "uid", at(1)).expect("lease");
    let good = ipam.journal();
    let restore = |bytes: &[u8]| Ipam::restore(bytes, Config::default(), &cidrs).map(|_| ());

    for cut in 0..good.len() - 1 {
        let error = restore(&good[..cut]).expect_err("cut short");
        assert!(error.to_string().starts_with("the lease journal is damaged ("), "{error}");
    }
    let mut changed = good.clone();
    let last = changed.len() - 10;
    changed[last] ^= 1;
    assert!(matches!(restore(&changed), Err(JournalError::Checksum { .. })));
    let newer = String::from_utf8(good.clone()).expect("text").replacen("\"version\":1", "\"version\":2", 1);
    assert_eq!(restore(newer.as_bytes()), Err(JournalError::Version { found: 2, supported: 1 }));
    assert!(restore(b"\0\0\0\0").is_err());
}

#[test]
fn rebuilding_keeps_what_is_there_and_rests_the_gaps() {
    let cidrs = nets(&["10.0.0.0/24"]);
    let mut before = Ipam::new(Config::default(), &cidrs);
    for n in 0..6 {
        before.lease(&att(n), pod(n), "", at(1)).expect("lease");
    }
    let mut live: Vec<Lease> = before.leases().filter(|l| l.pod != pod(2)).cloned().collect();
    let mut clash = live[0].clone();
    clash.attachment = att(70);
    clash.pod = pod(70);
    live.push(clash);
    let node = [(Owner::Router, "10.0.0.200".parse().expect("ip"))];
    let (mut ipam, problems) = Ipam::rebuild(Config::default(), &cidrs, &node, live, at(5));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().starts_with("Pod default/pod70: its interface could not be taken over"));
    let lease = ipam.lease(&att(9), pod(9), "", at(6)).expect("lease");
    assert_eq!((lease.addresses[0].to_string(), lease.endpoint_id), ("10.0.0.201".into(), 7));
}

#[test]
fn only_attachments_of_the_network_are_strays() {
    let mut ipam = ipam(&["10.0.0.0/24"]);
    for (n, network) in [(1, "pleopod"), (2, "pleopod"), (3, "storage"), (4, "")] {
        ipam.lease(&att(n), pod(n), "", at(1)).expect("lease").network = network.to_owned();
    }
    assert_eq!(
        ipam.strays("pleopod", &[att(1)]),
        [att(2), att(4)],
        "the last is of a time before leases had networks"
    );
    assert_eq!(ipam.strays("storage", &[att(1), att(4)]), [att(3)]);
    // A journal of that time is read all the same.
    let text = String::from_utf8(ipam.journal()).expect("text");
    let lease: Lease = serde_json::from_value({
        let books: serde_json::Value =
            serde_json::from_str(text.lines().nth(1).expect("books")).expect("JSON");
        let mut lease = books["leases"][0].clone();
        lease.as_object_mut().expect("a lease").remove("network");
        lease
    })
    .expect("a lease");
    assert_eq!(lease.network, "");
}

#[test]
fn endpoint_numbers_go_round() {
    let mut ids = EndpointIds::new(65_535);
    assert_eq!(ids.allocate(Owner::Router), Ok(65_535));
    assert_eq!(ids.allocate(Owner::Router), Ok(1));
    for _ in 0..65_533 {
        ids.allocate(Owner::Health).expect("free");
    }
    assert_eq!(ids.allocate(Owner::Health), Err(Error::NoEndpointId));
    ids.release(400);
    assert_eq!(ids.allocate(Owner::Health), Ok(400));
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32),
    Del(u32),
    Wait(u64),
    Restart,
    Move(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u32..24).prop_map(Step::Add),
        4 => (0u32..24).prop_map(Step::Del),
        2 => (1u64..40).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Move),
    ]
}

proptest! {
    /// Whatever happens, no two hold the same address or number, none is given within its grace time, and a restart
    /// in between changes nothing.
    #[test]
    fn no_address_is_given_twice_or_too_early(steps in prop::collection::vec(step(), 1..120)) {
        let small = nets(&["10.0.0.0/28", "fd00::/120"]);
        let other = nets(&["10.0.1.0/28", "fd00::/120"]);
        let mut cidrs = small.clone();
        let mut ipam = Ipam::new(Config::default(), &cidrs);
        let mut now = 1_000u64;
        let mut freed: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Add(n) => {
                    let new = ipam.get(&att(n)).is_none();
                    if let Ok(lease) = ipam.lease(&att(n), pod(n), "", at(now)) && new {
                        prop_assert_eq!(lease.addresses.len(), 2);
                        for address in &lease.addresses {
                            prop_assert!(cidrs.iter().any(|c| c.contains(address)));
                            if let Some(then) = freed.get(address) {
                                prop_assert!(now - then >= 30, "{} freed {} s ago", address, now - then);
                            }
                        }
                    }
                }
                Step::Del(n) => {
                    if let Some(lease) = ipam.end_lease(&att(n), at(now)) {
                        freed.extend(lease.addresses.into_iter().map(|a| (a, now)));
                    }
                }
                Step::Wait(s) => now += s,
                Step::Restart => {
                    let back = Ipam::restore(&ipam.journal(), Config::default(), &cidrs);
                    prop_assert!(back.is_ok());
                    ipam = back.expect("checked");
                }
                Step::Move(back) => {
                    // Moving to another CIDR and back forgets who rests there; wait the grace time out.
                    now += 30;
                    cidrs = if back { small.clone() } else { other.clone() };
                    ipam.set_cidrs(&cidrs);
                }
            }
            let held: Vec<IpAddr> = ipam.leases().flat_map(|l| l.addresses.clone()).collect();
            prop_assert_eq!(held.len(), held.iter().collect::<BTreeSet<_>>().len());
            prop_assert_eq!(held.len(), ipam.used.len());
            let ids: BTreeSet<u16> = ipam.leases().map(|l| l.endpoint_id).collect();
            prop_assert_eq!(ids.len(), ipam.leases().count());
        }
    }
}
