//! A container's environment: the cluster's variables, then the container's own with `$(NAME)` expanded.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, ObjectFieldSelector, Pod, Secret};
use kube::{Api, Client, ResourceExt};

/// The search path of programs when the pod gives none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A variable that can't be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EnvError(String);

/// What of the pod's surroundings shows in variables.
pub struct Around<'a> {
    /// The client of the cluster.
    pub client: &'a Client,
    /// Addresses of the pod.
    pub addresses: &'a [String],
    /// Address of the node.
    pub host: &'a str,
    /// ClusterIP and port of the `kubernetes` Service.
    pub kubernetes: (&'a str, u16),
}

/// All variables of `container`.
///
/// # Errors
/// When a variable refers to something that isn't there and isn't optional.
pub async fn variables(
    pod: &Pod,
    container: &Container,
    around: &Around<'_>,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut env = Env::default();
    env.set("PATH", PATH);
    env.set("HOME", "/root");
    env.set("HOSTNAME", &hostname(pod));
    for (name, value) in service_variables(around.kubernetes) {
        env.set(&name, &value);
    }
    let namespace = pod.namespace().unwrap_or_default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or("");
        if let Some(map) = &source.config_map_ref {
            let data = config_map(around.client, &namespace, &map.name, map.optional == Some(true)).await?;
            data.iter().for_each(|(name, value)| env.set(&format!("{prefix}{name}"), value));
        }
        if let Some(secret) = &source.secret_ref {
            let data =
                secret_data(around.client, &namespace, &secret.name, secret.optional == Some(true)).await?;
            data.iter().for_each(|(name, value)| env.set(&format!("{prefix}{name}"), value));
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(env.expand(value)),
            (None, Some(source)) => from_source(pod, source, around).await?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            env.set(&variable.name, &value);
        }
    }
    Ok(env.0)
}

/// The hostname of a pod.
#[must_use]
pub fn hostname(pod: &Pod) -> String {
    let own = pod.spec.as_ref().and_then(|spec| spec.hostname.clone());
    let mut name = own.unwrap_or_else(|| pod.name_any());
    // HOST_NAME_MAX is 64; Kubernetes cuts at 63.
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// Expands `$(NAME)` in a command's words, with the container's variables.
#[must_use]
pub fn expand_words(words: &[String], env: &[(String, String)]) -> Vec<String> {
    let env = Env(env.to_vec());
    words.iter().map(|word| env.expand(word)).collect()
}

/// Variables in the order they were set; setting again replaces.
#[derive(Default)]
struct Env(Vec<(String, String)>);

// === impl Env ===

impl Env {
    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some(known) => value.clone_into(&mut known.1),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `$(NAME)` becomes the value, `$$` a dollar; an unknown name stays as it stands.
    fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'))
            {
                match self.get(name) {
                    Some(value) => out.push_str(value),
                    None => out.push_str(&format!("$({name})")),
                }
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        out
    }
}

/// The variables by which in-cluster clients find the API server, as the kubelet sets them.
fn service_variables((host, port): (&str, u16)) -> Vec<(String, String)> {
    let tcp = format!("tcp://{host}:{port}");
    let name = format!("KUBERNETES_PORT_{port}_TCP");
    [
        ("KUBERNETES_SERVICE_HOST".to_owned(), host.to_owned()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
        ("KUBERNETES_PORT".to_owned(), tcp.clone()),
        (name.clone(), tcp),
        (format!("{name}_PROTO"), "tcp".to_owned()),
        (format!("{name}_PORT"), port.to_string()),
        (format!("{name}_ADDR"), host.to_owned()),
    ]
    .into()
}

async fn from_source(
    pod: &Pod,
    source: &EnvVarSource,
    around: &Around<'_>,
) -> Result<Option<String>, EnvError> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return field_value(pod, field, around.addresses, around.host).map(Some);
    }
    if let Some(key) = &source.config_map_key_ref {
        let optional = key.optional == Some(true);
        let data = config_map(around.client, &namespace, &key.name, optional).await?;
        return pick(data, &key.key, optional, &format!("configmap {namespace}/{}", key.name));
    }
    if let Some(key) = &source.secret_key_ref {
        let optional = key.optional == Some(true);
        let data = secret_data(around.client, &namespace, &key.name, optional).await?;
        return pick(data, &key.key, optional, &format!("secret {namespace}/{}", key.name));
    }
    // Resources are not limited in a lab; an unlimited resource reads as zero.
    Ok(Some("0".to_owned()))
}

