//! How long Services take to reach the kernel: `cargo run --release -p pleopod-apply --example services [COUNT]`. Works in
//! a bpffs of its own and removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pleopod_abi::Config;
use pleopod_apply::kernel;
use pleopod_model::ObjectName;
use pleopod_model::desired::{Backend, Frontend, FrontendKey, FrontendKind};
use pleopod_model::intent::Protocol;
use pleopod_sys_bpf::{LoadOptions, Loaded, mount};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let count: u32 = std::env::args().nth(1).map_or(Ok(10_000), |n| n.parse())?;
    let bpffs = std::env::temp_dir().join(format!("pleo-t-{}-services", std::process::id()));
    mount::ensure_bpffs(&bpffs)?;
    let result = walk(count, &bpffs.join("pleopod"));
    nix::mount::umount2(&bpffs, nix::mount::MntFlags::MNT_DETACH)?;
    std::fs::remove_dir(&bpffs)?;
    result
}

fn walk(count: u32, pins: &std::path::Path) -> Result<(), Failure> {
    let max_entries = vec![
        ("pleo_lb_fe", 2 * count + 1024),
        ("pleo_lb_addr", count + 1024),
        ("pleo_lb_turn", count + 1024),
        ("pleo_lb_be", 2 * count + 4096),
        ("pleo_lb_table", 4 * count + 4096),
    ];
    let loaded = Loaded::load(&LoadOptions { pins: pins.into(), config: Config::STANDARD, max_entries })?;
    let mut tables = kernel::tables(&loaded, 1021)?;
    let mut wanted: BTreeMap<FrontendKey, Frontend> = (0..count).map(|n| (key(n), frontend(n, 0))).collect();

    let start = Instant::now();
    tables.converge_services(&wanted, None);
    println!("{count} Services, cold   {:>9.2?}", start.elapsed());
    assert_eq!(tables.failed(), []);
    let start = Instant::now();
    tables.converge_services(&wanted, None);
    println!("full pass, nothing to do {:>9.2?}", start.elapsed());

    let mut times: Vec<Duration> = (0..1000)
        .map(|round| {
            let n = round * 7 % count;
            wanted.insert(key(n), frontend(n, 1 + round));
            let changed = BTreeSet::from([key(n)]);
            let start = Instant::now();
            let (rows, _) = tables.converge_services(&wanted, Some(&changed));
            let report = tables.report(rows);
            let took = start.elapsed();
            assert!(report.failed.is_empty() && report.changed > 0);
            took
        })
        .collect();
    times.sort();
    println!("one change               p50 {:.2?} p99 {:.2?}", times[500], times[990]);

    drop(tables);
    let start = Instant::now();
    let mut tables = kernel::tables(&loaded, 1021)?;
    let read = start.elapsed();
    assert_eq!(tables.converge_services(&wanted, None).0, 0);
    println!("restart: read {read:.2?}, first pass {:.2?}", start.elapsed() - read);
    Ok(())
}

fn key(n: u32) -> FrontendKey {
    let [_, a, b, c] = n.to_be_bytes();
    FrontendKey { address: SocketAddr::from(([10, 96 + a, b, c], 80)), protocol: Protocol::Tcp }
}

/// Two backends; `round` moves the second.
fn frontend(n: u32, round: u32) -> Frontend {
    let [_, a, b, c] = n.to_be_bytes();
    let [.., d, e] = round.to_be_bytes();
    let backends = [([172, 16 + a, b, c], 8080), ([172, 32, d, e], 8080)];
    Frontend::new(
        ObjectName::new("default", format!("svc-{n}")),
        FrontendKind::ClusterIP,
        backends.map(|address| Backend::new(SocketAddr::from(address))),
    )
}
