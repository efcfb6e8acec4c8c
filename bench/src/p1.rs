//! P1: pod to pod across nodes, native routing. Goal: at most 1.04 x R1, and always faster than the kernel's forwarding.

use crate::exchange::Mode;
use crate::lab::{Bins, Pair};
use crate::rounds::{Side, Turns};
use crate::wire::{Crossing, Path};

/// Prints the comparison; with the binaries of `against` as one more side.
pub fn run(bins: &Bins, against: Option<&Bins>, turns: &Turns) -> anyhow::Result<()> {
    let direct = Path::direct(turns.cpu)?;
    let bare = Path::across(Crossing::Redirect, turns.cpu)?;
    let forwarded = Path::across(Crossing::Forwarding, turns.cpu)?;
    let lab = Pair::up(bins, "n2", turns.cpu)?;
    let other = against.map(|bins| Pair::up(bins, "n2", turns.cpu)).transpose()?;
    let reference = |name: &str, path: &Path| {
        let (near, far, turns) = (path.near(), path.far(), *turns);
        Side::new(name, move || near.ask(far, Mode::Rr, &turns))
    };
    let mut sides = vec![
        reference("R0 node to node, one veth", &direct),
        reference("R1 bare redirect, same hops", &bare),
        reference("R2 ip_forward, same hops", &forwarded),
        Side::new("Pleopod, two nodes, flows on", || lab.client.place.ask(lab.to, Mode::Rr, turns)),
    ];
    if let Some(other) = &other {
        sides.push(Side::new("against", || other.client.place.ask(other.to, Mode::Rr, turns)));
    }
    turns
        .run(sides)?
        .print("P1 cross-node native, TCP request/response (goal <= 1.04 x R1, < R2)", &[0, 1, 2]);
    Ok(())
}
