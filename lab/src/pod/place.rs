//! Where a pod's containers are, by name: for `lab exec`, which asks nobody, and for the API's logs and exec.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::enter::{Entry, Place};
use crate::layout::NodeLayout;
use crate::process::Owned;

/// The pod's object, as it was when it was started.
const OBJECT: &str = "pod.json";
/// A pod may name the container that is meant when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A container found by name.
#[derive(Debug)]
pub struct Found {
    /// Its directory.
    pub dir: PathBuf,
    /// Its name.
    pub container: String,
}

/// Why a container can't be entered.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No such pod on any node of the lab.
    #[error("pod {0}/{1} is on no node of this lab; `pleopod lab get pods -A` lists them")]
    NoPod(String, String),
    /// The pod has no such container.
    #[error("container {container} is not in pod {pod}; it has {}", known.join(", "))]
    NoContainer {
        /// The pod.
        pod: String,
        /// What was asked for.
        container: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The container is not running.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The records of the pod can't be read.
    #[error("records of pod {pod}: {why}")]
    Records {
        /// The pod.
        pod: String,
        /// What the system said.
        why: io::Error,
    },
}

/// Makes the pod's directory and makes it findable.
pub(super) fn note(layout: &NodeLayout, pod: &Pod, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(OBJECT), serde_json::to_vec(pod)?)?;
    let link = link(&layout.index(), &pod.namespace().unwrap_or_default(), &pod.name_any());
    if let Some(parent) = link.parent() {
        fs::create_dir_all(parent)?;
    }
    let _ = fs::remove_file(&link);
    symlink(dir, link)
}

/// Makes the pod unfindable, unless the name belongs to a newer pod by now.
pub(super) fn forget(layout: &NodeLayout, pod: &Pod, dir: &Path) {
    let link = link(&layout.index(), &pod.namespace().unwrap_or_default(), &pod.name_any());
    if fs::read_link(&link).is_ok_and(|target| target == dir) {
        let _ = fs::remove_file(link);
    }
}

/// Finds a container; without a name, the pod's default one.
///
/// # Errors
/// When there is no such pod or container.
pub fn find(index: &Path, namespace: &str, pod: &str, container: Option<&str>) -> Result<Found, PlaceError> {
    let missing = || PlaceError::NoPod(namespace.to_owned(), pod.to_owned());
    if [namespace, pod].iter().any(|name| name.is_empty() || name.contains('/') || name.starts_with('.')) {
        return Err(missing());
    }
    let dir = fs::read_link(link(index, namespace, pod)).map_err(|_| missing())?;
    let records = |why| PlaceError::Records { pod: pod.to_owned(), why };
    let object = fs::read(dir.join(OBJECT)).map_err(records)?;
    let object: Pod = serde_json::from_slice(&object).map_err(|error| records(error.into()))?;
    let spec = object.spec.clone().unwrap_or_default();
    let known: Vec<String> = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|container| container.name.clone())
        .collect();
    let chosen =
        container.map(str::to_owned).or_else(|| object.annotations().get(DEFAULT_CONTAINER).cloned());
    let chosen = chosen.or_else(|| known.first().cloned()).unwrap_or_default();
    if !known.contains(&chosen) {
        return Err(PlaceError::NoContainer { pod: pod.to_owned(), container: chosen, known });
    }
    Ok(Found { dir: dir.join(&chosen), container: chosen })
}

// === impl Found ===

impl Found {
    /// A process to become that runs `argv` beside the container's own.
    ///
    /// # Errors
    /// When the container isn't running.
    pub fn entry(&self, argv: Vec<String>) -> Result<Entry, PlaceError> {
        let not_running = || PlaceError::NotRunning(self.container.clone());
        let process =
            Owned::read(&self.dir.join("process.json")).filter(Owned::alive).ok_or_else(not_running)?;
        let own = fs::read(self.dir.join("entry.json")).map_err(|_| not_running())?;
        let own: Entry = serde_json::from_slice(&own).map_err(|_| not_running())?;
        Ok(Entry {
            place: Place::Join(process.pid),
            netns: None,
            hostname: None,
            tty: None,
            argv,
            builtin: false,
            report: None,
            ..own
        })
    }

    /// Whether the container's process runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        Owned::read(&self.dir.join("process.json")).is_some_and(|process| process.alive())
    }
}

fn link(index: &Path, namespace: &str, pod: &str) -> PathBuf {
    index.join(namespace).join(pod)
}
