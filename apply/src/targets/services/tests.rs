//! The life of frontends and backends in the two maps.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use pleopod_model::ObjectName;
use pleopod_model::desired::{Backend, BackendState, FrontendKind};
use pleopod_model::intent::Protocol;
use proptest::prelude::*;

use super::*;
use crate::fake::Fake;

type Frontends = Fake<LbFrontendKey, LbFrontendValue>;
type Wanted = BTreeMap<FrontendKey, Frontend>;

/// The kernel.
#[derive(Clone, Default)]
struct Kernel {
    frontends: Frontends,
    table: Fake<u32, u32>,
    backends: Fake<u32, LbBackend>,
    addresses: Fake<u32, LbAddress>,
    sources: Fake<LbSourceKey, u32>,
}

const SIZES: Sizes = Sizes { table: 64, backends: 32, frontends: 16, maglev: 251 };

impl Kernel {
    fn target(&self) -> Services {
        self.target_of(SIZES)
    }

    fn target_of(&self, sizes: Sizes) -> Services {
        let mut services = Services::new(Maps {
            frontends: Box::new(self.frontends.clone()),
            table: Box::new(self.table.clone()),
            backends: Box::new(self.backends.clone()),
            addresses: Box::new(self.addresses.clone()),
            sources: Box::new(self.sources.clone()),
            sizes,
        });
        services.load().expect("read");
        services
    }

    fn calls(&self) -> usize {
        self.frontends.with(|s| s.calls)
            + self.table.with(|s| s.calls)
            + self.backends.with(|s| s.calls)
            + self.addresses.with(|s| s.calls)
    }

    /// What a client of each frontend may be given, read from the maps the way the programs read them. A number that
    /// means nobody is what must never be met.
    fn choices(&self) -> BTreeMap<FrontendKey, Vec<SocketAddr>> {
        choices(&self.frontends.rows(), &self.table.rows(), &self.backends.rows())
    }
}

