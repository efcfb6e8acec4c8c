//! The CNI plugin's door.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::Arc;

use ipnet::IpNet;
use pleopod_api::agent::cni_server::Cni;
use pleopod_api::agent::{
    Attachment as WireAttachment, CniAddReply, CniAddRequest, CniAddress, CniCheckReply, CniCheckRequest,
    CniDelReply, CniDelRequest, CniGcReply, CniGcRequest, CniRoute, CniStatusReply, CniStatusRequest,
};
use pleopod_intake::{Event, Store};
use pleopod_intake_kube::{Identities, Lookup};
use pleopod_ipam::Attachment;
use pleopod_model::{IdentityId, ObjectName};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use crate::core::pods::{Add, Added, Del, Error};
use crate::core::{Command, Handle, Stopping};
use crate::health::Health;

/// Serves the plugin.
pub struct CniDoor {
    pub core: Handle,
    pub health: Arc<Health>,
    pub lookup: Lookup,
    pub identities: Arc<Identities>,
    /// Name of this node's Node object.
    pub node: String,
}

/// How long ADD waits for the API server to number new labels before it goes on with the identity `init`.
const IDENTITY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// How long a call waits for the core. One that has not started yet (the API server is away and the node's own object
/// can't be read) takes the call up once it has; the runtime is told to ask again.
const CORE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

// === impl CniDoor ===

impl CniDoor {
    /// Waits for the core's answer, not for ever.
    async fn patient<T, E>(&self, answer: impl Future<Output = Result<T, E>>) -> Result<T, Status> {
        match tokio::time::timeout(CORE_PATIENCE, answer).await {
            Ok(answer) => Ok(answer.map_err(|_| Stopping)?),
            Err(_) => {
                let why = self.health.ready().err().unwrap_or_else(|| "it is busy".into());
                Err(Status::unavailable(format!(
                    "pleopod-agent has not got to it within {} s: {why}",
                    CORE_PATIENCE.as_secs()
                )))
            }
        }
    }

    /// The identity of a pod that is about to be connected. A pod the watch has not delivered yet is looked up.
    async fn identity(&self, pod: &ObjectName, uid: &str) -> Result<IdentityId, Status> {
        let known = {
            let (pod, uid) = (pod.clone(), uid.to_owned());
            self.core
                .inspect(move |core| {
                    let there = core.store.intent().pods.get(&pod);
                    there.is_some_and(|p| uid.is_empty() || p.uid == uid)
                        && core.security_labels(&pod).is_some()
                })
                .await?
        };
        if !known {
            let object = self.lookup.pod(pod).await.map_err(|e| Status::unavailable(e.to_string()))?;
            let Some(object) = object else {
                return Err(Status::unavailable(format!(
                    "pod {pod} is not known to the API server (any more)"
                )));
            };
            let mut seen = Store::new();
            seen.apply(Event::Applied(object.clone()));
            let node = seen.intent().pods.get(pod).map(|p| p.node.clone()).unwrap_or_default();
            if node != self.node {
                // The watch would never tell of its end.
                return Err(Status::unavailable(format!(
                    "pod {pod} is on node {node:?}, this is the agent of {}; its sandbox here must go",
                    self.node
                )));
            }
            let namespace = self.lookup.namespace(&pod.namespace).await.ok().flatten();
            let events = [Some(object), namespace].into_iter().flatten().map(Event::Applied).collect();
            self.core.send(Command::Events(events))?;
        }
        let found = {
            let pod = pod.clone();
            self.core
                .inspect(move |core| {
                    let labels = core.security_labels(&pod)?;
                    Some((core.store.identity_of(&labels), labels))
                })
                .await?
        };
        Ok(match found {
            Some((Some(identity), _)) => identity,
            Some((None, labels)) => {
                match tokio::time::timeout(IDENTITY_PATIENCE, self.identities.claim(&labels)).await {
                    Ok(Ok(identity)) => identity,
                    // The core claims again in the background; the pod starts as `init`.
                    _ => IdentityId::INIT,
                }
            }
            None => IdentityId::INIT,
        })
    }

    fn ready(&self) -> Result<(), Status> {
        self.health.ready().map_err(|why| Status::unavailable(format!("pleopod-agent is not ready: {why}")))
    }
}

#[tonic::async_trait]
impl Cni for CniDoor {
    async fn add(&self, request: Request<CniAddRequest>) -> Result<Response<CniAddReply>, Status> {
        let request = request.into_inner();
        self.ready()?;
        let pod = ObjectName::new(request.pod_namespace, request.pod_name);
        let identity = self.identity(&pod, &request.pod_uid).await?;
        let (reply, answer) = oneshot::channel();
        let add = Add {
            attachment: Attachment::new(request.container_id, request.ifname),
            network: request.network,
            netns: request.netns,
            pod,
            pod_uid: request.pod_uid,
            identity,
        };
        self.core.send(Command::Add(add, reply))?;
        let added = answer.await.map_err(|_| Stopping)?.map_err(status)?;
        Ok(Response::new(reply_of(&added)))
    }

