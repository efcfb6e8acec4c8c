//! How long Maglev tables take: `cargo run --release -p pleopod-apply --example maglev [SERVICES [BACKENDS [SIZE]]]`.

use std::net::SocketAddr;
use std::time::Instant;

use pleopod_apply::balance::{Member, maglev};
use pleopod_model::intent::Protocol;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|n| n.parse::<u32>().ok());
    let mut next = |usual| numbers.next().unwrap_or(usual);
    let (services, backends, size) = (next(10_000), next(3), maglev::size(next(1021)));
    let member = |n: u32| -> Member {
        let [a, b, c, d] = (0x0A00_0000 + n).to_be_bytes();
        ((SocketAddr::from(([a, b, c, d], 8080)), Protocol::Tcp), 1)
    };
    let all: Vec<Vec<Member>> =
        (0..services).map(|s| (0..backends).map(|b| member(s * backends + b)).collect()).collect();
    let start = Instant::now();
    let places: usize = all.iter().map(|members| maglev::table(members, size).len()).sum();
    println!("{services} Services of {backends} backends, {size} places each: {:.1?}", start.elapsed());
    assert_eq!(places, services as usize * size as usize);
}
