//! The observer over a real socket, with the client that `pleopod observe` uses.

use super::*;
use crate::eyes::Eyes;
use crate::scene;
use pleopod_api::flow::FlowFilter;
use pleopod_api::observer::observer_client::ObserverClient;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use zerocopy::IntoBytes;

async fn serve(eyes: &Eyes) -> (tempfile::TempDir, ObserverClient<Channel>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hubble.sock");
    let listener = UnixListenerStream::new(UnixListener::bind(&path).unwrap());
    tokio::spawn(Server::builder().add_service(eyes.observer()).serve_with_incoming(listener));
    let channel = Endpoint::from_shared(format!("unix:{}", path.display())).unwrap().connect().await.unwrap();
    (dir, ObserverClient::new(channel))
}

/// Ports of the flows, and `-count` for lost events.
async fn ask(client: &mut ObserverClient<Channel>, request: GetFlowsRequest) -> Vec<i64> {
    let mut stream = client.get_flows(request).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        all.push(number(&response));
    }
    all
}

fn number(response: &GetFlowsResponse) -> i64 {
    assert_eq!(response.node_name, "k8s-s");
    match response.response_types.as_ref().unwrap() {
        ResponseTypes::Flow(f) => match f.l4.as_ref().unwrap().protocol.as_ref().unwrap() {
            flow::layer4::Protocol::Tcp(tcp) => i64::from(tcp.source_port),
            other => panic!("{other:?}"),
        },
        ResponseTypes::LostEvents(lost) => -i64::try_from(lost.num_events_lost).unwrap(),
        ResponseTypes::NodeStatus(_) => panic!("no relay"),
    }
}

fn see(eyes: &Eyes, port: u16) {
    let mut packet = scene::tcp(0x02, false);
    packet.sport = pleopod_abi::Be16::new(port);
    eyes.ingest(packet.as_bytes()).unwrap();
    eyes.publish();
}

fn last(number: u64) -> GetFlowsRequest {
    GetFlowsRequest { number, ..Default::default() }
}

#[tokio::test]
async fn last_first_and_all() {
    let eyes = scene::eyes(16);
    (1..=20).for_each(|port| see(&eyes, port));
    let (_dir, mut client) = serve(&eyes).await;
    assert_eq!(ask(&mut client, last(3)).await, [18, 19, 20]);
    assert_eq!(ask(&mut client, GetFlowsRequest { first: true, ..last(3) }).await, [5, 6, 7]);
    assert_eq!(ask(&mut client, last(0)).await.len(), 16);
    assert_eq!(ask(&mut client, last(100)).await.len(), 16);
}

#[tokio::test]
async fn the_number_counts_what_the_filter_takes() {
    let eyes = scene::eyes(16);
    (1..=10).for_each(|port| see(&eyes, port));
    let (_dir, mut client) = serve(&eyes).await;
    let wanted = FlowFilter { source_port: vec!["2".into(), "4".into(), "6".into()], ..Default::default() };
    let unwanted = FlowFilter { source_port: vec!["4".into()], ..Default::default() };
    let request = GetFlowsRequest { whitelist: vec![wanted.clone()], ..last(2) };
    assert_eq!(ask(&mut client, request.clone()).await, [4, 6]);
    let request = GetFlowsRequest { blacklist: vec![unwanted], ..request };
    assert_eq!(ask(&mut client, request).await, [2, 6]);
}

#[tokio::test]
async fn since_and_until() {
    let eyes = scene::eyes(16);
    see(&eyes, 1);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let middle = timestamp(clock::realtime());
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    see(&eyes, 2);
    let (_dir, mut client) = serve(&eyes).await;
    assert_eq!(ask(&mut client, GetFlowsRequest { since: Some(middle), ..last(0) }).await, [2]);
    assert_eq!(ask(&mut client, GetFlowsRequest { until: Some(middle), ..last(0) }).await, [1]);
}

#[tokio::test]
async fn following_starts_now_and_goes_on() {
    let eyes = scene::eyes(16);
    see(&eyes, 1);
    let (_dir, mut client) = serve(&eyes).await;
    let follow = |number| GetFlowsRequest { follow: true, ..last(number) };
    let mut from_now = client.get_flows(follow(0)).await.unwrap().into_inner();
    let mut with_last = client.get_flows(follow(1)).await.unwrap().into_inner();
    assert_eq!(number(&with_last.message().await.unwrap().unwrap()), 1);
    while eyes.stats().seen < 5 {
        see(&eyes, 2);
    }
    assert_eq!(number(&from_now.message().await.unwrap().unwrap()), 2);
    assert_eq!(number(&with_last.message().await.unwrap().unwrap()), 2);
}

#[tokio::test]
async fn losses_stand_among_the_flows() {
    let eyes = scene::eyes(16);
    eyes.lost_in_kernel(1000);
    see(&eyes, 1);
    eyes.lost_in_kernel(1007);
    see(&eyes, 2);
    let (_dir, mut client) = serve(&eyes).await;
    // What was lost before the start is not news.
    assert_eq!(ask(&mut client, last(2)).await, [1, -7, 2]);
    assert_eq!(eyes.stats().lost_in_kernel, 7);
}

