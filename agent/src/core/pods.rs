//! Pods come and go: ADD, DEL, CHECK and GC of the CNI plugin.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use pleopod_ipam::{Attachment, Lease};
use pleopod_model::desired::LocalPod;
use pleopod_model::{IdentityId, Labels, Mac, ObjectName};
use pleopod_sys_netns::Netns;
use tokio::sync::oneshot;

use super::{Core, Task};
use crate::clock::{now, time_of_day};
use crate::log::one_line;

/// A pod to connect.
#[derive(Clone, Debug)]
pub struct Add {
    /// Container and interface name inside the pod.
    pub attachment: Attachment,
    /// Name of the CNI network.
    pub network: String,
    /// Path of its network namespace.
    pub netns: String,
    /// The pod.
    pub pod: ObjectName,
    /// Its UID; may be empty.
    pub pod_uid: String,
    /// Its identity, [`IdentityId::INIT`] when it is not known yet.
    pub identity: IdentityId,
}

/// A pod to disconnect.
#[derive(Clone, Debug)]
pub struct Del {
    /// Container and interface name inside the pod.
    pub attachment: Attachment,
}

/// A connected pod.
#[derive(Clone, Debug)]
pub struct Added {
    /// Endpoint number.
    pub endpoint_id: u16,
    /// Its addresses, each with the router of its family.
    pub addresses: Vec<(IpAddr, IpAddr)>,
    /// Name and MAC of the host side.
    pub host: (String, Mac),
    /// MAC of the pod side.
    pub mac: Mac,
    /// MTU of both.
    pub mtu: u32,
}

/// A pod whose interface is made, until it is written down and its rows are in.
#[derive(Debug)]
pub struct Waiting {
    pub attachment: Attachment,
    /// Its lease was there before this ADD, and is kept whatever happens.
    pub existed: bool,
    pub reply: oneshot::Sender<Result<Added, Error>>,
}

/// Why a pod could not be connected or disconnected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No address, or no endpoint number.
    #[error(transparent)]
    Ipam(#[from] pleopod_ipam::Error),
    /// The namespace is not there.
    #[error("network namespace {path}: {source}; the runtime must make it before ADD and keep it")]
    Netns {
        /// CNI_NETNS.
        path: String,
        /// Why.
        source: pleopod_sys_netns::Error,
    },
    /// The namespace is the node's.
    #[error("network namespace {path} is the node's own; a pod on the node's network needs no ADD")]
    OwnNetns {
        /// CNI_NETNS.
        path: String,
    },
    /// The kernel refused.
    #[error("{0}")]
    Kernel(String),
    /// The lease is not on disk: an agent that starts anew would take the pod's interface for nobody's.
    #[error("pod {pod}: its lease can't be kept: {why}; make room or make the directory writable")]
    State {
        /// The pod.
        pod: ObjectName,
        /// Why.
        why: String,
    },
    /// The interface is not as ADD left it.
    #[error("{0}")]
    NotAsLeft(String),
    /// Nothing is known of this attachment.
    #[error("container {0} is not known to this node's agent")]
    Unknown(Attachment),
}

/// How long a claim may take before it is made again.
const CLAIM_AGAIN: Duration = Duration::from_secs(5);

impl Core {
    /// Leases addresses and makes the interface; it is opened by the pass that puts its rows in. Answers whether the lease was
    /// there already.
    pub(super) fn add(&mut self, add: &Add) -> Result<bool, Error> {
        let netns =
            Netns::open(&add.netns).map_err(|source| Error::Netns { path: add.netns.clone(), source })?;
        let id = |netns: &Netns| netns.id().map_err(|e| Error::Kernel(e.to_string()));
        let own = Netns::current().map_err(|e| Error::Kernel(e.to_string()))?;
        if id(&netns)? == id(&own)? {
            return Err(Error::OwnNetns { path: add.netns.clone() });
        }
        let existed = self.ipam.get(&add.attachment).is_some();
        let lease = self.ipam.lease(&add.attachment, add.pod.clone(), &add.pod_uid, now())?;
        lease.netns.clone_from(&add.netns);
        if !existed {
            lease.created_at = time_of_day();
        }
        if add.identity != IdentityId::INIT || !existed {
            lease.identity = add.identity;
        }
        lease.network.clone_from(&add.network);
        let lease = lease.clone();
        match self.hands.create_pod(&lease, &netns, &self.facts.router) {
            Ok(local) => {
                self.remember(&lease, local);
                if lease.identity == IdentityId::INIT
                    && let Some(labels) = self.security_labels(&lease.pod)
                {
                    self.claim(labels);
                }
                Ok(existed)
            }
            Err(error) => {
                if !existed {
                    self.hands.remove_pod(&lease, None).ok();
                    self.ipam.end_lease(&add.attachment, now());
                }
                Err(Error::Kernel(one_line(&error)))
            }
        }
    }

