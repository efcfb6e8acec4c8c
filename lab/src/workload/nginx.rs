//! `nginx`: the welcome page on port 80 and the access log in the combined format, with the client's address.

use std::collections::HashMap;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http::{self, Request, Response};
use super::{leaving, port};

/// The version the headers and pages name.
const VERSION: &str = "nginx/1.27.3";

const WELCOME: &str = "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n<style>\nhtml { color-scheme: light dark; }\nbody { width: 35em; margin: 0 auto;\nfont-family: Tahoma, Verdana, Arial, sans-serif; }\n</style>\n</head>\n<body>\n<h1>Welcome to nginx!</h1>\n<p>If you see this page, the nginx web server is successfully installed and\nworking. This one is the lab's stand-in for it.</p>\n\n<p><em>Thank you for using nginx.</em></p>\n</body>\n</html>\n";

pub(super) async fn run(args: &[String]) -> anyhow::Result<()> {
    let port = port(args, "port", "NGINX_PORT", 80)?;
    let listener = match TcpListener::bind(("::", port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
    };
    let now = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
    eprintln!("{now} [notice] 1#1: {VERSION}");
    eprintln!("{now} [notice] 1#1: start worker processes");
    let stop = CancellationToken::new();
    let pages =
        HashMap::from([("/".to_owned(), WELCOME.to_owned()), ("/index.html".to_owned(), WELCOME.to_owned())]);
    let served = tokio::spawn(serve_pages(listener, stop.clone(), pages));
    leaving().await?;
    stop.cancel();
    served.await?;
    Ok(())
}

/// Serves fixed pages, logging each request to standard output.
pub async fn serve_pages(listener: TcpListener, stop: CancellationToken, pages: HashMap<String, String>) {
    let pages = Arc::new(pages);
    http::serve(listener, stop, move |request| {
        let pages = Arc::clone(&pages);
        async move {
            let (response, length) = page(&pages, &request);
            println!("{}", log_line(&request, response.status().as_u16(), length));
            response
        }
    })
    .await;
}

fn page(pages: &HashMap<String, String>, request: &Request) -> (Response, usize) {
    let (code, body) = match pages.get(request.head.uri.path()) {
        _ if !matches!(request.head.method.as_str(), "GET" | "HEAD") => (405, error_page("405 Not Allowed")),
        Some(page) => (200, page.clone()),
        None => (404, error_page("404 Not Found")),
    };
    let length = body.len();
    let response = hyper::Response::builder()
        .status(code)
        .header("Server", VERSION)
        .header("Date", http::date())
        .header("Content-Type", "text/html")
        .header("Content-Length", length)
        .body(Full::new(Bytes::from(body)));
    let sent = if request.head.method == hyper::Method::HEAD { 0 } else { length };
    (response.unwrap_or_default(), sent)
}

fn error_page(title: &str) -> String {
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>{VERSION}</center>\r\n</body>\r\n</html>\r\n"
    )
}

/// One line of the access log, in the image's `main` format.
fn log_line(request: &Request, code: u16, sent: usize) -> String {
    let header = |name: &str| request.header(name).unwrap_or("-").replace('"', "\\x22");
    format!(
        "{} - - [{}] \"{}\" {code} {sent} \"{}\" \"{}\" \"{}\"",
        request.peer.ip().to_canonical(),
        jiff::Zoned::now().strftime("%d/%b/%Y:%H:%M:%S %z"),
        request.line(),
        header("referer"),
        header("user-agent"),
        header("x-forwarded-for"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_the_client_and_the_request() {
        let (head, ()) = hyper::Request::builder()
            .uri("/x?y=1")
            .header("user-agent", "curl/8.7.1")
            .body(())
            .expect("request")
            .into_parts();
        let request = Request { head, body: "".into(), peer: "10.10.6.91:1".parse().expect("peer") };
        let line = log_line(&request, 404, 153);
        assert!(line.starts_with("10.10.6.91 - - ["), "{line}");
        assert!(line.ends_with("] \"GET /x?y=1 HTTP/1.1\" 404 153 \"-\" \"curl/8.7.1\" \"-\""), "{line}");
    }
}
