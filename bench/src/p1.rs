//! P1: pod to pod across nodes, native routing. Goal: at most 1.04 x R1, and always faster than the kernel's forwarding.

use std::net::SocketAddr;

use crate::exchange::Mode;
use crate::lab::{Bins, Lab};
use crate::rounds::{Side, Turns};
use crate::wire::{Crossing, Path};

/// Prints the comparison.
pub fn run(bins: &Bins, turns: &Turns) -> anyhow::Result<()> {
    let direct = Path::direct(turns.cpu)?;
    let bare = Path::across(Crossing::Redirect, turns.cpu)?;
    let forwarded = Path::across(Crossing::Forwarding, turns.cpu)?;
    let lab = Lab::up(bins)?;
    let (client, server) = (lab.pod("client", "n1")?, lab.pod("server", "n2")?);
    let to = SocketAddr::new(server.address, 7000);
    let _server = server.place.serve(to, turns.cpu)?;
    let reference = |name: &str, path: &Path| {
        let (near, far, turns) = (path.near(), path.far(), *turns);
        Side::new(name, move || near.ask(far, Mode::Rr, &turns))
    };
    let sides = vec![
        reference("R0 node to node, one veth", &direct),
        reference("R1 bare redirect, same hops", &bare),
        reference("R2 ip_forward, same hops", &forwarded),
        Side::new("Pleopod, two nodes, flows on", || client.place.ask(to, Mode::Rr, turns)),
    ];
    turns
        .run(sides)?
        .print("P1 cross-node native, TCP request/response (goal <= 1.04 x R1, < R2)", &[0, 1, 2]);
    Ok(())
}
