//! Probes: the node asks a container how it is, from the node's own network as a kubelet does.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::enter::Entry;
use crate::inside::Inside;

/// Everything a probe needs to know of its container.
#[derive(Clone, Debug)]
pub struct Target {
    /// Address of the pod.
    pub address: String,
    /// Ports of the container, by name.
    pub ports: Vec<(String, u16)>,
    /// A process inside the container, with the command left open.
    pub entry: Entry,
}

/// How often, how patient, how stubborn.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// Before the first.
    pub delay: Duration,
    /// Between two.
    pub period: Duration,
    /// For one.
    pub timeout: Duration,
    /// Failures in a row that count.
    pub failures: i32,
    /// Successes in a row that count.
    pub successes: i32,
}

// === impl Rhythm ===

impl Rhythm {
    /// The probe's own numbers, or the API's defaults.
    #[must_use]
    pub fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        Self {
            delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            failures: probe.failure_threshold.unwrap_or(3).max(1),
            successes: probe.success_threshold.unwrap_or(1).max(1),
        }
    }
}

/// Named ports of a container.
#[must_use]
pub fn ports(container: &Container) -> Vec<(String, u16)> {
    let ports = container.ports.as_deref().unwrap_or_default();
    ports
        .iter()
        .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
        .collect()
}

/// Asks once; `Err` says what was wrong, as the kubelet's event does.
///
/// # Errors
/// When the container isn't well or doesn't answer in time.
pub async fn ask(probe: &Probe, target: &Target, inside: &Inside, timeout: Duration) -> Result<(), String> {
    let asked = async {
        if let Some(http) = &probe.http_get {
            let port = port(&http.port, target)?;
            let host = http.host.clone().unwrap_or_else(|| target.address.clone());
            let path = http.path.clone().unwrap_or_else(|| "/".to_owned());
            let more: Vec<(String, String)> =
                http.http_headers.iter().flatten().map(|one| (one.name.clone(), one.value.clone())).collect();
            inside.run(get(host, port, path, more)).await.unwrap_or_else(|| Err("the node is gone".into()))
        } else if let Some(tcp) = &probe.tcp_socket {
            let port = port(&tcp.port, target)?;
            let host = tcp.host.clone().unwrap_or_else(|| target.address.clone());
            connect(inside, host, port).await
        } else if let Some(grpc) = &probe.grpc {
            let port = u16::try_from(grpc.port).map_err(|_| format!("{} is not a port", grpc.port))?;
            connect(inside, target.address.clone(), port).await
        } else if let Some(exec) = &probe.exec {
            command(target, exec.command.clone().unwrap_or_default()).await
        } else {
            Ok(())
        }
    };
    tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| Err(format!("timed out after {timeout:?}")))
}

fn port(port: &IntOrString, target: &Target) -> Result<u16, String> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).map_err(|_| format!("{number} is not a port")),
        IntOrString::String(name) => target
            .ports
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, number)| *number)
            .or_else(|| name.parse().ok())
            .ok_or_else(|| format!("the container has no port named {name}")),
    }
}

async fn connect(inside: &Inside, host: String, port: u16) -> Result<(), String> {
    let dial = async move {
        TcpStream::connect((host.as_str(), port))
            .await
            .map(drop)
            .map_err(|error| format!("dial tcp {host}:{port}: {error}"))
    };
    inside.run(dial).await.unwrap_or_else(|| Err("the node is gone".into()))
}

/// One GET; only the status counts, 200 to 399 is well.
async fn get(host: String, port: u16, path: String, headers: Vec<(String, String)>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("Get \"http://{host}:{port}{path}\": {error}");
    let mut stream = TcpStream::connect((host.as_str(), port)).await.map_err(failed)?;
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    let given = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if !given("host") {
        request.push_str(&format!("Host: {host}:{port}\r\n"));
    }
    if !given("user-agent") {
        request.push_str("User-Agent: kube-probe/1.32\r\n");
    }
    for (name, value) in &headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("Accept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::with_capacity(512);
    let mut piece = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < 4096 {
        match stream.read(&mut piece).await.map_err(failed)? {
            0 => break,
            length => answer.extend_from_slice(&piece[..length]),
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let code = line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
    match code {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err(failed(std::io::Error::other("malformed HTTP response"))),
    }
}

async fn command(target: &Target, argv: Vec<String>) -> Result<(), String> {
    let entry = Entry { argv, ..target.entry.clone() };
    let command = entry.command().map_err(|error| error.to_string())?;
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).stdin(std::process::Stdio::null());
    let out = command.output().await.map_err(|error| error.to_string())?;
    if out.status.success() {
        return Ok(());
    }
    let said = [out.stdout, out.stderr].concat();
    Err(String::from_utf8_lossy(&said).trim().chars().take(1024).collect())
}
