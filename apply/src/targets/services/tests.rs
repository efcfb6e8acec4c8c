//! The life of frontends and backends in the two maps.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use pleopod_model::ObjectName;
use pleopod_model::desired::{Backend, BackendState, FrontendKind};
use pleopod_model::intent::Protocol;
use proptest::prelude::*;

use super::*;
use crate::fake::Fake;

type Frontends = Fake<LbFrontendKey, LbFrontendValue>;
type Slots = Fake<LbSlotKey, LbBackend>;
type Wanted = BTreeMap<FrontendKey, Frontend>;

fn target(frontends: &Frontends, slots: &Slots) -> Services {
    let mut services = Services::new(Box::new(frontends.clone()), Box::new(slots.clone()));
    services.load().expect("read");
    services
}

fn key(n: u8) -> FrontendKey {
    FrontendKey { address: SocketAddr::from(([10, 96, 0, n], 80)), protocol: Protocol::Tcp }
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([172, 16, 0, n], 8080))
}

fn frontend(backends: &[(u8, BackendState)]) -> Frontend {
    let mut backends: Vec<Backend> = backends
        .iter()
        .map(|(n, state)| Backend {
            state: *state,
            inside: *state == BackendState::Active,
            ..Backend::new(address(*n))
        })
        .collect();
    backends.sort();
    backends.dedup_by_key(|b| b.address);
    Frontend::new(ObjectName::new("default", "svc"), FrontendKind::ClusterIP, backends)
}

fn active(backends: &[u8]) -> Frontend {
    frontend(&backends.iter().map(|n| (*n, BackendState::Active)).collect::<Vec<_>>())
}

/// What a client of each frontend may be given, read from the maps the way the programs read them. A slot that is not
/// there is what must never be met.
fn choices(
    frontends: &HashMap<LbFrontendKey, LbFrontendValue>,
    slots: &HashMap<LbSlotKey, LbBackend>,
) -> BTreeMap<FrontendKey, Vec<SocketAddr>> {
    frontends
        .iter()
        .filter(|(k, _)| service::address_of(k).is_none())
        .map(|(k, v)| {
            let backend = |slot| {
                let backend =
                    slots.get(&LbSlotKey { service_id: v.service_id, slot }).expect("a slot for every count");
                service::backend_of(backend).expect("a backend").0
            };
            let mut all: Vec<SocketAddr> = (0..v.backend_count).map(backend).collect();
            all.sort();
            (service::frontend_of(k).expect("a frontend"), all)
        })
        .collect()
}

fn wanted_choices(wanted: &Wanted) -> BTreeMap<FrontendKey, Vec<SocketAddr>> {
    let active = |f: &Frontend| f.chosen(Scope::Inside).map(|b| b.address).collect::<Vec<_>>();
    wanted.iter().map(|(k, f)| (*k, active(f))).collect()
}

#[test]
fn a_backend_that_stays_keeps_its_slot_and_one_change_costs_few_writes() {
    let (frontends, slots) = Default::default();
    let mut services = target(&frontends, &slots);
    let mut wanted: Wanted = (0..200).map(|n| (key(n), active(&[1, 2, 3]))).collect();
    services.converge(&wanted);
    let before = slots.rows();
    let calls = slots.with(|s| s.calls) + frontends.with(|s| s.calls);
    wanted.insert(key(7), active(&[1, 3]));
    let outcome = services.converge_some(&wanted, &BTreeSet::from([key(7)]));
    let calls = slots.with(|s| s.calls) + frontends.with(|s| s.calls) - calls;
    assert!(calls <= 3, "{calls} calls for one backend");
    assert_eq!(outcome.removed, vec![], "the backend still serves other frontends");
    let id = services.service_id(&key(7));
    let first = LbSlotKey { service_id: id, slot: 0 };
    assert_eq!(slots.rows().get(&first), before.get(&first));
    assert_eq!(choices(&frontends.rows(), &slots.rows()), wanted_choices(&wanted));
}

