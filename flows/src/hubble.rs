//! Hubble's observer, served from the ring.
//!
//! A client that reads too slowly loses events and is told how many; it never holds up the writer or other clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pleopod_api::observer::get_flows_response::ResponseTypes;
use pleopod_api::observer::observer_server::Observer;
use pleopod_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, Namespace, Node, ServerStatusRequest, ServerStatusResponse,
};
use pleopod_api::{Timestamp, flow, relay};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::clock;
use crate::eyes::Inner;
use crate::filter::Filters;
use crate::flow::{flow as message, timestamp};
use crate::ring::{Entry, Read};

#[cfg(test)]
mod tests;

/// Messages that wait for a client's connection.
const AHEAD: usize = 256;

/// Entries that are looked at in one go: a large ring, or a filter that takes little of a flood, must not keep a worker
/// from its other tasks.
const STRETCH: u32 = 512;

/// The observer service.
#[derive(Clone, Debug)]
pub struct Hubble(Arc<Inner>);

/// A request for flows, checked.
struct Query {
    filters: Filters,
    /// 0 for no limit.
    number: u64,
    first: bool,
    follow: bool,
    since: i64,
    until: i64,
}

// === impl Hubble ===

impl Hubble {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self(inner)
    }
}

#[tonic::async_trait]
impl Observer for Hubble {
    type GetFlowsStream = ReceiverStream<Result<GetFlowsResponse, Status>>;
    type GetAgentEventsStream = ReceiverStream<Result<GetAgentEventsResponse, Status>>;
    type GetDebugEventsStream = ReceiverStream<Result<GetDebugEventsResponse, Status>>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        let query = Query::check(&request.into_inner())?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let inner = Arc::clone(&self.0);
        // Subscribed before the first look at the ring, so that nothing falls between.
        let news = inner.ring.news();
        tokio::spawn(async move {
            let follow = query.follow;
            if follow {
                inner.metrics.followers.fetch_add(1, Ordering::Relaxed);
            }
            answer(&inner, &query, news, sender).await;
            if follow {
                inner.metrics.followers.fetch_sub(1, Ordering::Relaxed);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        Err(Status::unimplemented("agent events are not recorded"))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(Status::unimplemented("the datapath has no debug events"))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let inner = &self.0;
        let node = Node {
            name: inner.origin.node.clone(),
            version: inner.version.clone(),
            state: relay::NodeState::NodeConnected.into(),
            uptime_ns: clock::monotonic().saturating_sub(inner.started),
            num_flows: inner.ring.len(),
            max_flows: inner.ring.capacity(),
            seen_flows: inner.seen.load(Ordering::Relaxed),
            ..Default::default()
        };
        Ok(Response::new(GetNodesResponse { nodes: vec![node] }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let inner = &self.0;
        let hour_ago = clock::realtime().saturating_sub(3_600_000_000_000);
        let (mut names, mut pace) = (BTreeSet::new(), Pace::default());
        for number in inner.ring.oldest()..inner.ring.next() {
            if let Read::Entry(Entry::Event(event)) = inner.ring.read(number)
                && event.time >= hour_ago
            {
                for end in [&event.source, &event.destination] {
                    names.extend(end.pod().map(|(namespace, _)| namespace.to_owned()));
                }
            }
            pace.step().await;
        }
        let cluster = &inner.origin.cluster;
        let namespaces =
            names.into_iter().map(|namespace| Namespace { cluster: cluster.clone(), namespace }).collect();
        Ok(Response::new(GetNamespacesResponse { namespaces }))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let inner = &self.0;
        Ok(Response::new(ServerStatusResponse {
            num_flows: inner.ring.len(),
            max_flows: inner.ring.capacity(),
            seen_flows: inner.seen.load(Ordering::Relaxed),
            uptime_ns: clock::monotonic().saturating_sub(inner.started),
            version: inner.version.clone(),
            flows_rate: inner.rate(),
            ..Default::default()
        }))
    }
}

// === impl Query ===

impl Query {
    fn check(request: &GetFlowsRequest) -> Result<Self, Status> {
        if request.first && request.follow {
            return Err(Status::invalid_argument("first and follow exclude each other"));
        }
        let filters = Filters::compile(&request.whitelist, &request.blacklist)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Self {
            filters,
            number: request.number,
            first: request.first,
            follow: request.follow,
            since: request.since.as_ref().map_or(i64::MIN, nanoseconds),
            until: request.until.as_ref().map_or(i64::MAX, nanoseconds),
        })
    }

    /// Whether the client asked for this entry.
    fn takes(&self, entry: &Entry, number: u64, inner: &Inner) -> bool {
        let time = entry.time();
        self.since <= time
            && time <= self.until
            && match entry {
                Entry::Event(event) => self.filters.take(event, number, &inner.origin),
                Entry::Lost(_) => true,
            }
    }

    /// Number of the first entry to look at.
    async fn start(&self, inner: &Inner) -> u64 {
        let (oldest, next) = (inner.ring.oldest(), inner.ring.next());
        if self.first || (self.number == 0 && (!self.follow || self.since > i64::MIN)) {
            return oldest;
        }
        let (mut at, mut found, mut pace) = (next, 0, Pace::default());
        while at > oldest && found < self.number {
            at -= 1;
            match inner.ring.read(at) {
                // Only events count towards the number.
                Read::Entry(entry @ Entry::Event(_)) => found += u64::from(self.takes(&entry, at, inner)),
                Read::Entry(Entry::Lost(_)) | Read::Later => {}
                Read::Gone(_) => return at + 1,
            }
            pace.step().await;
        }
        at
    }
}

/// Counts entries that were looked at.
#[derive(Default)]
struct Pace(u32);

impl Pace {
    /// One more. Lets other tasks run after each [`STRETCH`], and says so.
    async fn step(&mut self) -> bool {
        self.0 += 1;
        let rest = self.0.is_multiple_of(STRETCH);
        if rest {
            tokio::task::yield_now().await;
        }
        rest
    }
}

/// Sends what the client asked for until it is all sent, or the client leaves.
async fn answer(
    inner: &Inner,
    query: &Query,
    mut news: tokio::sync::watch::Receiver<u64>,
    sender: mpsc::Sender<Result<GetFlowsResponse, Status>>,
) {
    let end = inner.ring.next();
    let mut at = query.start(inner).await;
    let (mut sent, mut pace) = (0, Pace::default());
    while query.follow || at < end {
        let response = match inner.ring.read(at) {
            Read::Entry(entry) => {
                let number = at;
                at += 1;
                if !query.takes(&entry, number, inner) {
                    if query.follow && entry.time() > query.until {
                        return;
                    }
                    if pace.step().await && sender.is_closed() {
                        return;
                    }
                    continue;
                }
                sent += u64::from(matches!(entry, Entry::Event(_)));
                respond(inner, &entry, number)
            }
            Read::Later => {
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
                continue;
            }
            Read::Gone(oldest) => {
                let lost = oldest.saturating_sub(at).max(1);
                at += lost;
                inner.metrics.lost_in_reading.fetch_add(lost, Ordering::Relaxed);
                overtaken(inner, lost)
            }
        };
        if sender.send(Ok(response)).await.is_err() {
            return;
        }
        if query.first && query.number > 0 && sent == query.number {
            return;
        }
    }
}

fn respond(inner: &Inner, entry: &Entry, number: u64) -> GetFlowsResponse {
    let response = match entry {
        Entry::Event(event) => ResponseTypes::Flow(message(event, number, &inner.origin)),
        Entry::Lost(lost) => ResponseTypes::LostEvents(flow::LostEvent {
            source: flow::LostEventSource::PerfEventRingBuffer.into(),
            num_events_lost: lost.count,
            ..Default::default()
        }),
    };
    whole(inner, response, entry.time())
}

/// The client was overtaken by the writer.
fn overtaken(inner: &Inner, lost: u64) -> GetFlowsResponse {
    let lost = flow::LostEvent {
        source: flow::LostEventSource::HubbleRingBuffer.into(),
        num_events_lost: lost,
        ..Default::default()
    };
    whole(inner, ResponseTypes::LostEvents(lost), clock::realtime())
}

fn whole(inner: &Inner, response: ResponseTypes, time: i64) -> GetFlowsResponse {
    GetFlowsResponse {
        response_types: Some(response),
        node_name: inner.origin.node.clone(),
        time: Some(timestamp(time)),
    }
}

fn nanoseconds(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanos.into())
}
