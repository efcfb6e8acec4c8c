//! P2: pod to pod on one node, flows on. Goals: request/response at most 1.04 x a bare redirect_peer; a connection for each
//! exchange at most 1.10 x R0.

use crate::exchange::Mode;
use crate::lab::{Bins, Pair};
use crate::rounds::{Side, Turns};
use crate::wire::{Crossing, Path};

/// Prints the comparisons; with the binaries of `against` as one more side.
pub fn run(bins: &Bins, against: Option<&Bins>, turns: &Turns) -> anyhow::Result<()> {
    let direct = Path::direct(turns.cpu)?;
    let bare = Path::same_node(Crossing::Redirect, turns.cpu)?;
    let forwarded = Path::same_node(Crossing::Forwarding, turns.cpu)?;
    let lab = Pair::up(bins, "n1", turns.cpu)?;
    let other = against.map(|bins| Pair::up(bins, "n1", turns.cpu)).transpose()?;
    for (mode, title) in [
        (Mode::Rr, "P2 same node, TCP request/response (goal <= 1.04 x RP)"),
        (Mode::Crr, "P2 same node, TCP connect/request/response (goal <= 1.10 x R0)"),
    ] {
        let reference = |name: &str, path: &Path| {
            let (near, far, turns) = (path.near(), path.far(), *turns);
            Side::new(name, move || near.ask(far, mode, &turns))
        };
        let mut sides = vec![
            reference("R0 node to node, one veth", &direct),
            reference("RP bare redirect_peer", &bare),
            reference("R2 ip_forward", &forwarded),
            Side::new("Pleopod, one node, flows on", || lab.client.place.ask(lab.to, mode, turns)),
        ];
        if let Some(other) = &other {
            sides.push(Side::new("against", || other.client.place.ask(other.to, mode, turns)));
        }
        turns.run(sides)?.print(title, &[0, 1, 2]);
    }
    Ok(())
}
