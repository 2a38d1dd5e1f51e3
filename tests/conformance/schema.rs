//! Both databases hold the same: the migrations of one may not drift from those of the other.

use std::collections::{BTreeMap, BTreeSet};

use host::store::Db;
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::support::postgres;

/// Columns by table: name, whether it may be null, and whether it is a number.
type Tables = BTreeMap<String, BTreeSet<(String, bool, bool)>>;

#[tokio::test]
async fn both_databases_have_the_same_columns() {
    let (sqlite, postgres) = (of_sqlite().await, of_postgres().await);
    assert!(sqlite.len() > 4, "{sqlite:?}");
    assert_eq!(sqlite, postgres);
}

async fn of_sqlite() -> Tables {
    const SQL: &str = "select m.name, c.name, c.\"notnull\", c.type from sqlite_master m, pragma_table_info(m.name) c \
         where m.type = 'table' and m.name not like 'sqlite_%' and m.name not like '_sqlx%'";

    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("host.db").display());
    let _made = Db::open(&url).await.unwrap();
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let rows: Vec<(String, String, i64, String)> = sqlx::query_as(SQL).fetch_all(&mut connection).await.unwrap();
    tables(rows.into_iter().map(|(table, column, not_null, kind)| (table, column, not_null == 0, kind == "INTEGER")))
}

async fn of_postgres() -> Tables {
    const SQL: &str = "select table_name::text, column_name::text, is_nullable::text, data_type::text \
         from information_schema.columns where table_schema = 'public' and table_name not like '\\_sqlx%'";

    let url = postgres::database().await;
    let _made = Db::open(&url).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(SQL).fetch_all(&mut connection).await.unwrap();
    tables(rows.into_iter().map(|(table, column, nullable, kind)| (table, column, nullable == "YES", kind == "bigint")))
}

fn tables(columns: impl Iterator<Item = (String, String, bool, bool)>) -> Tables {
    let mut tables = Tables::new();
    for (table, column, nullable, number) in columns {
        tables.entry(table).or_default().insert((column, nullable, number));
    }
    tables
}