fn choices(
    frontends: &HashMap<LbFrontendKey, LbFrontendValue>,
    table: &HashMap<u32, u32>,
    backends: &HashMap<u32, LbBackend>,
) -> BTreeMap<FrontendKey, Vec<SocketAddr>> {
    let ports = frontends.iter().filter(|(key, _)| service::address_of(key).is_none());
    ports
        .map(|(key, value)| {
            let backend = |at| {
                let id = table.get(&at).expect("a number at every place");
                let found = backends.get(&backend_index(*id)).filter(|b| b.backend_id == *id);
                service::backend_of(found.expect("a backend of that number")).expect("a backend").0
            };
            let region = value.inside;
            let mut all: Vec<SocketAddr> = (region.at..region.at + region.len).map(backend).collect();
            all.sort();
            (service::frontend_of(key).expect("a frontend"), all)
        })
        .collect()
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

fn wanted_choices(wanted: &Wanted) -> BTreeMap<FrontendKey, Vec<SocketAddr>> {
    let active = |f: &Frontend| f.chosen(Scope::Inside).map(|b| b.address).collect::<Vec<_>>();
    wanted.iter().map(|(k, f)| (*k, active(f))).collect()
}

#[test]
fn one_change_costs_few_writes_and_a_frontend_changes_as_a_whole() {
    let kernel = Kernel::default();
    let mut services = kernel.target();
    let mut wanted: Wanted = (0..12).map(|n| (key(n), active(&[1, 2, 3]))).collect();
    services.converge(&wanted);
    let calls = kernel.calls();
    wanted.insert(key(7), active(&[1, 3]));
    // Until the row of the frontend is written, its clients are given what they were given before.
    let (watched, before) = (kernel.clone(), kernel.choices()[&key(7)].clone());
    kernel.table.with(|s| {
        s.watch = Some(Box::new(move |rows| {
            let all = choices(&watched.frontends.rows(), rows, &watched.backends.rows());
            assert_eq!(all[&key(7)], before);
        }));
    });
    let outcome = services.converge_some(&wanted, &BTreeSet::from([key(7)]));
    assert_eq!(kernel.calls() - calls, 3, "two places and the frontend");
    assert_eq!(outcome.removed, vec![], "the backend still serves other frontends");
    assert_eq!(kernel.choices(), wanted_choices(&wanted));
    assert_eq!(services.converge(&wanted).changed, 0);
}

#[test]
fn a_number_never_means_another_backend() {
    let kernel = Kernel::default();
    let mut services = kernel.target_of(Sizes { backends: 3, ..SIZES });
    let mut seen: HashMap<u32, SocketAddr> = HashMap::new();
    for n in 1..40 {
        let wanted = Wanted::from([(key(1), active(&[n]))]);
        services.converge(&wanted);
        if n % 7 == 0 {
            services = kernel.target_of(Sizes { backends: 3, ..SIZES });
            services.converge(&wanted);
        }
        assert_eq!(kernel.choices(), wanted_choices(&wanted), "{n}");
        let number = services.backend_id(&(address(n), Protocol::Tcp));
        assert_eq!(*seen.entry(number).or_insert(address(n)), address(n));
        std::thread::sleep(REST);
    }
}

#[test]
fn what_finds_no_room_says_so_and_disturbs_nobody() {
    let kernel = Kernel::default();
    let mut services = kernel.target_of(Sizes { table: 4, backends: 4, frontends: 3, maglev: 251 });
    let error = |services: &Services, n| {
        services.frontends().errors().get(&service::frontend_key(&key(n))).cloned().unwrap_or_default()
    };
    let mut wanted = Wanted::from([(key(1), active(&[1, 2])), (key(2), active(&[1, 2, 3]))]);
    services.converge(&wanted);
    assert!(error(&services, 2).contains("lb-table-entries"), "{}", error(&services, 2));
    assert_eq!(kernel.choices(), wanted_choices(&Wanted::from([(key(1), active(&[1, 2]))])));
    wanted = Wanted::from([(key(1), active(&[1, 2, 3, 4]))]);
    std::thread::sleep(REST);
    services.converge(&wanted);
    assert!(error(&services, 1).contains("no room"), "the old table rests until nobody reads it");
    assert_eq!(kernel.choices()[&key(1)], [address(1), address(2)], "and is in force meanwhile");
    wanted = Wanted::from([(key(1), active(&[1])), (key(2), active(&[1])), (key(3), active(&[1]))]);
    services.converge(&wanted);
    assert!(error(&services, 3).contains("lb-frontends"), "{}", error(&services, 3));
    std::thread::sleep(REST);
    wanted.remove(&key(1));
    services.converge(&wanted);
    std::thread::sleep(REST);
    services.converge(&wanted);
    assert_eq!(kernel.choices(), wanted_choices(&wanted));
    let kernel = Kernel::default();
    let mut services = kernel.target_of(Sizes { backends: 4, ..SIZES });
    services.converge(&Wanted::from([(key(2), active(&[1, 5, 6, 7]))]));
    assert!(error(&services, 2).contains("lb-backends"), "{}", error(&services, 2));
    assert_eq!(kernel.choices()[&key(2)].len(), 3, "those that have a number serve");
}

/// Addresses of Services that have a row for all ports, in order.
fn addresses(frontends: &Frontends) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = frontends.rows().keys().filter_map(service::address_of).collect();
    all.sort();
    all
}

#[test]
fn an_address_is_refused_as_a_whole_as_long_as_a_service_has_it() {
    let kernel = Kernel::default();
    let mut services = kernel.target();
    let dns = |protocol| FrontendKey { address: SocketAddr::from(([10, 96, 0, 1], 53)), protocol };
    let mut wanted = Wanted::from([
        (dns(Protocol::Tcp), active(&[1])),
        (dns(Protocol::Udp), active(&[])),
        (key(2), active(&[2])),
    ]);
    services.converge(&wanted);
    let [one, two] = [1, 2].map(|n| key(n).address.ip());
    assert_eq!(addresses(&kernel.frontends), [one, two]);
    // An agent that starts again finds them, and takes them for what they are.
    let mut services = kernel.target();
    assert_eq!(services.converge(&wanted).changed, 0);
    wanted.remove(&dns(Protocol::Tcp));
    services.converge_some(&wanted, &BTreeSet::from([dns(Protocol::Tcp)]));
    assert_eq!(addresses(&kernel.frontends), [one, two], "it still has another port");
    wanted.remove(&dns(Protocol::Udp));
    services.converge_some(&wanted, &BTreeSet::from([dns(Protocol::Udp)]));
    assert_eq!(addresses(&kernel.frontends), [two]);
    services.converge(&Wanted::new());
    assert!(kernel.frontends.rows().is_empty());
}