    /// Notes the link facts of a lease, in the lease and in what plans are made from.
    pub fn remember(&mut self, lease: &Lease, local: LocalPod) {
        if let Some(held) = self.ipam.get_mut(&lease.attachment) {
            held.host_ifname.clone_from(&local.ifname);
            held.pod_mac = local.mac;
            held.host_mac = local.node_mac;
            held.netns_cookie = local.netns_cookie;
        }
        for address in &lease.addresses {
            self.facts.local.insert(*address, local.clone());
        }
    }

    /// Writes down what was leased since the last pass, once for all of it and before anybody hears of it. Those that can't be
    /// written down are refused.
    pub(super) fn save_waiting(&mut self) {
        if self.todo.waiting.is_empty() {
            return;
        }
        let Err(why) = self.save() else { return };
        for Waiting { attachment, existed, reply } in std::mem::take(&mut self.todo.waiting) {
            let pod = self.ipam.get(&attachment).map_or_else(|| ObjectName::new("", ""), |l| l.pod.clone());
            if !existed {
                self.del(&Del { attachment }).ok();
            }
            // Whoever asked may have gone.
            drop(reply.send(Err(Error::State { pod, why: why.clone() })));
        }
    }

    /// Opens the interfaces of those whose rows are in the kernel now. Gives their answers, to be sent once their routes
    /// are in too.
    pub(super) fn open_waiting(&mut self) -> Vec<impl FnOnce() + use<>> {
        let mut answers = Vec::new();
        for Waiting { attachment, reply, .. } in std::mem::take(&mut self.todo.waiting) {
            let opened = self.open(&attachment);
            if opened.is_err() {
                // A pod that can't be reached is not left half made: the runtime tries ADD again, or gives up with DEL.
                self.del(&Del { attachment }).ok();
            }
            // Whoever asked may have gone; the pod stays until DEL or GC.
            answers.push(move || drop(reply.send(opened)));
        }
        answers
    }

    fn open(&mut self, attachment: &Attachment) -> Result<Added, Error> {
        let lease = self.ipam.get(attachment).ok_or_else(|| Error::Unknown(attachment.clone()))?.clone();
        let local = self.local(lease.endpoint_id).ok_or_else(|| Error::Unknown(attachment.clone()))?.clone();
        if let Some(why) = self.hands.missing_row(&lease.addresses) {
            return Err(Error::Kernel(format!("pod {}: {why}", lease.pod)));
        }
        self.hands.open_pod(&local).map_err(|e| Error::Kernel(one_line(&e)))?;
        tracing::info!(pod = %lease.pod, endpoint = lease.endpoint_id, addresses = ?lease.addresses, identity = %lease.identity, "pod connected");
        let router = |of: &IpAddr| self.facts.router.iter().find(|r| r.is_ipv4() == of.is_ipv4()).copied();
        Ok(Added {
            endpoint_id: lease.endpoint_id,
            addresses: lease.addresses.iter().filter_map(|a| Some((*a, router(a)?))).collect(),
            host: (local.ifname.clone(), local.node_mac),
            mac: local.mac,
            mtu: self.hands.mtu(),
        })
    }

    /// Ends a lease and takes everything of it out of the kernel. `false` when there was nothing.
    pub(super) fn del(&mut self, del: &Del) -> Result<bool, Error> {
        let Some(lease) = self.find(&del.attachment) else { return Ok(false) };
        let local = self.local(lease.endpoint_id).cloned();
        for address in &lease.addresses {
            self.facts.local.remove(address);
        }
        // First the rows, so that nobody is sent to an interface that dies; that one goes in its own time.
        let planned = pleopod_plan::plan_without_services(self.store.intent(), &self.facts);
        if self.synced {
            self.hands.converge(&planned.desired);
            self.desired = planned.desired;
        }
        self.hands.remove_pod(&lease, local.as_ref()).map_err(|e| Error::Kernel(one_line(&e)))?;
        self.ipam.end_lease(&lease.attachment, now());
        // Health tells; a lease without an interface ends at the next start anyway.
        let _ = self.save();
        self.task(Task::Publish);
        self.eyes_stale.get_or_insert(Instant::now() + super::EYES_EVERY);
        tracing::info!(pod = %lease.pod, endpoint = lease.endpoint_id, "pod disconnected");
        Ok(true)
    }

    /// A lease by its attachment, or, when the journal was lost and container ids with it, by the name its interface has.
    fn find(&self, attachment: &Attachment) -> Option<Lease> {
        let name = pleopod_apply::pod::host_ifname(&attachment.container_id, &attachment.ifname);
        self.ipam
            .get(attachment)
            .or_else(|| self.ipam.leases().find(|l| !l.host_ifname.is_empty() && l.host_ifname == name))
            .cloned()
    }

