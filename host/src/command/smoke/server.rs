//! The tool server of the smoke test: two tools about one file of a folder that is thrown away. It listens on loopback, for one run.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, JsonObject, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Writes the file. Its name is one that the errand-runner's shipped grant covers.
pub(super) const WRITE: &str = "kubectl_smoke_write";
/// Reads it.
pub(super) const READ: &str = "kubectl_smoke_read";

#[derive(Clone)]
struct Smoke {
    file: PathBuf,
}

/// Starts it; its address.
pub(super) async fn start(file: PathBuf) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port of loopback is free")?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let served = Smoke { file };
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(served.clone()), sessions, StreamableHttpServerConfig::default());
    let routes = axum::Router::new().nest_service("/mcp", service);
    // It ends with the process.
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}

fn schema(properties: &Value, required: &[&str]) -> JsonObject {
    let schema = json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    schema.as_object().cloned().unwrap_or_default()
}

impl ServerHandler for Smoke {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let text = json!({ "text": { "type": "string", "maxLength": 200 } });
        let write = Tool::new(WRITE, "Writes the file of the smoke test.", schema(&text, &["text"]));
        let read = Tool::new(READ, "Reads the file of the smoke test.", schema(&json!({}), &[]));
        let read = read.with_annotations(ToolAnnotations::new().read_only(true));
        Ok(ListToolsResult::with_all_items(vec![write, read]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let failed = |error: std::io::Error| ErrorData::internal_error(error.to_string(), None);
        let said = match request.name.as_ref() {
            WRITE => {
                let text = request.arguments.as_ref().and_then(|all| all.get("text")).and_then(Value::as_str).unwrap_or_default();
                // A second write would show.
                let before = tokio::fs::read_to_string(&self.file).await.unwrap_or_default();
                tokio::fs::write(&self.file, format!("{before}{text}\n")).await.map_err(failed)?;
                "written".to_owned()
            }
            READ => tokio::fs::read_to_string(&self.file).await.map_err(failed)?,
            other => return Err(ErrorData::invalid_params(format!("there is no tool `{other}`"), None)),
        };
        Ok(CallToolResponse::Complete(CallToolResult::success(vec![ContentBlock::text(said)])))
    }
}
