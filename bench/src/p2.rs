//! P2: pod to pod on one node, flows on. Goals: request/response at most 1.04 x a bare redirect_peer; a connection for each
//! exchange at most 1.10 x R0.

use std::net::SocketAddr;

use crate::exchange::Mode;
use crate::lab::{Bins, Lab};
use crate::rounds::{Side, Turns};
use crate::wire::{Crossing, Path};

/// Prints the comparisons.
pub fn run(bins: &Bins, turns: &Turns) -> anyhow::Result<()> {
    let direct = Path::direct(turns.cpu)?;
    let bare = Path::same_node(Crossing::Redirect, turns.cpu)?;
    let forwarded = Path::same_node(Crossing::Forwarding, turns.cpu)?;
    let lab = Lab::up(bins)?;
    let (client, server) = (lab.pod("client", "n1")?, lab.pod("server", "n1")?);
    let to = SocketAddr::new(server.address, 7000);
    let _server = server.place.serve(to, turns.cpu)?;
    for (mode, title) in [
        (Mode::Rr, "P2 same node, TCP request/response (goal <= 1.04 x RP)"),
        (Mode::Crr, "P2 same node, TCP connect/request/response (goal <= 1.10 x R0)"),
    ] {
        let reference = |name: &str, path: &Path| {
            let (near, far, turns) = (path.near(), path.far(), *turns);
            Side::new(name, move || near.ask(far, mode, &turns))
        };
        let sides = vec![
            reference("R0 node to node, one veth", &direct),
            reference("RP bare redirect_peer", &bare),
            reference("R2 ip_forward", &forwarded),
            Side::new("Pleopod, one node, flows on", || client.place.ask(to, mode, turns)),
        ];
        turns.run(sides)?.print(title, &[0, 1, 2]);
    }
    Ok(())
}
