//! The cluster's zone, from Services, EndpointSlices and namespaces as the API has them.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use super::zone::Zone;

/// How long changes are gathered before the zone is made again.
const GATHER: Duration = Duration::from_millis(20);

/// What the zone is made of.
#[derive(Default)]
struct Objects {
    namespaces: Kept<Namespace>,
    services: Kept<Service>,
    slices: Kept<EndpointSlice>,
}

/// Objects of one kind, as a watch delivers them.
struct Kept<K> {
    current: HashMap<(String, String), K>,
    arriving: HashMap<(String, String), K>,
    synced: bool,
}

/// Keeps the zone as the API says, for ever; `ready` turns true once it is complete.
pub async fn follow(
    client: Client,
    domain: String,
    zone: watch::Sender<Arc<Zone>>,
    ready: watch::Sender<bool>,
) {
    let mut objects = Objects::default();
    let mut namespaces = std::pin::pin!(objects_of::<Namespace>(&client));
    let mut services = std::pin::pin!(objects_of::<Service>(&client));
    let mut slices = std::pin::pin!(objects_of::<EndpointSlice>(&client));
    let mut stale = None;
    loop {
        let gathered = async {
            match stale {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let complain = |error: &watcher::Error| eprintln!("[WARNING] plugin/kubernetes: {error}");
        tokio::select! {
            Some(event) = namespaces.next() => match event {
                Ok(event) => objects.namespaces.take(event),
                Err(error) => complain(&error),
            },
            Some(event) = services.next() => match event {
                Ok(event) => objects.services.take(event),
                Err(error) => complain(&error),
            },
            Some(event) = slices.next() => match event {
                Ok(event) => objects.slices.take(event),
                Err(error) => complain(&error),
            },
            () = gathered => {
                stale = None;
                let complete = objects.namespaces.synced && objects.services.synced && objects.slices.synced;
                if complete {
                    zone.send_replace(Arc::new(make(&domain, &objects)));
                    ready.send_replace(true);
                }
                continue;
            }
        }
        stale.get_or_insert_with(|| tokio::time::Instant::now() + GATHER);
    }
}

fn objects_of<K>(client: &Client) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + use<K>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Send
        + serde::de::DeserializeOwned
        + 'static,
{
    watch_objects(Api::<K>::all(client.clone()), watcher::Config::default()).default_backoff()
}

// === impl Kept ===

impl<K> Default for Kept<K> {
    fn default() -> Self {
        Self { current: HashMap::new(), arriving: HashMap::new(), synced: false }
    }
}

impl<K: kube::Resource> Kept<K>
where
    (String, String): Hash,
{
    fn take(&mut self, event: Event<K>) {
        let key = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Event::Apply(object) => {
                self.current.insert(key(&object), object);
            }
            Event::Delete(object) => {
                self.current.remove(&key(&object));
            }
            Event::Init => self.arriving.clear(),
            Event::InitApply(object) => {
                self.arriving.insert(key(&object), object);
            }
            Event::InitDone => {
                self.current = std::mem::take(&mut self.arriving);
                self.synced = true;
            }
        }
    }
}

fn make(domain: &str, objects: &Objects) -> Zone {
    let mut zone = Zone::empty(domain);
    zone.text(&format!("dns-version.{domain}"), "1.1.0");
    for namespace in objects.namespaces.current.values() {
        zone.namespace(&namespace.name_any());
    }
    let mut slices: HashMap<(String, String), Vec<&EndpointSlice>> = HashMap::new();
    for slice in objects.slices.current.values() {
        if let Some(service) = slice.labels().get("kubernetes.io/service-name") {
            slices.entry((slice.namespace().unwrap_or_default(), service.clone())).or_default().push(slice);
        }
    }
    for (key, service) in &objects.services.current {
        let full = format!("{}.{}.svc.{domain}", key.1, key.0);
        add_service(&mut zone, &full, service, slices.get(key).map_or(&[], Vec::as_slice));
    }
    zone
}

fn add_service(zone: &mut Zone, full: &str, service: &Service, slices: &[&EndpointSlice]) {
    let Some(spec) = &service.spec else { return };
    if spec.type_.as_deref() == Some("ExternalName") {
        zone.alias(full, spec.external_name.as_deref().unwrap_or_default());
        return;
    }
    let ips =
        spec.cluster_ips.clone().or_else(|| spec.cluster_ip.clone().map(|ip| vec![ip])).unwrap_or_default();
    let ips: Vec<IpAddr> = ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    if ips.is_empty() {
        add_headless(zone, full, slices);
        return;
    }
    for ip in ips {
        zone.address(full, ip);
        zone.pointer(ip, full);
    }
    for port in spec.ports.iter().flatten() {
        let (Some(name), Ok(number)) = (port.name.as_deref(), u16::try_from(port.port)) else { continue };
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        zone.service(&format!("_{name}._{protocol}.{full}"), number, full);
    }
}

/// A headless Service is its ready endpoints, each under a name of its own too.
fn add_headless(zone: &mut Zone, full: &str, slices: &[&EndpointSlice]) {
    for slice in slices {
        let endpoints = slice.endpoints.iter();
        for endpoint in endpoints.filter(|endpoint| is_ready(endpoint)) {
            for address in endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok()) {
                let dashed = address.to_string().replace(['.', ':'], "-");
                let own = format!("{}.{full}", endpoint.hostname.as_deref().unwrap_or(&dashed));
                zone.address(full, address);
                zone.address(&own, address);
                zone.pointer(address, &own);
                for port in slice.ports.iter().flatten() {
                    let number = port.port.and_then(|port| u16::try_from(port).ok());
                    let (Some(name), Some(number)) = (port.name.as_deref(), number) else { continue };
                    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
                    zone.service(&format!("_{name}._{protocol}.{full}"), number, &own);
                }
            }
        }
    }
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}
