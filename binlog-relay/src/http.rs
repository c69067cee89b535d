//! Metrics, status, and wishes, over HTTP.

use crate::relay::Wish;
use crate::status::Status;
use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use mq_base::env::clock;
use mq_base::stop::Stop;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

#[derive(Clone)]
struct Shared {
    status: Arc<Status>,
    wishes: mpsc::Sender<Wish>,
}

/// Serves `GET /metrics`, `GET /status` and `POST /snapshot` (a JSON array of `database.table`, or `["--all"]`) until stopped.
///
/// # Errors
/// The address cannot be listened on.
// axum serves tokio's own listener; there is nothing to simulate here.
#[allow(clippy::disallowed_methods)]
pub async fn serve(address: &str, status: Arc<Status>, wishes: mpsc::Sender<Wish>, stop: Stop) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address} (http in the settings)"))?;
    let routes = Router::new()
        .route(
            "/metrics",
            get(|State(shared): State<Shared>| async move { shared.status.to_prometheus() }),
        )
        .route(
            "/status",
            get(|State(shared): State<Shared>| async move { Json(shared.status.to_json()) }),
        )
        .route("/snapshot", post(snapshot))
        .with_state(Shared { status, wishes });
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { stop.wait().await })
        .await
        .context("serve HTTP")
}

async fn snapshot(
    State(shared): State<Shared>,
    Json(tables): Json<Vec<String>>,
) -> (StatusCode, Json<serde_json::Value>) {
    let (reply, answer) = oneshot::channel();
    let sent = shared.wishes.try_send(Wish::Snapshot(tables, reply));
    match (sent, clock::timeout(Duration::from_secs(5), answer).await) {
        (Ok(()), Ok(Ok(Ok(tables)))) => (StatusCode::ACCEPTED, Json(serde_json::json!({ "copying": tables }))),
        (Ok(()), Ok(Ok(Err(why)))) => (StatusCode::NOT_FOUND, Json(serde_json::json!({ "error": why }))),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(serde_json::json!({ "error": "the relay is not active" })),
        ),
    }
}
