//! Listeners: TLS, HTTP/1.1 and HTTP/2, upgrades.

use std::sync::Arc;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;

use crate::core::Core;
use crate::route;

/// Accepts connections on `listener` until the control plane stops.
pub fn serve(core: &Arc<Core>, listener: std::net::TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(core.authority.tls.clone());
    let app = Router::new().fallback(route::handle).with_state(core.clone());
    let core = core.clone();
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                () = core.stop.cancelled() => return,
                got = listener.accept() => match got {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of descriptors or a connection that died in the queue: the next may be fine.
                        tracing::warn!(%error, "accepting a connection");
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        continue;
                    }
                },
            };
            let (acceptor, app, stop) = (acceptor.clone(), app.clone(), core.stop.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let tls = match acceptor.accept(stream).await {
                    Ok(tls) => tls,
                    Err(error) => return tracing::debug!(%error, "TLS handshake"),
                };
                let mut http = auto::Builder::new(TokioExecutor::new());
                http.http2().max_concurrent_streams(1000);
                let service = TowerToHyperService::new(app);
                let connection = http.serve_connection_with_upgrades(TokioIo::new(tls), service);
                tokio::select! {
                    () = stop.cancelled() => {}
                    r = connection => if let Err(error) = r {
                        tracing::debug!(error, "connection");
                    },
                }
            });
        }
    });
    Ok(())
}