#[test]
fn removed_backends_are_told_once_they_serve_nobody() {
    let kernel = Kernel::default();
    let mut services = kernel.target();
    let terminating = frontend(&[(1, BackendState::Active), (2, BackendState::Terminating)]);
    services.converge(&Wanted::from([(key(1), terminating), (key(2), active(&[1]))]));
    let outcome = services.converge(&Wanted::from([(key(1), active(&[1])), (key(2), active(&[1]))]));
    assert_eq!(outcome.removed, vec![(address(2), Protocol::Tcp)]);
    let outcome = services.converge(&Wanted::from([(key(2), active(&[1]))]));
    assert_eq!(outcome.removed, vec![]);
    let outcome = services.converge(&Wanted::new());
    assert_eq!(outcome.removed, vec![(address(1), Protocol::Tcp)]);
    assert!(kernel.frontends.rows().is_empty());
}

#[test]
fn numbers_survive_a_restart() {
    let kernel = Kernel::default();
    let wanted: Wanted = (0..12).map(|n| (key(n), active(&[n, n + 1]))).collect();
    let mut services = kernel.target();
    services.converge(&wanted);
    let before =
        (kernel.frontends.rows(), kernel.backends.rows(), kernel.table.rows(), kernel.addresses.rows());
    let mut services = kernel.target();
    let outcome = services.converge(&wanted);
    assert_eq!((outcome.changed, outcome.removed), (0, vec![]));
    let after =
        (kernel.frontends.rows(), kernel.backends.rows(), kernel.table.rows(), kernel.addresses.rows());
    assert_eq!(before, after);
}

#[test]
fn a_row_that_can_not_be_written_costs_no_places_and_keeps_those_it_has() {
    let kernel = Kernel::default();
    let mut services = kernel.target();
    services.converge(&Wanted::from([(key(1), active(&[1, 2]))]));
    let rows = [key(1), key(2)].map(|key| service::frontend_key(&key));
    kernel.frontends.with(|s| s.fail.extend(rows));
    let wanted = Wanted::from([(key(1), active(&[3])), (key(2), active(&[4, 5]))]);
    for _ in 0..5 {
        services.converge(&wanted);
        std::thread::sleep(REST);
    }
    assert_eq!(services.table_use().0, 2, "those of the row that stands");
    assert_eq!(services.frontends().get(&rows[0]).map(|row| services.table.read(row.inside).len()), Some(2));
    kernel.frontends.with(|s| s.fail.clear());
    services.converge(&wanted);
    assert_eq!(kernel.choices(), wanted_choices(&wanted));
}

#[test]
fn what_somebody_else_wrote_is_put_right() {
    let kernel = Kernel::default();
    let mut services = kernel.target();
    let wanted: Wanted = (1..6).map(|n| (key(n), active(&[n, n + 1]))).collect();
    services.converge(&wanted);
    let row = |n| service::frontend_key(&key(n));
    let of = |n| *kernel.frontends.rows().get(&row(n)).expect("a row");
    let (one, two) = (of(1), of(2));
    kernel.frontends.with(|s| {
        // The tables of another, a region that is not there, no row, a row of nobody, a row of nothing.
        s.rows.insert(row(1), LbFrontendValue { inside: two.inside, ..one });
        s.rows.insert(row(3), LbFrontendValue { inside: LbRegion { at: 60, len: 9 }, ..one });
        s.rows.remove(&row(4));
        s.rows.insert(row(9), two);
        s.rows.insert(LbFrontendKey { proto: 99, ..row(9) }, two);
    });
    kernel.backends.with(|s| s.rows.clear());
    kernel.addresses.with(|s| s.rows.clear());
    for _ in 0..2 {
        services.load().expect("read");
        services.converge(&wanted);
        std::thread::sleep(REST);
        services.converge(&wanted);
    }
    assert_eq!(kernel.choices(), wanted_choices(&wanted));
    assert_eq!(kernel.addresses.rows().len(), 5);
    assert_eq!(services.table_use().0, 10);
    assert_eq!(kernel.frontends.rows().len(), 10, "five ports and their addresses");
}

