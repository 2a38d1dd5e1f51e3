//! How spans leave: OTLP over HTTP, through the one client of this process, or over gRPC.

use std::collections::HashMap;

use axum::body::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use tokio::runtime::Handle;

use super::{Client, EgressError, start_of};
use crate::config::{OtlpProtocol, Telemetry};

/// Largest answer of a collector that is read, in bytes.
const MOST: usize = 64 * 1024;

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
            .with_http_client(Sender { client, runtime: Handle::current() })
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_headers(headers)
            .build(),
        OtlpProtocol::Grpc => {
            let headers: axum::http::HeaderMap =
                (&headers).try_into().map_err(|error: axum::http::Error| failed(error.to_string()))?;
            let metadata = MetadataMap::from_headers(headers);
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_metadata(metadata).build()
        }
    };
    built.map_err(|error| failed(error.to_string()))
}

/// The exporter's thread has no runtime of its own: requests run on the host's.
#[derive(Clone)]
struct Sender {
    client: Client,
    runtime: Handle,
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
        let outgoing = self.client.post(&parts.uri.to_string())?.headers(parts.headers).body(body);
        let sent = self.runtime.spawn(async move {
            let response = outgoing.send().await.map_err(EgressError::from)?;
            let status = response.status();
            let body = start_of(response, MOST).await?;
            Ok::<_, EgressError>((status, body))
        });
        let (status, body) = sent.await??;
        if !status.is_success() {
            tracing::debug!(event = "spans_refused", %status, "the collector refused spans");
        }
        Ok(Response::builder().status(status).body(Bytes::from(body))?)
    }
}
