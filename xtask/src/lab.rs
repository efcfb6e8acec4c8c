//! `cargo xtask lab`: from a fresh clone to a cluster that runs, with the walk through it printed.

use std::process::Stdio;

use crate::place::{self, Place};
use crate::setup::{self, Extent};
use crate::steps::Steps;
use crate::{Outcome, compile};

/// Sets up, builds, brings the lab up (the arguments are those of `pleopod lab up`), walks, and says how to go on.
pub fn run(place: &Place, args: &[String]) -> Outcome {
    setup::run(place, Extent::All)?;
    compile::release(place)?;
    let bins = place.target()?.join("release");
    let pleopod = bins.join("pleopod");
    let named = name(args);
    let mut steps = Steps::new("lab", 2);

    let step = steps.next("cluster");
    step.doing("pleopod lab up");
    place::run(place.command(&pleopod).args(["lab", "up"]).args(args))?;
    step.done("up");

    let step = steps.next("walk");
    let has_walk = place
        .command(&pleopod)
        .args(["lab", "walk", "--help"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if has_walk {
        step.doing("pleopod lab walk");
        place::run(place.command(&pleopod).args(["lab", "walk"]).args(&named))?;
        step.done("walked");
    } else {
        step.done("this pleopod-lab has none");
    }

    let option = named.iter().map(|word| format!(" {word}")).collect::<String>();
    let bins = bins.display();
    println!();
    println!("The cluster is up. Go on with:");
    println!("  export PATH={bins}:$PATH");
    println!("  export KUBECONFIG=$(pleopod lab kubeconfig{option})     then kubectl get pods -A -o wide");
    println!("  pleopod observe --follow                              every packet's story");
    println!("Take it down with: cargo xtask down");
    Ok(())
}

/// `--name N` or `--name=N`, which the walk must be told too.
fn name(args: &[String]) -> Vec<String> {
    let Some(at) = args.iter().position(|arg| arg == "--name" || arg.starts_with("--name=")) else {
        return Vec::new();
    };
    let words = if args[at] == "--name" { 2 } else { 1 };
    args[at..].iter().take(words).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::name;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_labs_name_is_passed_on_in_both_spellings() {
        assert_eq!(name(&words("--nodes 2 --name blue --config f")), ["--name", "blue"]);
        assert_eq!(name(&words("--name=blue")), ["--name=blue"]);
        assert_eq!(name(&words("--name")), ["--name"]);
        assert!(name(&words("--nodes 2")).is_empty());
    }
}