/// Addresses of Services that have a row for all ports, in order.
fn addresses(frontends: &Frontends) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = frontends.rows().keys().filter_map(service::address_of).collect();
    all.sort();
    all
}

#[test]
fn an_address_is_refused_as_a_whole_as_long_as_a_service_has_it() {
    let (frontends, slots) = Default::default();
    let mut services = target(&frontends, &slots);
    let dns = |protocol| FrontendKey { address: SocketAddr::from(([10, 96, 0, 1], 53)), protocol };
    let mut wanted = Wanted::from([
        (dns(Protocol::Tcp), active(&[1])),
        (dns(Protocol::Udp), active(&[])),
        (key(2), active(&[2])),
    ]);
    services.converge(&wanted);
    let [one, two] = [1, 2].map(|n| key(n).address.ip());
    assert_eq!(addresses(&frontends), [one, two]);
    // An agent that starts again finds them, and takes them for what they are.
    let mut services = target(&frontends, &slots);
    assert_eq!(services.converge(&wanted).changed, 0);
    wanted.remove(&dns(Protocol::Tcp));
    services.converge_some(&wanted, &BTreeSet::from([dns(Protocol::Tcp)]));
    assert_eq!(addresses(&frontends), [one, two], "it still has another port");
    wanted.remove(&dns(Protocol::Udp));
    services.converge_some(&wanted, &BTreeSet::from([dns(Protocol::Udp)]));
    assert_eq!(addresses(&frontends), [two]);
    services.converge(&Wanted::new());
    assert!(frontends.rows().is_empty());
}

#[test]
fn removed_backends_are_told_once_they_serve_nobody() {
    let (frontends, slots) = Default::default();
    let mut services = target(&frontends, &slots);
    let terminating = frontend(&[(1, BackendState::Active), (2, BackendState::Terminating)]);
    services.converge(&Wanted::from([(key(1), terminating), (key(2), active(&[1]))]));
    let outcome = services.converge(&Wanted::from([(key(1), active(&[1])), (key(2), active(&[1]))]));
    assert_eq!(outcome.removed, vec![(address(2), Protocol::Tcp)]);
    let outcome = services.converge(&Wanted::from([(key(2), active(&[1]))]));
    assert_eq!(outcome.removed, vec![]);
    let outcome = services.converge(&Wanted::new());
    assert_eq!(outcome.removed, vec![(address(1), Protocol::Tcp)]);
    assert!(frontends.rows().is_empty() && slots.rows().is_empty());
}

#[test]
fn numbers_survive_a_restart() {
    let (frontends, slots) = Default::default();
    let wanted: Wanted = (0..20).map(|n| (key(n), active(&[n, n + 1]))).collect();
    let mut services = target(&frontends, &slots);
    services.converge(&wanted);
    let (f, s) = (frontends.rows(), slots.rows());
    let mut services = target(&frontends, &slots);
    let outcome = services.converge(&wanted);
    assert_eq!((outcome.changed, outcome.removed), (0, vec![]));
    assert_eq!((frontends.rows(), slots.rows()), (f, s));
}

#[test]
fn a_full_map_is_an_error_of_the_row_and_heals_when_there_is_room() {
    let (frontends, slots): (Frontends, Slots) = Default::default();
    let mut services = target(&frontends, &slots);
    slots.with(|s| s.fail = HashSet::from([LbSlotKey { service_id: 1, slot: 1 }]));
    let wanted = Wanted::from([(key(1), active(&[1, 2])), (key(2), active(&[3]))]);
    services.converge(&wanted);
    let error = services.slots().errors().values().next().expect("an error").clone();
    assert!(error.contains("the map is full"), "{error}");
    assert_eq!(choices(&frontends.rows(), &slots.rows()).len(), 1, "the other Service is served");
    slots.with(|s| s.fail.clear());
    services.converge(&wanted);
    assert_eq!(choices(&frontends.rows(), &slots.rows()), wanted_choices(&wanted));
    assert!(services.slots().errors().is_empty());
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let state = prop_oneof![3 => Just(BackendState::Active), 1 => Just(BackendState::Terminating)];
    let frontend = proptest::collection::vec((0u8..6, state), 0..5).prop_map(|b| frontend(&b));
    proptest::collection::btree_map((0u8..5).prop_map(key), frontend, 0..5)
}

