//! `pleopod observe`: asks the observers for flows and prints them as Hubble's client does.
//!
//! One node is asked, or every node of the lab; then flows are put in order of time, as a relay would.

mod filter;
mod format;
mod range;
mod source;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use pleopod_api::observer::GetFlowsResponse;
use tokio::sync::mpsc;

use crate::args;
use crate::failure::{Failure, Result};
use crate::place;
use format::Printer;
use source::Source;

/// While following several nodes, how long a flow waits for an older one of another node.
const REORDER: Duration = Duration::from_millis(200);

/// Prints flows.
pub async fn run(place: &args::Place, flags: &args::Observe) -> Result<ExitCode> {
    let mut request = range::request(flags, filter::filters(&flags.filter)?, jiff::Timestamp::now())?;
    request.blacklist = filter::filters(&flags.without)?;
    let sources = sources(place, flags).await?;
    let mut printer = Printer::new(flags);
    let count = sources.len();
    let several = count > 1;
    let (sender, mut flows) = mpsc::channel(1024);
    for source in sources {
        tokio::spawn(source.ask(request.clone(), sender.clone()));
    }
    drop(sender);

    if flags.follow {
        follow(&mut flows, &mut printer, several).await?;
        printer.end()?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut kept, mut failures) = (Vec::new(), Vec::new());
    while let Some(item) = flows.recv().await {
        match item {
            Ok(message) if several => kept.push(message),
            Ok(message) => printer.print(&message)?,
            Err(failure) => failures.push(failure),
        }
    }
    if failures.len() == count
        && let Some(failure) = failures.pop()
    {
        return Err(failure);
    }
    failures.iter().for_each(missing);
    kept.sort_by_key(when);
    for message in range::cut(kept, &request) {
        printer.print(&message)?;
    }
    printer.end()?;
    Ok(ExitCode::SUCCESS)
}

async fn follow(
    flows: &mut mpsc::Receiver<Result<GetFlowsResponse>>,
    printer: &mut Printer,
    several: bool,
) -> Result<()> {
    if !several {
        while let Some(item) = flows.recv().await {
            printer.print(&item?)?;
            if flows.is_empty() {
                printer.flush()?;
            }
        }
        return Ok(());
    }
    let mut waiting = Vec::new();
    loop {
        let deadline = tokio::time::Instant::now() + REORDER;
        let mut open = true;
        while let Ok(item) = tokio::time::timeout_at(deadline, flows.recv()).await {
            match item {
                Some(Ok(message)) => waiting.push(message),
                Some(Err(failure)) => missing(&failure),
                None => {
                    open = false;
                    break;
                }
            }
        }
        waiting.sort_by_key(when);
        for message in waiting.drain(..) {
            printer.print(&message)?;
        }
        printer.flush()?;
        if !open {
            return Ok(());
        }
    }
}

/// Says that a node's flows are missing; the others' are still worth having.
fn missing(failure: &Failure) {
    let _ = writeln!(std::io::stderr(), "pleopod: {failure}; flows of that node are missing");
}

fn when(message: &GetFlowsResponse) -> (i64, i32) {
    message.time.as_ref().map_or((0, 0), |time| (time.seconds, time.nanos))
}

/// The observers to ask.
async fn sources(place: &args::Place, flags: &args::Observe) -> Result<Vec<Source>> {
    if let Some(server) = &flags.server {
        return Ok(vec![Source::server(server).await?]);
    }
    let all = place::find_all(place)?;
    let (mut sources, mut failures) = (Vec::new(), Vec::new());
    for found in &all {
        match Source::socket(found.hubble()).await {
            Ok(source) => sources.push(source),
            Err(failure) => failures.push(failure),
        }
    }
    if sources.is_empty()
        && let Some(failure) = failures.pop()
    {
        return Err(failure);
    }
    failures.iter().for_each(missing);
    Ok(sources)
}
