//! Raw input in, answers out: every route in one table. Knows HTTP, knows no guest.

mod agents;
mod approvals;
mod auth;
mod body;
mod dlq;
mod error;
mod events;
mod health;
mod inbox;
mod intervene;
mod link;
mod outbox;
mod page;
mod tasks;
mod todos;
mod undo;
pub mod zulip;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::capability::World;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::ingress::Ingress;
pub use error::ApiError;

/// What the surfaces need.
#[derive(Clone)]
pub struct State {
    /// Where requests enter.
    pub ingress: Ingress,
    /// What readiness looks at.
    pub world: World,
    /// Which agents there are.
    pub fleet: Arc<Fleet>,
    /// Who may call.
    pub config: Arc<Config>,
    /// What `/metrics` renders.
    pub metrics: PrometheusHandle,
    /// Cancelled when the host drains: streams end.
    pub drain: CancellationToken,
}

/// Every route.
pub fn routes(state: State) -> Router {
    Router::new()
        .route("/inbox", post(inbox::post))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::show))
        .route("/tasks/{id}/events", get(events::stream))
        .route("/tasks/{id}/cancel", post(intervene::cancel))
        .route("/tasks/{id}/retry", post(intervene::retry))
        .route("/tasks/{id}/forget", post(intervene::forget))
        .route("/tasks/{id}/undo", post(undo::start))
        .route("/approvals", get(approvals::list))
        .route("/approvals/{id}", post(approvals::answer))
        .route("/approval", get(link::show).post(link::post))
        .route("/bridges/zulip", post(zulip::post))
        .route("/outbox", get(outbox::list))
        .route("/outbox/{id}/retry", post(outbox::retry))
        .route("/dlq", get(dlq::list))
        .route("/dlq/{id}", get(dlq::show))
        .route("/dlq/{id}/retry", post(dlq::retry))
        .route("/dlq/{id}/discard", post(dlq::discard))
        .route("/todos", get(todos::list).post(todos::add))
        .route("/todos/{id}", get(todos::show).patch(todos::change).delete(todos::drop))
        .route("/agents", get(agents::list))
        .route("/agents/reload", post(agents::reload))
        .route("/agents/{id}", get(agents::show))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(ApiError::no_route)
        .method_not_allowed_fallback(ApiError::no_method)
        .layer(axum::middleware::from_fn_with_state(state.clone(), auth::meant_for_us))
        .with_state(state)
}