    /// Whether the interface is as ADD left it, with the addresses the runtime remembers.
    pub fn check(&mut self, attachment: &Attachment, netns: &str, addresses: &[IpAddr]) -> Result<(), Error> {
        let lease = self.find(attachment).ok_or_else(|| Error::Unknown(attachment.clone()))?;
        if let Some(missing) = addresses.iter().find(|a| !lease.addresses.contains(a)) {
            let held: Vec<String> = lease.addresses.iter().map(ToString::to_string).collect();
            return Err(Error::NotAsLeft(format!(
                "address {missing} of prevResult is not leased to pod {}; it has {}",
                lease.pod,
                held.join(", ")
            )));
        }
        let netns = Netns::open(netns).map_err(|source| Error::Netns { path: netns.into(), source })?;
        let wrong = self
            .hands
            .check_pod(&lease, &netns, &self.facts.router)
            .map_err(|e| Error::Kernel(one_line(&e)))?;
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Error::NotAsLeft(format!("interface of pod {}: {}", lease.pod, wrong.join("; "))))
        }
    }

    /// Ends every lease of a CNI network that is not among `valid`. Answers which.
    pub fn collect(&mut self, network: &str, valid: &[Attachment]) -> (Vec<Attachment>, Vec<Error>) {
        let (mut ended, mut errors) = (Vec::new(), Vec::new());
        // A lease that was rebuilt goes by the name of its interface, which the container's id gives.
        let names: Vec<String> =
            valid.iter().map(|a| pleopod_apply::pod::host_ifname(&a.container_id, &a.ifname)).collect();
        let kept = |a: &Attachment| self.ipam.get(a).is_some_and(|l| names.contains(&l.host_ifname));
        let strays: Vec<Attachment> =
            self.ipam.strays(network, valid).into_iter().filter(|a| !kept(a)).collect();
        for stray in strays {
            match self.del(&Del { attachment: stray.clone() }) {
                Ok(true) => ended.push(stray),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        (ended, errors)
    }

    /// The security labels of a pod of this node; `None` while the pod or its namespace is not known.
    pub fn security_labels(&self, pod: &ObjectName) -> Option<Labels> {
        let intent = self.store.intent();
        let namespace = intent.namespaces.get(&pod.namespace)?;
        let object = intent.pods.get(pod)?;
        Some(pleopod_intake::labels::of_pod(&pod.namespace, namespace, object, &self.cluster_name))
    }

    /// Gives an identity to every pod of this node that has these labels.
    pub(super) fn give_identity(&mut self, labels: &Labels, identity: IdentityId) {
        let pods: Vec<_> = self
            .ipam
            .leases()
            .filter(|l| l.identity != identity)
            .map(|l| (l.attachment.clone(), l.pod.clone()))
            .collect();
        for (attachment, pod) in pods {
            if self.security_labels(&pod).as_ref() == Some(labels) {
                self.set_identity(&attachment, identity);
            }
        }
    }

    pub(super) fn set_identity(&mut self, attachment: &Attachment, identity: IdentityId) {
        let Some(lease) = self.ipam.get_mut(attachment) else { return };
        tracing::info!(pod = %lease.pod, from = %lease.identity, to = %identity, "identity");
        lease.identity = identity;
        for address in lease.addresses.clone() {
            if let Some(local) = self.facts.local.get_mut(&address) {
                local.identity = identity;
            }
        }
        self.todo.tables = true;
        // Health tells; an identity is found again from the labels.
        let _ = self.save();
    }

    /// Links went away. A pod that had one of them lost its interface without DEL, as when a sandbox dies: its rows and
    /// routes go, its lease stays until the runtime ends it or asks for the interface again.
    pub fn links_gone(&mut self, indices: &[u32]) {
        self.forget_pods(|pod| indices.contains(&pod.ifindex));
    }

    /// The same for whatever went unseen.
    pub(super) fn forget_vanished(&mut self) {
        match self.hands.pod_indices() {
            Ok(there) => self.forget_pods(|pod| !there.contains(&pod.ifindex)),
            Err(error) => tracing::warn!(error = one_line(&error), "listing pods' interfaces"),
        }
    }

    fn forget_pods(&mut self, gone: impl Fn(&LocalPod) -> bool) {
        let before = self.facts.local.len();
        self.facts.local.retain(|address, pod| {
            let gone = gone(pod);
            if gone {
                tracing::warn!(pod = %pod.pod, %address, link = pod.ifname, "the pod's interface is gone without DEL; its lease stays until the runtime ends it");
            }
            !gone
        });
        if self.facts.local.len() < before {
            self.todo.tables = true;
        }
    }

    /// Asks the async side for a number, once.
    pub(super) fn claim(&mut self, labels: Labels) {
        let asked = self.claims.get(&labels).is_some_and(|at| at.elapsed() < CLAIM_AGAIN);
        if !asked {
            self.claims.insert(labels.clone(), Instant::now());
            self.task(Task::Claim(labels));
        }
    }
}