#[test]
fn who_may_ask_is_there_before_it_counts_and_goes_with_the_service() {
    let kernel = Kernel::default();
    let mut services = kernel.target();
    let ranges = |texts: &[&str]| Some(texts.iter().map(|t| t.parse().expect("a prefix")).collect());
    let guarded = |texts: &[&str]| Frontend { source_ranges: ranges(texts), ..active(&[1]) };
    let mut wanted =
        Wanted::from([(key(1), guarded(&["10.0.0.0/8", "fd00::/16"])), (key(2), guarded(&["192.0.2.1/32"]))]);
    services.converge(&wanted);
    let lengths = |kernel: &Kernel| {
        let mut all: Vec<u32> = kernel.sources.rows().keys().map(|key| key.prefixlen).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(lengths(&kernel), [48, 136, 160]);
    wanted.insert(key(1), guarded(&["10.0.0.0/8"]));
    services.converge_some(&wanted, &BTreeSet::from([key(1)]));
    assert_eq!(lengths(&kernel), [136, 160]);
    // A new agent keeps what counts and removes what was left behind.
    kernel.sources.with(|s| {
        let stray = LbSource { service_id: 9, addr: Default::default() };
        s.rows.insert(LbSourceKey { prefixlen: 128, source: stray }, 1);
    });
    let mut services = kernel.target();
    services.converge(&wanted);
    assert_eq!(lengths(&kernel), [136, 160]);
    services.converge(&Wanted::from([(key(2), active(&[1]))]));
    assert_eq!(lengths(&kernel), [0; 0]);
}

#[test]
fn clients_outside_have_a_table_of_their_own_where_it_differs() {
    let kernel = Kernel::default();
    let mut services = kernel.target();
    let mut local = active(&[1, 2, 3]);
    local.outside = pleopod_model::desired::Outside::Local;
    local.backends =
        local.backends.iter().map(|b| Backend { outside: b.address == address(2), ..b.clone() }).collect();
    services.converge(&Wanted::from([(key(1), local), (key(2), active(&[4]))]));
    let row = |n| *services.frontends().get(&service::frontend_key(&key(n))).expect("a row");
    let outside: Vec<_> = services.chosen(row(1).outside).iter().filter_map(service::backend_of).collect();
    assert_eq!(outside, [(address(2), Protocol::Tcp)]);
    assert_eq!(services.chosen(row(1).inside).len(), 3);
    assert_eq!(row(2).inside, row(2).outside, "one table is enough where it says the same");
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let state = prop_oneof![3 => Just(BackendState::Active), 1 => Just(BackendState::Terminating)];
    let frontend = proptest::collection::vec((0u8..6, state), 0..5).prop_map(|b| frontend(&b));
    proptest::collection::btree_map((0u8..5).prop_map(key), frontend, 0..5)
}

proptest! {
    /// Whatever was there before and wherever an agent died, a pass ends in what is wanted; no frontend ever leads to
    /// nobody.
    #[test]
    fn any_history_converges_and_no_frontend_ever_leads_into_nothing(
        history in proptest::collection::vec((wanted(), any::<bool>()), 1..8)
    ) {
        let kernel = Kernel::default();
        // Before every write to any map, every frontend must lead to backends.
        let at = kernel.clone();
        let look = move || { at.choices(); };
        let (at, now) = (kernel.clone(), look.clone());
        kernel.frontends.with(|s| s.watch = Some(Box::new(move |rows| {
            choices(rows, &at.table.rows(), &at.backends.rows());
        })));
        let at = kernel.clone();
        kernel.table.with(|s| s.watch = Some(Box::new(move |rows| {
            choices(&at.frontends.rows(), rows, &at.backends.rows());
        })));
        let at = kernel.clone();
        kernel.backends.with(|s| s.watch = Some(Box::new(move |rows| {
            choices(&at.frontends.rows(), &at.table.rows(), rows);
        })));
        now();
        // Room for tables that rest.
        let sizes = Sizes { table: 1024, backends: 1024, frontends: 64, maglev: 251 };
        let mut services = kernel.target_of(sizes);
        for (wanted, restart) in history {
            if restart {
                services = kernel.target_of(sizes);
            }
            services.converge(&wanted);
            look();
            prop_assert_eq!(kernel.choices(), wanted_choices(&wanted));
            let numbers: usize = kernel.frontends.rows().keys().filter(|k| service::address_of(k).is_none()).count();
            prop_assert_eq!(numbers, wanted.len());
        }
        services.converge(&Wanted::new());
        std::thread::sleep(REST);
        services.converge(&Wanted::new());
        prop_assert_eq!(services.table_use().0, 0, "every region is given back");
        prop_assert!(kernel.addresses.rows().is_empty());
        prop_assert!(kernel.backends.rows().values().all(|b| service::backend_of(b).is_none()));
    }
}
