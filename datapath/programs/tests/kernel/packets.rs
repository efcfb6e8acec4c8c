//! Real packets through the attached programs.

use crate::{loaded, nets::Net};
use pleopod_abi::{
    Config, DropReason, ForwardReason,
    metrics::{Direction, metric_index},
};

#[test]
fn pods_of_a_node_and_the_far_side_reach_each_other() {
    let net = Net::new(Config::STANDARD);
    let ebpf = net.attach();
    for (from, to) in [
        ("pod1", "10.1.0.12"),
        ("pod1", "10.1.0.1"),
        ("pod1", "192.0.2.1"),
        ("pod1", "192.0.2.2"),
        ("far", "10.1.0.11"),
        ("node", "10.1.0.12"),
        ("pod1", "fd01::12"),
        ("pod1", "fd01::1"),
        ("pod1", "2001:db8::2"),
        ("far", "fd01::11"),
        ("node", "fd01::12"),
    ] {
        let out = net.try_sh(from, &format!("ping -n -c 2 -i 0.05 -W 1 {to}"));
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        eprintln!("{from} -> {to}\n{text}");
        assert!(out.status.success(), "{from} to {to}: {text}\n{}", loaded::metrics(&ebpf));
    }
    eprintln!("{}", loaded::metrics(&ebpf));
    assert_ne!(loaded::metric(&ebpf, metric_index(ForwardReason::ToNetwork as u8, Direction::Egress)), 0);
    for reason in DropReason::ALL {
        assert_eq!(loaded::metric(&ebpf, metric_index(*reason as u8, Direction::Egress)), 0, "{}", reason.name());
    }
}
