//! Components that must not run any more, by digest. A host learns of them as it runs; whoever revokes one need not be a host.

use policy::task::Timestamp;

use super::{Db, StoreError, Tx, on, within};

/// A component that must not run any more.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Revoked {
    /// SHA-256 in hex.
    pub digest: String,
    /// Since when, in milliseconds since the epoch.
    pub at: i64,
    /// Why, in the operator's words.
    pub reason: String,
}

const ALL: &str = "select digest, at, reason from revoked order by at, digest";

/// All of them.
pub async fn all(db: &Db) -> Result<Vec<Revoked>, StoreError> {
    Ok(on!(db, pool => sqlx::query_as(ALL).fetch_all(pool).await)?)
}

/// The same, from beside the host.
pub async fn listed(tx: &mut Tx<'_>) -> Result<Vec<Revoked>, StoreError> {
    Ok(within!(tx, connection => sqlx::query_as(ALL).fetch_all(&mut **connection).await)?)
}

/// Revokes a component; `false` if it was revoked before, and then the first reason stays.
pub async fn revoke(tx: &mut Tx<'_>, digest: &str, reason: &str, now: Timestamp) -> Result<bool, StoreError> {
    const SQL: &str = "insert into revoked (digest, at, reason) values ($1, $2, $3) on conflict (digest) do nothing";

    Ok(within!(tx, connection => sqlx::query(SQL).bind(digest).bind(now.0).bind(reason)
        .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
}

/// The digests that a task was worked on by, or may be.
pub async fn known(tx: &mut Tx<'_>) -> Result<Vec<String>, StoreError> {
    const SQL: &str = "select digest from component union select digest from hop where digest is not null order by 1";

    Ok(within!(tx, connection => sqlx::query_scalar(SQL).fetch_all(&mut **connection).await)?)
}
