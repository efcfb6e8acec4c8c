//! `traefik/whoami`: answers with its hostname, its addresses, the caller's address and the request as it arrived.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http::{self, Request, Response};
use super::{flag, leaving, port};

/// Most bytes `/data` gives.
const DATA_MAX: usize = 256 << 20;

pub(super) async fn run(args: &[String]) -> anyhow::Result<()> {
    let port = port(args, "port", "WHOAMI_PORT_NUMBER", 80)?;
    let name = flag(args, "name").map(str::to_owned).or_else(|| std::env::var("WHOAMI_NAME").ok());
    let listener = TcpListener::bind(("::", port)).await;
    let listener = match listener {
        Ok(listener) => listener,
        // Without IPv6 there is no address that takes both families.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
    };
    println!("{} Starting up on port {port}", jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S"));
    let stop = CancellationToken::new();
    let who = Arc::new(Who { name, health: AtomicU16::new(200) });
    let served = tokio::spawn(http::serve(listener, stop.clone(), move |request| {
        let who = Arc::clone(&who);
        async move { who.answer(request).await }
    }));
    leaving().await?;
    stop.cancel();
    served.await?;
    Ok(())
}

struct Who {
    name: Option<String>,
    /// What `/health` answers; a POST sets it.
    health: AtomicU16,
}

// === impl Who ===

impl Who {
    async fn answer(&self, request: Request) -> Response {
        let query = request.head.uri.query().unwrap_or("").to_owned();
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
                .map(|pair| pair.1)
        };
        match request.head.uri.path() {
            "/bench" => http::text("1"),
            "/health" => self.health(&request),
            "/api" => self.json(&request),
            "/data" => {
                let size = parameter("size").and_then(|size| size.parse().ok()).unwrap_or(1).min(DATA_MAX);
                http::text(vec![b'|'; size])
            }
            _ => {
                if let Some(wait) = parameter("wait").and_then(duration) {
                    tokio::time::sleep(wait).await;
                }
                http::text(self.text(&request))
            }
        }
    }

    fn health(&self, request: &Request) -> Response {
        if request.head.method == hyper::Method::POST {
            let code = std::str::from_utf8(&request.body).ok().and_then(|text| text.trim().parse().ok());
            match code {
                Some(code) if (100..1000).contains(&code) => self.health.store(code, Ordering::Relaxed),
                _ => return http::status(400, "the body must be a status code\n"),
            }
            return http::text("");
        }
        http::status(self.health.load(Ordering::Relaxed), "")
    }

    fn text(&self, request: &Request) -> String {
        let mut out = String::new();
        if let Some(name) = &self.name {
            let _ = writeln!(out, "Name: {name}");
        }
        let _ = writeln!(out, "Hostname: {}", hostname());
        for address in addresses() {
            let _ = writeln!(out, "IP: {address}");
        }
        let _ = writeln!(out, "RemoteAddr: {}", plain(request.peer));
        out.push_str(&as_sent(request));
        out
    }

    fn json(&self, request: &Request) -> Response {
        let headers: serde_json::Map<String, serde_json::Value> = headers(request)
            .into_iter()
            .filter(|(name, _)| name != "Host")
            .map(|(name, value)| (name, serde_json::json!([value])))
            .collect();
        let mut body = serde_json::json!({
            "hostname": hostname(),
            "ip": addresses().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "headers": headers,
            "url": request.head.uri.to_string(),
            "host": request.header("host").unwrap_or(""),
            "method": request.head.method.as_str(),
            "remoteAddr": plain(request.peer).to_string(),
        });
        if let Some(name) = &self.name {
            body["name"] = serde_json::json!(name);
        }
        let mut response = http::text(format!("{body}\n"));
        response
            .headers_mut()
            .insert("Content-Type", hyper::header::HeaderValue::from_static("application/json"));
        response
    }
}

/// The request as the real image writes it back: the line, Host, User-Agent, then the other headers sorted.
fn as_sent(request: &Request) -> String {
    let mut out = format!("{} {} HTTP/1.1\r\n", request.head.method, request.head.uri);
    let headers = headers(request);
    let first = ["Host", "User-Agent"];
    for name in first {
        if let Some((_, value)) = headers.iter().find(|(key, _)| key == name) {
            let _ = write!(out, "{name}: {value}\r\n");
        }
    }
    for (name, value) in headers.iter().filter(|(name, _)| !first.contains(&name.as_str())) {
        let _ = write!(out, "{name}: {value}\r\n");
    }
    out.push_str("\r\n");
    out.push_str(&String::from_utf8_lossy(&request.body));
    out
}

/// Headers under their canonical names, sorted.
fn headers(request: &Request) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = request
        .head
        .headers
        .iter()
        .map(|(name, value)| {
            (canonical(name.as_str()), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    all.sort();
    all
}

/// `user-agent` as `User-Agent`.
fn canonical(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for part in name.split('-') {
        if !out.is_empty() {
            out.push('-');
        }
        let mut letters = part.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

/// A v4-mapped peer as the v4 one it is.
fn plain(peer: std::net::SocketAddr) -> std::net::SocketAddr {
    std::net::SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// Addresses of all interfaces: interface by interface, v4 before v6.
fn addresses() -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut found: Vec<(u32, IpAddr)> = all
        .filter_map(|one| {
            let address = one.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))?;
            Some((nix::net::if_::if_nametoindex(one.interface_name.as_str()).unwrap_or(u32::MAX), ip))
        })
        .collect();
    found.sort_by_key(|(index, ip)| (*index, ip.is_ipv6()));
    found.into_iter().map(|(_, ip)| ip).collect()
}

/// `300ms`, `2s`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let value: f64 = text[..unit].parse().ok()?;
    let scale = match &text[unit..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(value * scale).ok().filter(|wait| *wait <= Duration::from_secs(600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_written_back_as_the_real_image_does() {
        let (head, ()) = hyper::Request::builder()
            .uri("/")
            .header("user-agent", "curl/8.7.1")
            .header("accept", "*/*")
            .header("host", "172.16.1.111")
            .header("x-forwarded-for", "10.0.0.1")
            .body(())
            .expect("request")
            .into_parts();
        let peer = "[::ffff:172.16.0.230]:41320".parse().expect("peer");
        let request = Request { head, body: "".into(), peer };
        assert_eq!(
            as_sent(&request),
            "GET / HTTP/1.1\r\nHost: 172.16.1.111\r\nUser-Agent: curl/8.7.1\r\nAccept: */*\r\n\
             X-Forwarded-For: 10.0.0.1\r\n\r\n"
        );
        let text = Who { name: None, health: AtomicU16::new(200) }.text(&request);
        assert!(text.starts_with("Hostname: "), "{text}");
        assert!(
            text.contains("IP: 127.0.0.1\n") && text.contains("RemoteAddr: 172.16.0.230:41320\nGET / "),
            "{text}"
        );
    }

    #[test]
    fn waits_are_read() {
        assert_eq!(duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        for bad in ["", "5", "-1s", "9h", "99999999m"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
