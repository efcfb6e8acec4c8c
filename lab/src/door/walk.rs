//! Walking through a lab.

use std::io::{self, IsTerminal};

use anyhow::{Context, bail};
use pleopod_lab::layout::Layout;
use pleopod_lab::walk::{W1_TOPOLOGY, Which};

use super::args::Up;
use super::{running, topology_of, up};

pub async fn walk(name: Option<&str>, which: Option<Which>) -> anyhow::Result<()> {
    let (which, layout) = match which {
        Some(which) => (which, lab_for(name, which).await?),
        None => {
            let layout = running(name)?;
            let fitting = Which::of(&topology_of(&layout)?);
            let which = fitting.with_context(|| {
                format!("no walk fits lab {}; `pleopod lab walk w4` makes a lab of its own", layout.lab)
            })?;
            (which, layout)
        }
    };
    let programs = std::env::current_exe()?.parent().context("this program's directory")?.to_owned();
    let lab = layout.lab.clone();
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let walk = move || which.walk(&layout, &programs, io::stdout(), colour);
    let tally = tokio::task::spawn_blocking(walk).await??;
    println!("# Lab {lab} stays up; `pleopod lab down --name {lab}` takes it away.");
    if !tally.failed.is_empty() {
        bail!("the walk: {} of {} checks did not hold", tally.failed.len(), tally.held + tally.failed.len());
    }
    Ok(())
}

/// The lab that runs and fits the walk, or one that is made for it.
async fn lab_for(name: Option<&str>, which: Which) -> anyhow::Result<Layout> {
    if let Ok(layout) = running(name) {
        if which.fits(&topology_of(&layout)?) {
            return Ok(layout);
        }
        if let Some(name) = name {
            bail!("lab {name} has not the nodes of this walk; without --name it makes a lab of its own");
        }
    }
    let own = match which {
        Which::W1 => "walk-w1",
        Which::W4 => "walk-w4",
    };
    let layout = Layout::new(name.unwrap_or(own));
    let mut args = Up::default();
    let file = std::env::temp_dir().join(format!("pleopod-walk-{}.yaml", std::process::id()));
    if which == Which::W1 {
        std::fs::write(&file, W1_TOPOLOGY).with_context(|| file.display().to_string())?;
        args.topology = Some(file.clone());
    }
    let made = up::up(Some(&layout.lab), args).await;
    let _ = std::fs::remove_file(file);
    made?;
    println!();
    Ok(layout)
}
