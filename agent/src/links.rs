//! Watches links. The node's own: a route goes with the link it leaves by, and comes back only when someone installs it.
//! Those of pods: one that goes without DEL is nobody's neighbour any more.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Context as _;
use pleopod_sys_link::{Error, Event, Monitor};
use rustix::event::{PollFd, PollFlags, poll};

use crate::core::{Command, Core, Handle};
use crate::log::one_line;

/// Changes come in flocks (down, up, running): they are taken together.
const FLOCK: Duration = Duration::from_millis(20);

/// Starts the thread that has the core look over its links and routes whenever one of `links` changes, and tells it which
/// other links went: most of them by its own doing.
pub fn watch(core: Handle, links: Vec<String>) -> anyhow::Result<()> {
    let monitor = Monitor::open().context("watching links")?;
    let body = move || {
        if let Err(error) = run(monitor, &core, &links) {
            tracing::error!(
                error = one_line(&error),
                "links are not watched any more; they are looked at every 5 s"
            );
        }
    };
    std::thread::Builder::new().name("links".into()).spawn(body).context("starting the watch of links")?;
    Ok(())
}

fn run(mut monitor: Monitor, core: &Handle, links: &[String]) -> anyhow::Result<()> {
    loop {
        wait(&monitor)?;
        let mut concerned = false;
        let mut gone = Vec::new();
        loop {
            match monitor.read() {
                Ok(events) if events.is_empty() => break,
                Ok(events) => {
                    concerned |= events.iter().any(|event| concerns(event, links));
                    gone.extend(events.iter().filter_map(|event| match event {
                        Event::LinkGone(link) if !links.contains(&link.name) => Some(link.index),
                        _ => None,
                    }));
                }
                // Something happened, though we can't tell what.
                Err(Error::Answer { .. }) => concerned = true,
                Err(error) => return Err(error.into()),
            }
        }
        if !gone.is_empty()
            && core.send(Command::Inspect(Box::new(move |core: &mut Core| core.links_gone(&gone)))).is_err()
        {
            return Ok(());
        }
        if !concerned {
            continue;
        }
        std::thread::sleep(FLOCK);
        if core.send(Command::Inspect(Box::new(Core::follow_links))).is_err() {
            return Ok(());
        }
    }
}

/// Whether an event is about one of our links, or may be.
fn concerns(event: &Event, links: &[String]) -> bool {
    match event {
        Event::Link(link) | Event::LinkGone(link) => links.contains(&link.name),
        // An address names its link by number only; pods' host sides have none.
        Event::Address(_) | Event::AddressGone(_) | Event::Lost => true,
    }
}

fn wait(monitor: &Monitor) -> anyhow::Result<()> {
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(monitor.as_fd(), PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for changes of links"),
        }
    }
}