/// A field of the pod, by the downward API's path.
///
/// # Errors
/// When the downward API has no such field.
pub fn field_value(
    pod: &Pod,
    field: &ObjectFieldSelector,
    addresses: &[String],
    host: &str,
) -> Result<String, EnvError> {
    let path = field.field_path.as_str();
    let spec = pod.spec.as_ref();
    let lines = |map: &BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
    };
    let keyed = |name: &str| path.strip_prefix(name)?.strip_prefix("['")?.strip_suffix("']");
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        "status.podIP" => addresses.first().cloned().unwrap_or_default(),
        "status.podIPs" => addresses.join(","),
        "status.hostIP" | "status.hostIPs" => host.to_owned(),
        _ => {
            let label = keyed("metadata.labels").map(|key| pod.labels().get(key));
            let found = label.or_else(|| keyed("metadata.annotations").map(|key| pod.annotations().get(key)));
            match found {
                Some(value) => value.cloned().unwrap_or_default(),
                None => return Err(EnvError(format!("fieldPath {path} is not known"))),
            }
        }
    })
}

fn pick(
    mut data: BTreeMap<String, String>,
    key: &str,
    optional: bool,
    of: &str,
) -> Result<Option<String>, EnvError> {
    match data.remove(key) {
        None if !optional => Err(EnvError(format!("couldn't find key {key} in {of}"))),
        value => Ok(value),
    }
}

/// A ConfigMap's text data; empty when it is optional and absent.
///
/// # Errors
/// When it can't be read, or is absent and not optional.
pub async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, String>, EnvError> {
    let found = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await;
    match found.map_err(|error| EnvError(format!("configmap {namespace}/{name}: {error}")))? {
        Some(map) => Ok(map.data.unwrap_or_default()),
        None if optional => Ok(BTreeMap::new()),
        None => Err(EnvError(format!("configmap \"{name}\" not found"))),
    }
}

/// A Secret's data as text; bytes that are no text are replaced.
///
/// # Errors
/// As [`config_map`].
pub async fn secret_data(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, String>, EnvError> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await;
    match found.map_err(|error| EnvError(format!("secret {namespace}/{name}: {error}")))? {
        Some(secret) => Ok(secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()))
            .collect()),
        None if optional => Ok(BTreeMap::new()),
        None => Err(EnvError(format!("secret \"{name}\" not found"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_parentheses_are_expanded() {
        let env = [("A".to_owned(), "1".to_owned())];
        let words = ["x$(A)y", "$$(A)", "$(B)", "$A", "50$", "$(A"].map(str::to_owned);
        assert_eq!(expand_words(&words, &env), ["x1y", "$(A)", "$(B)", "$A", "50$", "$(A"]);
    }

    #[test]
    fn fields_of_the_pod_are_read() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"app": "web"}},
            "spec": {"containers": [], "nodeName": "k8s-s"}
        }))
        .expect("pod");
        let value = |path: &str| {
            let field = ObjectFieldSelector { field_path: path.to_owned(), api_version: None };
            field_value(&pod, &field, &["10.0.0.1".to_owned()], "192.168.10.10")
                .map_err(|error| error.to_string())
        };
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.labels['app']", "web"),
            ("metadata.labels['none']", ""),
            ("spec.nodeName", "k8s-s"),
            ("status.podIP", "10.0.0.1"),
            ("status.hostIP", "192.168.10.10"),
        ] {
            assert_eq!(value(path).as_deref(), Ok(expected), "{path}");
        }
        assert_eq!(value("spec.colour"), Err("fieldPath spec.colour is not known".to_owned()));
    }
}
