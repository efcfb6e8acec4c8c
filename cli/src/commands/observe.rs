//! `pleopod observe`: asks the observers for flows and prints them as Hubble's client does.
//!
//! One node is asked, or every node of the lab; then flows are put in order of time, as a relay would.

mod filter;
mod format;
mod range;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use pleopod_api::observer::GetFlowsResponse;
use pleopod_api::observer::observer_client::ObserverClient;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use crate::agent;
use crate::args;
use crate::failure::{Failure, Result};
use crate::place;
use format::Printer;

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
    for (name, mut client) in sources {
        let (request, sender) = (request.clone(), sender.clone());
        tokio::spawn(async move {
            let failed = |status: tonic::Status| Failure::call("observe flows", &name, &status);
            let mut stream = match client.get_flows(request).await {
                Ok(answer) => answer.into_inner(),
                Err(status) => return drop(sender.send(Err(failed(status))).await),
            };
            loop {
                let item = match stream.message().await {
                    Ok(Some(message)) => Ok(message),
                    Ok(None) => return,
                    Err(status) => Err(failed(status)),
                };
                let last = item.is_err();
                if sender.send(item).await.is_err() || last {
                    return;
                }
            }
        });
    }
    drop(sender);

    if flags.follow {
        follow(&mut flows, &mut printer, several).await?;
        return Err(Failure::failed(
            "the observer ended the stream of flows: its agent has stopped or restarted",
        ));
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

/// The observers to ask, with a name for messages.
async fn sources(
    place: &args::Place,
    flags: &args::Observe,
) -> Result<Vec<(String, ObserverClient<Channel>)>> {
    if let Some(server) = &flags.server {
        let channel = match server.strip_prefix("unix:") {
            Some(path) => {
                agent::channel(path.strip_prefix("//").unwrap_or(path).as_ref(), "observer").await?
            }
            None => {
                let wrong = |error: tonic::transport::Error| {
                    Failure::failed(format!("cannot reach the observer at {server}: {error}"))
                };
                Endpoint::from_shared(format!("http://{server}"))
                    .map_err(|_| {
                        Failure::usage(format!("--server {server}: expected HOST:PORT or unix:PATH"))
                    })?
                    .connect_timeout(Duration::from_secs(5))
                    .connect()
                    .await
                    .map_err(wrong)?
            }
        };
        return Ok(vec![(server.clone(), client(channel))]);
    }
    let all = place::find_all(place)?;
    let (mut sources, mut failures) = (Vec::new(), Vec::new());
    for found in &all {
        let socket = found.hubble();
        match agent::channel(&socket, "observer").await {
            Ok(channel) => sources.push((socket.display().to_string(), client(channel))),
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

fn client(channel: Channel) -> ObserverClient<Channel> {
    ObserverClient::new(channel).max_decoding_message_size(16 << 20)
}
