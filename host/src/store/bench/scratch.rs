//! Throw-away databases: one for the host, and copies of it for the bare statements and for tasks that never end.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};

use super::Line;
use crate::id;
use crate::store::StoreError;

/// What the copies are called behind the name of the host's own.
const FLOOR: &str = "_floor";
const PARKED: &str = "_parked";

/// A database that exists for one bench.
pub struct Scratch {
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Server { server: Url, name: String },
}

impl Scratch {
    /// A SQLite file in a folder that is thrown away.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { place: Place::Folder(folder.to_owned()) }
    }

    /// A new database on a PostgreSQL server; nothing that exists there is touched.
    ///
    /// # Errors
    /// If the server does not answer, or its user may not create databases.
    pub async fn on_server(url: &str) -> Result<Self, StoreError> {
        let bad = |why: String| StoreError::Open {
            url: "postgres://…".into(),
            why,
            hint: "bench makes a database of its own there: name a server whose user may create databases",
        };
        let server = Url::parse(url).map_err(|error| bad(error.to_string()))?;
        let name = format!("bench_{}", id::task().to_lowercase());
        administer(&server, format!("create database {name}")).await.map_err(|error| bad(error.to_string()))?;
        Ok(Self { place: Place::Server { server, name } })
    }

    /// What the rows of its figures are called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.place {
            Place::Folder(_) => "sqlite",
            Place::Server { .. } => "postgres",
        }
    }

    /// Where the host keeps its tasks.
    #[must_use]
    pub fn url(&self) -> String {
        self.at("")
    }

    /// Where the bare statements go.
    #[must_use]
    pub fn floor_url(&self) -> String {
        self.at(FLOOR)
    }

    /// Where tasks are parked and left.
    #[must_use]
    pub fn parked_url(&self) -> String {
        self.at(PARKED)
    }

    fn at(&self, suffix: &str) -> String {
        match &self.place {
            Place::Folder(folder) => format!("sqlite://{}", folder.join(format!("bench{suffix}.db")).display()),
            Place::Server { server, name } => {
                let mut url = server.clone();
                url.set_path(&format!("{name}{suffix}"));
                url.into()
            }
        }
    }

    /// Copies the host's database: the same tables, indices and first rows. No host may be running on it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn copy(&self) -> Result<(), StoreError> {
        const SQL: &str = "vacuum into $1";

        match &self.place {
            Place::Folder(folder) => {
                if let Line::Sqlite(mut connection) = Line::open(&self.url()).await? {
                    for suffix in [FLOOR, PARKED] {
                        let file = folder.join(format!("bench{suffix}.db")).display().to_string();
                        sqlx::query(SQL).bind(file).execute(&mut connection).await?;
                    }
                    connection.close().await?;
                }
                Ok(())
            }
            Place::Server { server, name } => {
                for suffix in [FLOOR, PARKED] {
                    administer(server, format!("create database {name}{suffix} template {name}")).await?;
                }
                Ok(())
            }
        }
    }

    /// Removes them from a server; a folder is removed by whoever made it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remove(&self) -> Result<(), StoreError> {
        if let Place::Server { server, name } = &self.place {
            for suffix in [PARKED, FLOOR, ""] {
                administer(server, format!("drop database if exists {name}{suffix} with (force)")).await?;
            }
        }
        Ok(())
    }
}

/// A statement that takes no parameters and no transaction. The only text in it that varies is a ULID that we made.
async fn administer(server: &Url, statement: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(&PgConnectOptions::from_str(server.as_str())?).await?;
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}
