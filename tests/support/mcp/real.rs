//! Tool servers that others wrote: the reference server of the protocol (stateful, TypeScript), and one in Python that speaks the
//! newest revision (stateless). Both on loopback.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{PATIENCE, fetched, npm};

const EVERYTHING: &str = "@modelcontextprotocol/server-everything@2026.8.31";
const FASTMCP: &str = "fastmcp==4.1.2";

/// It would listen on every interface, and cannot be told otherwise; this lets it listen on loopback only, and tells the port.
const ON_LOOPBACK: &str = "import net from 'node:net'; const listen = net.Server.prototype.listen; \
    net.Server.prototype.listen = function (port, ...more) { \
    this.once('listening', () => console.log('PORT ' + this.address().port)); \
    return listen.call(this, { port: Number(port), host: '127.0.0.1' }, more.find((one) => typeof one === 'function')); };";

/// A few tools, with annotations as servers write them.
const PYTHON: &str = r#"
import socket, uvicorn
from fastmcp import FastMCP

mcp = FastMCP("real")

@mcp.tool(annotations={"readOnlyHint": True})
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b

@mcp.tool(annotations={"readOnlyHint": True})
def breaks() -> str:
    """Raises."""
    raise ValueError("it broke in Python")

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print("PORT", listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(mcp.http_app(path="/mcp"), log_level="error")).run(sockets=[listener])
"#;

/// A server that others wrote. It ends with its value.
pub struct Real {
    child: Child,
    url: String,
}

impl Real {
    /// The reference server, in TypeScript.
    pub async fn everything() -> Self {
        Self::everything_at(0).await
    }

    /// The same on a port that it had before.
    pub async fn everything_at(port: u16) -> Self {
        let program = npm(EVERYTHING).join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
        let mut command = Command::new("node");
        command.arg("--import").arg(format!("data:text/javascript,{ON_LOOPBACK}")).arg(program).arg("streamableHttp");
        Self::running(command.env("PORT", port.to_string())).await
    }

    /// A server in Python.
    pub async fn python() -> Self {
        let mut command = Command::new("python3");
        Self::running(command.args(["-u", "-c", PYTHON]).env("PYTHONPATH", fetched(FASTMCP, &[]))).await
    }

    async fn running(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the server comes up");
                if let Some(port) = line.strip_prefix("PORT ") {
                    return port.to_owned();
                }
            }
        };
        let port = tokio::time::timeout(PATIENCE, port).await.expect("the server comes up in time");
        // It goes on to print: somebody has to read.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, url: format!("http://127.0.0.1:{port}/mcp") }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it; its port.
    pub async fn kill(mut self) -> u16 {
        self.child.kill().await.unwrap();
        let (_, port) = self.url.trim_end_matches("/mcp").rsplit_once(':').unwrap();
        port.parse().unwrap()
    }
}
