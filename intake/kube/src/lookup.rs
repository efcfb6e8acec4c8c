//! One object now. A CNI ADD can come before the watch has delivered the pod it is for.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::{Api, Client};
use pleopod_intake::Object;
use pleopod_model::ObjectName;

use crate::Error;
use crate::error::answer;

/// Reads single objects.
#[derive(Clone)]
pub struct Lookup {
    client: Client,
}

// === impl Lookup ===

impl Lookup {
    /// Reads through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// A pod, as an event's object for the store; `None` when there is none of that name.
    pub async fn pod(&self, name: &ObjectName) -> Result<Option<Object>, Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &name.namespace);
        let pod = answer(|| format!("reading Pod {name}"), api.get_opt(&name.name)).await?;
        Ok(pod.map(|o| Object::Pod(Box::new(o))))
    }

    /// A namespace.
    pub async fn namespace(&self, name: &str) -> Result<Option<Object>, Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = answer(|| format!("reading Namespace {name}"), api.get_opt(name)).await?;
        Ok(namespace.map(|o| Object::Namespace(Box::new(o))))
    }

    /// A node.
    pub async fn node(&self, name: &str) -> Result<Option<Object>, Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let node = answer(|| format!("reading Node {name}"), api.get_opt(name)).await?;
        Ok(node.map(|o| Object::Node(Box::new(o))))
    }
}
