//! What the programs cost per packet of an open connection, by BPF_PROG_TEST_RUN. Prints numbers, asserts none:
//! `cargo test -p pleopod-datapath-programs --test kernel speed -- --ignored --nocapture`.

use crate::{
    loaded,
    nets::{Net, addr16},
};
use aya::programs::{SchedClassifier, TestRun as _, TestRunAttrs, TestRunOptions};
use pleopod_abi::{
    Config,
    config::config_flags,
    endpoint::{EndpointKey, EndpointValue},
};
use std::time::Duration;

const POD: [u8; 6] = [2, 0, 0, 0, 2, 1];
const HOST_SIDE: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// A packet survives as many runs as its TTL allows.
const RUNS: u32 = 50;
const ROUNDS: u32 = 4000;

fn packet(src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(HOST_SIDE);
    bytes.extend(POD);
    bytes.extend([8, 0, 0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend(src);
    bytes.extend(dst);
    bytes.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    bytes.resize(74, 0);
    bytes
}

#[test]
#[ignore = "a measurement, not a test"]
fn established_packets() {
    let off = config_flags::CONNTRACK | config_flags::FLOW_EVENTS;
    for flags in [Config::STANDARD.flags & !off, Config::STANDARD.flags] {
        let net = Net::new(Config { flags, ..Config::STANDARD });
        let mut ebpf = net.attach();
        // Each run leaves the packet as the next one finds it: the host side's MAC is the pod's own here.
        let value = EndpointValue {
            ifindex: net.ifindex("lxc2"),
            identity: 1002,
            id: 102,
            flags: 0,
            mac: [2, 0, 0, 0, 2, 2],
            node_mac: POD,
        };
        loaded::put(&mut ebpf, "pleo_endpoints", &EndpointKey { addr: addr16("10.1.0.12") }, &value);
        let (lxc, up) = (net.ifindex("lxc1"), net.ifindex("up0"));
        net.inside("node", || {
            for (name, what, device, bytes) in [
                ("from_pod", "to a pod of the node", lxc, packet([10, 1, 0, 11], [10, 1, 0, 12])),
                ("from_pod", "out of the node", lxc, packet([10, 1, 0, 11], [192, 0, 2, 2])),
                ("from_uplink", "to a pod", up, packet([192, 0, 2, 2], [10, 1, 0, 12])),
                ("to_pod", "from the stack", lxc, packet([10, 1, 0, 1], [10, 1, 0, 11])),
            ] {
                let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
                let mut context = [0u8; 192];
                // Where __sk_buff has its ifindex.
                context[40..44].copy_from_slice(&device.to_ne_bytes());
                let mut total = Duration::ZERO;
                for _ in 0..ROUNDS {
                    let run = program
                        .test_run(TestRunOptions {
                            data_in: Some(&bytes),
                            data_out: None,
                            ctx_in: Some(&context),
                            ctx_out: None,
                            repeat: RUNS,
                            attrs: TestRunAttrs::new(),
                        })
                        .unwrap();
                    total += run.duration;
                }
                eprintln!("{name:<12} {what:<20} flags {flags:3} {:?} a packet", total / ROUNDS);
            }
        });
    }
}

/// Round trips of one byte over TCP, both ends and all between on one core; median of interleaved rounds. Prints, asserts nothing.
#[test]
#[ignore = "a measurement, not a test"]
fn round_trips() {
    let with = Net::new(Config::STANDARD);
    let ebpf = with.attach();
    let without = Net::new(Config::STANDARD);
    let paths: [(&str, &Net, &str, &str, &str); 5] = [
        ("node to far, one veth", &without, "node", "far", "192.0.2.2"),
        ("pod to far, ip_forward", &without, "pod1", "far", "192.0.2.2"),
        ("pod to far, programs", &with, "pod1", "far", "192.0.2.2"),
        ("pod to pod, ip_forward", &without, "pod1", "pod2", "10.1.0.12"),
        ("pod to pod, programs", &with, "pod1", "pod2", "10.1.0.12"),
    ];
    let mut medians: Vec<Vec<f64>> = vec![Vec::new(); paths.len()];
    for round in 0..10 {
        for (n, (_, net, from, to, addr)) in paths.iter().enumerate() {
            medians[n].push(round_trip(net, from, to, addr, 20000 + round * 10 + n as u16));
        }
    }
    for (n, (what, ..)) in paths.iter().enumerate() {
        medians[n].sort_by(f64::total_cmp);
        let base = medians[0][5];
        eprintln!("{what:<26} {:6.2} us  {:.2} x R0", medians[n][5], medians[n][5] / base);
    }
    drop(ebpf);
}

fn pin() {
    let mut set = rustix::thread::CpuSet::new();
    set.set(0);
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}

fn round_trip(net: &Net, from: &str, to: &str, addr: &str, port: u16) -> f64 {
    use std::io::{Read as _, Write as _};
    let listener = net.inside(to, || std::net::TcpListener::bind(("0.0.0.0", port)).unwrap());
    let server = std::thread::spawn(move || {
        pin();
        let mut stream = listener.accept().unwrap().0;
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    let mut stream = net.inside(from, || std::net::TcpStream::connect((addr, port)).unwrap());
    stream.set_nodelay(true).unwrap();
    let times = std::thread::spawn(move || {
        pin();
        let mut times = Vec::with_capacity(20_000);
        let mut byte = [0];
        for _ in 0..20_000 {
            let begin = std::time::Instant::now();
            stream.write_all(&byte).unwrap();
            stream.read_exact(&mut byte).unwrap();
            times.push(begin.elapsed());
        }
        times
    });
    let mut times = times.join().unwrap();
    server.join().unwrap();
    times.sort();
    times[times.len() / 2].as_nanos() as f64 / 1000.0
}