proptest! {
    /// Whatever was there before and wherever an agent died, a pass ends in what is wanted; no frontend ever leads to a
    /// slot that is not there.
    #[test]
    fn any_history_converges_and_no_frontend_ever_leads_into_nothing(
        history in proptest::collection::vec((wanted(), any::<bool>(), proptest::collection::hash_set((1u32..6, 0u32..5), 0..3)), 1..6)
    ) {
        let (frontends, slots): (Frontends, Slots) = Default::default();
        {
            // Before every write to either map, every frontend must lead to slots that are there.
            let (f, s) = (frontends.clone(), slots.clone());
            frontends.with(|state| state.watch = Some(Box::new(move |rows| { choices(rows, &s.rows()); })));
            slots.with(|state| state.watch = Some(Box::new(move |rows| { choices(&f.rows(), rows); })));
        }
        let mut services = target(&frontends, &slots);
        for (wanted, restart, fail) in history {
            if restart {
                services = target(&frontends, &slots);
            }
            let fail = fail.into_iter().map(|(service_id, slot)| LbSlotKey { service_id, slot }).collect();
            slots.with(|s| s.fail = fail);
            services.converge(&wanted);
            slots.with(|s| s.fail.clear());
            services.converge(&wanted);
            prop_assert_eq!(choices(&frontends.rows(), &slots.rows()), wanted_choices(&wanted));
            let counted: u32 = frontends.rows().values().map(|f| f.backend_count).sum();
            prop_assert_eq!(slots.rows().len(), counted as usize, "no stray slots");
        }
    }
}

#[test]
fn a_slot_that_failed_holds_its_service_up_only_while_it_is_wanted() {
    let (frontends, slots) = (Frontends::default(), Slots::default());
    let mut services = target(&frontends, &slots);
    let mut wanted = Wanted::from([(key(1), active(&[1, 2]))]);
    services.converge(&wanted);
    let id = services.service_id(&key(1));
    slots.with(|s| s.fail.insert(LbSlotKey { service_id: id, slot: 2 }));
    wanted.insert(key(1), active(&[1, 2, 3]));
    services.converge_some(&wanted, &BTreeSet::from([key(1)]));
    assert_eq!(services.slots().errors().len(), 1);
    assert_eq!(choices(&frontends.rows(), &slots.rows())[&key(1)], [address(1), address(2)]);
    // The map is still full, but one backend fits, and must be the only one that is chosen.
    wanted.insert(key(1), active(&[2]));
    services.converge_some(&wanted, &BTreeSet::from([key(1)]));
    assert_eq!(choices(&frontends.rows(), &slots.rows())[&key(1)], [address(2)]);
    assert!(services.slots().errors().is_empty(), "{:?}", services.slots().errors());
    // A Service that goes takes its complaints along.
    wanted.insert(key(1), active(&[2, 4, 5]));
    services.converge_some(&wanted, &BTreeSet::from([key(1)]));
    wanted.clear();
    services.converge_some(&wanted, &BTreeSet::from([key(1)]));
    assert!(services.slots().errors().is_empty(), "{:?}", services.slots().errors());
    services.converge(&wanted);
    assert!(slots.rows().is_empty() && frontends.rows().is_empty());
}

#[test]
fn what_found_no_room_has_it_in_the_pass_that_makes_it() {
    let (frontends, slots) = (Frontends::default(), Slots::default());
    let mut services = target(&frontends, &slots);
    services.converge(&Wanted::from([(key(1), active(&[1, 2, 3]))]));
    slots.with(|s| s.room = Some(3));
    let wanted = Wanted::from([(key(2), active(&[4, 5]))]);
    services.converge(&wanted);
    assert_eq!(choices(&frontends.rows(), &slots.rows())[&key(2)], [address(4), address(5)]);
    assert!(services.slots().errors().is_empty(), "{:?}", services.slots().errors());
}
