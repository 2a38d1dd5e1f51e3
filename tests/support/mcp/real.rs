//! Tool servers that others wrote: the reference server of the protocol (stateful, TypeScript), and one in Python that speaks the
//! newest revision (stateless). Both on loopback.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{PATIENCE, fetched, npm};

const EVERYTHING: &str = "@modelcontextprotocol/server-everything@2026.8.31";
const FASTMCP: &str = "fastmcp==4.1.2";
const TIME: &str = "mcp-server-time==2026.10.19";
const GATEWAY: &str = "supergateway@4.0.0";
const FILES: &str = "@modelcontextprotocol/server-filesystem@2026.8.31";

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

/// The official Python SDK, newest revision only: a tool that gives it one more, and tells whoever listens.
const LEARNING: &str = r#"
import socket, uvicorn
from mcp.server.mcpserver import Context, MCPServer

mcp = MCPServer("learning")

@mcp.tool()
async def learn(name: str, ctx: Context) -> str:
    """Has one tool more from now on."""
    mcp.add_tool(lambda: "known", name=name, description="Came later.")
    await ctx.notify_tools_changed()
    return f"{name} is known"

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print("PORT", listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(mcp.streamable_http_app(), log_level="error")).run(sockets=[listener])
"#;

/// A house whose state is a file: what is done shows in it, one line of `done.jsonl` for each thing done.
const HOUSE: &str = r#"
import json, pathlib, socket, sys, time, uvicorn
from fastmcp import FastMCP

folder = pathlib.Path(sys.argv[1])
mcp = FastMCP("house")

def read():
    return json.loads((folder / "state.json").read_text())

def done(what, state=None):
    if state is not None:
        (folder / "state.json").write_text(json.dumps(state))
    with open(folder / "done.jsonl", "a") as log:
        log.write(json.dumps(what) + "\n")

@mcp.tool(annotations={"readOnlyHint": True})
def kubectl_get_deployments(namespace: str) -> dict:
    """Deployments of a namespace, with their replicas."""
    return {"namespace": namespace, "deployments": read()["deployments"]}

@mcp.tool(annotations={"readOnlyHint": True})
def kubectl_get_events(namespace: str) -> dict:
    """The latest events of a namespace."""
    return {"namespace": namespace, "events": ["jellyfin was OOMKilled twice"]}

@mcp.tool(annotations={"readOnlyHint": True})
def grafana_query_prometheus(expr: str) -> dict:
    """Asks Prometheus."""
    return {"expr": expr, "value": -1.5e9}

@mcp.tool(annotations={"readOnlyHint": False, "destructiveHint": False})
def grafana_create_silence(name: str, matchers: str, hours: int) -> dict:
    """Silences alerts."""
    done({"silence": name, "matchers": matchers, "hours": hours})
    return {"silenced": name}

@mcp.tool(annotations={"readOnlyHint": False, "destructiveHint": False})
def kubectl_scale(name: str, replicas: int, dry_run: bool = False) -> dict:
    """Scales a deployment."""
    state = read()
    if name not in state["deployments"]:
        raise ValueError(f"there is no deployment {name}")
    if not dry_run:
        state["deployments"][name] = replicas
        done({"scale": name, "replicas": replicas}, state)
    return {"name": name, "replicas": replicas, "dry_run": dry_run}

@mcp.tool(annotations={"readOnlyHint": False, "destructiveHint": True})
def kubectl_delete(kind: str, name: str) -> dict:
    """Deletes a thing."""
    done({"delete": kind, "name": name})
    return {"deleted": name}

@mcp.tool(annotations={"readOnlyHint": True})
def ha_ha_get_state(entity_id: str) -> dict:
    """The state of an entity."""
    return {"entity_id": entity_id, "state": read()["entities"].get(entity_id, "unknown")}

@mcp.tool(annotations={"readOnlyHint": False, "destructiveHint": False})
def ha_ha_call_service(domain: str, service: str, entity_id: str | list[str] | None = None, data: dict | None = None, wait: bool = True) -> dict:
    """Calls a service of Home Assistant."""
    done({"domain": domain, "service": service, "entity_id": entity_id, "data": data})
    return {"called": f"{domain}.{service}"}

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print("PORT", listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(mcp.http_app(path="/mcp"), log_level="error")).run(sockets=[listener])
"#;

/// The time server, which speaks over pipes only, behind an HTTP address.
const CLOCK: &str = r#"
import socket, sys, uvicorn
from fastmcp.server import create_proxy

proxy = create_proxy({"mcpServers": {
    "time": {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"], "env": {"PYTHONPATH": sys.argv[1]}},
}})
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print("PORT", listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(proxy.http_app(path="/mcp"), log_level="error")).run(sockets=[listener])
"#;

/// What was done in a house, in order.
pub fn done(folder: &std::path::Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join("done.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

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

    /// One that learns more tools as it runs.
    pub async fn learning() -> Self {
        let mut command = Command::new("python3");
        Self::running(command.args(["-u", "-c", LEARNING]).env("PYTHONPATH", fetched(FASTMCP, &[]))).await
    }

    /// A house in that folder: three deployments, and `renee` at home or not.
    pub async fn house(folder: &std::path::Path, home: bool) -> Self {
        let renee = if home { "home" } else { "not_home" };
        let state = serde_json::json!({
            "deployments": { "jellyfin": 1, "plex": 0, "grafana": 2 }, "entities": { "person.renee": renee, "lock.front": "locked" },
        });
        std::fs::write(folder.join("state.json"), state.to_string()).unwrap();
        let mut command = Command::new("python3");
        command.args(["-u", "-c", HOUSE]).arg(folder).env("PYTHONPATH", fetched(FASTMCP, &[]));
        Self::running(&mut command).await
    }

    /// The time server.
    pub async fn clock() -> Self {
        let (time, proxy) = (fetched(TIME, &[]), fetched(FASTMCP, &[]));
        let mut command = Command::new("python3");
        Self::running(command.args(["-u", "-c", CLOCK]).arg(time).env("PYTHONPATH", proxy)).await
    }

    /// The reference server of files, which may write in one folder; it speaks over pipes, and another puts it behind an HTTP address.
    pub async fn files(folder: &std::path::Path) -> Self {
        let files = npm(FILES).join("node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
        let gateway = npm(GATEWAY).join("node_modules/supergateway/dist/index.js");
        let mut command = Command::new("node");
        command.arg("--import").arg(format!("data:text/javascript,{ON_LOOPBACK}")).arg(gateway);
        command.arg("--stdio").arg(format!("node {} {}", files.display(), folder.display()));
        Self::running(command.args(["--outputTransport", "streamableHttp", "--stateful", "--port", "0"])).await
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
