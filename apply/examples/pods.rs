//! How long the kernel's part of a CNI ADD and DEL takes, step by step: `cargo run --release -p pleopod-apply --example
//! pods [COUNT]`. Makes everything in namespaces and a bpffs of its own and removes it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use pleopod_abi::Config;
use pleopod_apply::attach::{Attach, Hooks};
use pleopod_apply::base::{self, BaseSpec};
use pleopod_apply::pod::{self, PodSpec, reaper::Reaper};
use pleopod_apply::routes::Routes;
use pleopod_model::desired::Route;
use pleopod_sys_bpf::{LoadOptions, Loaded, mount};
use pleopod_sys_link::Netlink;
use pleopod_sys_netns::Guard;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let count: u8 = std::env::args().nth(1).map_or(Ok(100), |n| n.parse())?;
    let bpffs = std::env::temp_dir().join(format!("pleo-t-{}-pods", std::process::id()));
    mount::ensure_bpffs(&bpffs)?;
    let result = Guard::new("node")?.run(|| walk(count, &bpffs.join("pleopod")));
    nix::mount::umount2(&bpffs, nix::mount::MntFlags::MNT_DETACH)?;
    std::fs::remove_dir(&bpffs)?;
    result?
}

fn walk(count: u8, pins: &std::path::Path) -> Result<(), Failure> {
    let router: IpAddr = "172.16.0.1".parse()?;
    let mut netlink = Netlink::open()?;
    let base = base::prepare(&mut netlink, &BaseSpec { addresses: vec![router], mtu: 9001 })?;
    let start = Instant::now();
    let options = LoadOptions { pins: pins.into(), config: Config::STANDARD, max_entries: vec![] };
    let hooks = Hooks::new(&Loaded::load(&options)?, Attach::Auto)?;
    println!("load     {:>8.2?}", start.elapsed());
    let mut routes = Routes::new(Netlink::open()?, base.host.index);
    let mut reaper = Reaper::start()?;
    let namespaces = (0..count).map(|_| Guard::new("pod")).collect::<Result<Vec<_>, _>>()?;
    let names = ["create", "attach", "open", "route", "all"];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); names.len()];
    let mut made = Vec::new();
    for (n, netns) in (1u8..).zip(&namespaces) {
        let address = IpAddr::from([172, 16, 1, n]);
        let container = format!("container-{n}");
        let ifname = pod::host_ifname(&container, "eth0");
        let (mac, node_mac) = pod::macs(&container, "eth0");
        let spec = PodSpec {
            pod: "default/pod",
            host_ifname: &ifname,
            ifname: "eth0",
            netns: netns.netns(),
            addresses: &[address],
            router: &[router],
            mac,
            node_mac,
            mtu: 9001,
        };
        let begin = Instant::now();
        let link = pod::create(&mut netlink, &spec)?;
        let created = Instant::now();
        hooks.pod(&ifname, link.ifindex)?;
        let attached = Instant::now();
        pod::open(&mut netlink, link.ifindex)?;
        let opened = Instant::now();
        routes.put(address.into(), &Route::Pod { ifindex: link.ifindex, mac });
        let routed = Instant::now();
        let steps = [created - begin, attached - created, opened - attached, routed - opened, routed - begin];
        for (all, step) in times.iter_mut().zip(steps) {
            all.push(step);
        }
        made.push((ifname, link.ifindex, address));
    }
    for (name, times) in names.iter().zip(&mut times) {
        print(name, times);
    }
    let mut deletions = Vec::new();
    let start = Instant::now();
    for (ifname, ifindex, address) in made {
        let begin = Instant::now();
        routes.delete(address.into());
        reaper.remove(ifindex)?;
        hooks.release_pod(&ifname)?;
        deletions.push(begin.elapsed());
    }
    print("delete", &mut deletions);
    reaper.flush();
    println!("all gone {:>8.2?}", start.elapsed());
    Ok(())
}

fn print(name: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{name:<8} p50 {:>8.2?}  p99 {:>8.2?}", at(50), at(99));
}
