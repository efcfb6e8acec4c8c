//! `/healthz`, `/readyz` and `/metrics` on loopback.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Serves until cancelled.
pub async fn serve(
    listener: tokio::net::TcpListener,
    health: Arc<Health>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let live = health.clone();
    let app = Router::new()
        .route("/healthz", get(move || async move { answer(live.live()) }))
        .route("/readyz", get(move || async move { answer(health.ready()) }))
        .route(
            "/metrics",
            get(move || async move {
                let text = tokio::task::spawn_blocking(move || metrics()).await.unwrap_or_default();
                ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            }),
        );
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn answer(outcome: Result<(), String>) -> impl IntoResponse {
    match outcome {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
