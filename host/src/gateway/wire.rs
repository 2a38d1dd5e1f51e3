//! What goes over the line: the SDK's own use of our HTTP client, but for one thing. Some servers answer an error that does not say
//! which request it belongs to, and nobody would hear it: here it is known.

use std::collections::HashMap;
use std::sync::Arc;

use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::streamable_http_client::{StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse};

type Headers = HashMap<HeaderName, HeaderValue>;
type Failed = StreamableHttpError<reqwest::Error>;

/// A cheap handle.
#[derive(Clone)]
pub(super) struct Wire(pub(super) reqwest::Client);

/// An error that names no request is the answer to the one that was posted; if it speaks of the session, that is lost.
fn claimed(
    message: &ClientJsonRpcMessage,
    in_session: bool,
    mut answer: StreamableHttpPostResponse,
) -> Result<StreamableHttpPostResponse, Failed> {
    let ClientJsonRpcMessage::Request(request) = message else { return Ok(answer) };
    if let StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(error), _) = &mut answer
        && error.id.is_none()
    {
        // The codes under which servers refuse a session before they look at the request.
        let refused = [-32600, -32000, -32001].contains(&error.error.code.0);
        if in_session && refused && error.error.message.to_lowercase().contains("session") {
            return Err(StreamableHttpError::SessionExpired);
        }
        error.id = Some(request.id.clone());
    }
    Ok(answer)
}

impl StreamableHttpClient for Wire {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let in_session = session.is_some();
        let answer = self.0.post_message(uri, message.clone(), session, token, headers).await?;
        claimed(&message, in_session, answer)
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let in_session = session.is_some();
        let answer = self.0.post_message_with_max_sse_event_size(uri, message.clone(), session, token, headers, most).await?;
        claimed(&message, in_session, answer)
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<(), Failed> {
        self.0.delete_session(uri, session, token, headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<BoxedSseResponse, Failed> {
        self.0.get_stream(uri, session, last, token, headers).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        token: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Result<BoxedSseResponse, Failed> {
        self.0.get_stream_with_max_sse_event_size(uri, session, last, token, headers, most).await
    }
}