#[tokio::test]
async fn a_slow_follower_hears_how_many_it_lost() {
    let eyes = scene::eyes(16);
    see(&eyes, 1);
    let inner = Hubble::new(eyes.inner());
    let request = GetFlowsRequest { follow: true, ..last(1) };
    let mut stream = inner.get_flows(Request::new(request)).await.unwrap().into_inner();
    use tokio_stream::StreamExt;
    assert_eq!(number(&stream.next().await.unwrap().unwrap()), 1);
    // The task that reads for this client cannot run in between.
    (0..50).for_each(|_| see(&eyes, 2));
    assert_eq!(number(&stream.next().await.unwrap().unwrap()), -34);
    assert_eq!(number(&stream.next().await.unwrap().unwrap()), 2);
}

/// One worker for everybody: whoever looks through the whole ring must let others have it in between.
#[tokio::test]
async fn a_search_in_vain_leaves_time_for_others() {
    let eyes = scene::eyes(20_000);
    (0..20_000).for_each(|_| see(&eyes, 1));
    let inner = Hubble::new(eyes.inner());
    let none = FlowFilter { source_port: vec!["2".into()], ..Default::default() };
    for number in [0, 5] {
        let request = GetFlowsRequest { whitelist: vec![none.clone()], ..last(number) };
        let mut stream = inner.get_flows(Request::new(request)).await.unwrap().into_inner();
        let mut turns = 0;
        loop {
            use tokio_stream::StreamExt;
            tokio::select! {
                biased;
                found = stream.next() => break assert!(found.is_none()),
                () = tokio::task::yield_now() => turns += 1,
            }
        }
        assert!(turns >= 20, "{turns} turns in a search of 20000 for {number}");
    }
}

#[tokio::test]
async fn nonsense_is_refused() {
    let eyes = scene::eyes(16);
    let (_dir, mut client) = serve(&eyes).await;
    let request = GetFlowsRequest { first: true, follow: true, ..Default::default() };
    assert_eq!(client.get_flows(request).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let filter = FlowFilter { source_ip: vec!["x".into()], ..Default::default() };
    let status = client.get_flows(GetFlowsRequest { whitelist: vec![filter], ..last(1) }).await.unwrap_err();
    assert_eq!(status.message(), "filter source_ip \"x\": expected an address or CIDR");
    assert_eq!(
        client.get_agent_events(GetAgentEventsRequest::default()).await.unwrap_err().code(),
        tonic::Code::Unimplemented
    );
}

#[tokio::test]
async fn status_nodes_and_namespaces() {
    let eyes = scene::eyes(16);
    (0..20).for_each(|_| see(&eyes, 1));
    assert!(eyes.ingest(&[1, 2, 3]).is_err());
    let (_dir, mut client) = serve(&eyes).await;
    let status = client.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (16, 16, 20));
    assert!(status.flows_rate > 0.0 && status.flows_rate <= 20.0, "{}", status.flows_rate);
    let nodes = client.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!((nodes.len(), nodes[0].name.as_str()), (1, "k8s-s"));
    let namespaces = client.get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    assert_eq!(namespaces, [Namespace { cluster: "default".into(), namespace: "default".into() }]);
    assert_eq!(eyes.stats().lost_in_agent, 1);
}

#[tokio::test]
async fn watchers_see_events_in_words() {
    use tokio_stream::StreamExt;
    let eyes = scene::eyes(16);
    let mut trace = Box::pin(eyes.monitor(vec!["trace".into()]).unwrap());
    eyes.ingest(
        scene::sock(pleopod_abi::reason::XlatePoint::PreForward, false, scene::KUBE_DNS, 53).as_bytes(),
    )
    .unwrap();
    see(&eyes, 41320);
    let event = trace.next().await.unwrap();
    assert_eq!(
        event.summary,
        "-> to-network endpoint 416 ifindex 10 identity 39126->25054 state established: 172.16.0.230:41320 -> \
         172.16.1.111:80 tcp SYN (packets 1, last of 74 bytes)"
    );
    assert_eq!(event.fields["destination_port"], "80");
    assert!(eyes.monitor(vec!["nonsense".into()]).is_err());
}

#[test]
fn metrics_are_exported() {
    let eyes = scene::eyes(16);
    see(&eyes, 1);
    let _ = eyes.ingest(&[]);
    let mut registry = prometheus_client::registry::Registry::default();
    eyes.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "hubble_flows_processed_total{type=\"Trace\",subtype=\"to-network\",verdict=\"FORWARDED\"} 1",
        "hubble_tcp_flags_total{flag=\"SYN\"} 1",
        "hubble_lost_events_total{source=\"undecodable\"} 1",
        "hubble_followers 0",
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
}