    async fn del(&self, request: Request<CniDelRequest>) -> Result<Response<CniDelReply>, Status> {
        let request = request.into_inner();
        let (reply, answer) = oneshot::channel();
        let del = Del { attachment: Attachment::new(request.container_id, request.ifname) };
        self.core.send(Command::Del(del, reply))?;
        let removed = self.patient(answer).await?.map_err(status)?;
        Ok(Response::new(CniDelReply { removed }))
    }

    async fn check(&self, request: Request<CniCheckRequest>) -> Result<Response<CniCheckReply>, Status> {
        let request = request.into_inner();
        let addresses = request.addresses.iter().map(|a| address(a)).collect::<Result<Vec<_>, _>>()?;
        let attachment = Attachment::new(request.container_id, request.ifname);
        let checked = self.core.inspect(move |core| core.check(&attachment, &request.netns, &addresses));
        self.patient(checked).await?.map_err(status)?;
        Ok(Response::new(CniCheckReply {}))
    }

    async fn gc(&self, request: Request<CniGcRequest>) -> Result<Response<CniGcReply>, Status> {
        let CniGcRequest { network, valid } = request.into_inner();
        let valid: Vec<Attachment> =
            valid.into_iter().map(|a| Attachment::new(a.container_id, a.ifname)).collect();
        let collected = self.core.inspect(move |core| core.collect(&network, &valid));
        let (ended, errors) = self.patient(collected).await?;
        if let Some(error) = errors.into_iter().next() {
            return Err(status(error));
        }
        let wire = |a: Attachment| WireAttachment { container_id: a.container_id, ifname: a.ifname };
        Ok(Response::new(CniGcReply { removed: ended.into_iter().map(wire).collect() }))
    }

    async fn status(&self, _: Request<CniStatusRequest>) -> Result<Response<CniStatusReply>, Status> {
        self.ready()?;
        let (free, text) = self
            .core
            .inspect(|core| {
                let usage = core.ipam.usage(pleopod_ipam::Family::V4);
                let v6 = core.ipam.usage(pleopod_ipam::Family::V6);
                let free = |u: pleopod_ipam::Usage| u.total == 0 || (u.used as u128) < u.total;
                let cidrs: Vec<String> = core.ipam.cidrs().map(|c| c.to_string()).collect();
                (free(usage) && free(v6), cidrs.join(", "))
            })
            .await?;
        if free {
            Ok(Response::new(CniStatusReply {}))
        } else {
            Err(Status::unavailable(format!(
                "every address of {text} is in use; delete pods or give the node a larger pod CIDR"
            )))
        }
    }
}

fn address(text: &str) -> Result<IpAddr, Status> {
    let parsed = IpNet::from_str(text).map(|n| n.addr()).or_else(|_| IpAddr::from_str(text));
    parsed
        .map_err(|_| Status::invalid_argument(format!("prevResult has the address {text:?}, which is none")))
}

fn reply_of(added: &Added) -> CniAddReply {
    let host = |ip: &IpAddr| IpNet::from(*ip).to_string();
    let mut routes = Vec::new();
    for (address, router) in &added.addresses {
        let all = if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        routes.push(CniRoute { destination: host(router), gateway: String::new(), mtu: 0 });
        routes.push(CniRoute { destination: all.into(), gateway: router.to_string(), mtu: added.mtu });
    }
    CniAddReply {
        endpoint_id: added.endpoint_id.into(),
        addresses: added
            .addresses
            .iter()
            .map(|(address, router)| CniAddress { address: host(address), gateway: router.to_string() })
            .collect(),
        routes,
        host_ifname: added.host.0.clone(),
        host_mac: added.host.1.to_string(),
        pod_mac: added.mac.to_string(),
        mtu: added.mtu,
    }
}

fn status(error: Error) -> Status {
    let text = error.to_string();
    match error {
        Error::Ipam(_) => Status::resource_exhausted(text),
        Error::Netns { .. } | Error::OwnNetns { .. } => Status::invalid_argument(text),
        Error::Kernel(_) => Status::internal(text),
        Error::State { .. } => Status::unavailable(text),
        Error::NotAsLeft(_) => Status::failed_precondition(text),
        Error::Unknown(_) => Status::not_found(text),
    }
}

impl From<Stopping> for Status {
    fn from(stopping: Stopping) -> Self {
        Self::unavailable(stopping.to_string())
    }
}
