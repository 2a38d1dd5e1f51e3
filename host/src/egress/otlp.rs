//! How spans leave: OTLP over HTTP, through the one client of this process, or over gRPC.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use tokio::runtime::Handle;

use super::{Client, EgressError, start_of};
use crate::config::{OtlpProtocol, Telemetry};

/// Largest answer of a collector that is read, in bytes.
const MOST: usize = 64 * 1024;

/// How long a collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why spans cannot leave at all.
#[derive(Debug, thiserror::Error)]
#[error("spans cannot go to `{endpoint}`: {why}; check otlp_endpoint, otlp_protocol and otlp_headers_env in [telemetry]")]
pub struct ExportError {
    endpoint: String,
    why: String,
}

/// An exporter to that endpoint: a base URL, without the path of the protocol.
///
/// # Errors
/// [`ExportError`] if the endpoint makes no sense; one that is away is no error, now or later.
pub fn exporter(telemetry: &Telemetry, client: Client) -> Result<SpanExporter, ExportError> {
    let endpoint = telemetry.otlp_endpoint.as_str();
    let headers: HashMap<String, String> = telemetry.headers.clone().into_iter().collect();
    let failed = |why: String| ExportError { endpoint: endpoint.to_owned(), why };
    let built = match telemetry.otlp_protocol {
        OtlpProtocol::Http => SpanExporter::builder()
            .with_http()
            .with_http_client(Sender { client, runtime: Handle::current(), failing: Arc::default() })
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_headers(headers)
            .build(),
        OtlpProtocol::Grpc => {
            let headers: axum::http::HeaderMap =
                (&headers).try_into().map_err(|error: axum::http::Error| failed(error.to_string()))?;
            let metadata = MetadataMap::from_headers(headers);
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_metadata(metadata).with_timeout(PATIENCE).build()
        }
    };
    built.map_err(|error| failed(error.to_string()))
}

/// The exporter's thread has no runtime of its own: requests run on the host's.
#[derive(Clone)]
struct Sender {
    client: Client,
    runtime: Handle,
    /// Whether the last batch was refused or lost: said once, and once when it is over.
    failing: Arc<AtomicBool>,
}

impl Sender {
    fn note(&self, trouble: Option<String>) {
        let was = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(why) if !was => tracing::warn!(event = "spans_lost", why, "spans are lost: the collector says {why}"),
            None if was => tracing::info!(event = "spans_back", "the collector takes spans again"),
            Some(_) | None => {}
        }
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sender")
    }
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let outgoing = self.client.post(&parts.uri.to_string())?.headers(parts.headers).body(body).timeout(PATIENCE);
        let sent = self.runtime.spawn(async move {
            let response = outgoing.send().await.map_err(EgressError::from)?;
            let status = response.status();
            let body = start_of(response, MOST).await?;
            Ok::<_, EgressError>((status, body))
        });
        let answered = sent.await?;
        self.note(match &answered {
            Ok((status, _)) if status.is_success() => None,
            Ok((status, body)) => Some(format!("{status}: {}", body.chars().take(200).collect::<String>())),
            Err(error) => Some(error.to_string()),
        });
        let (status, body) = answered?;
        Ok(Response::builder().status(status).body(Bytes::from(body))?)
    }
}
