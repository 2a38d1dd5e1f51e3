//! Which component serves as an agent, by digest: the same for every host on one database, whatever lies in their folders.

use super::{Db, StoreError, Tx, on, within};

/// Former components of an agent that are kept, so that it can go back to them.
pub const FORMER: i64 = 4;

/// A component that serves as an agent, or did.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Edition {
    /// Which agent.
    pub agent: String,
    /// SHA-256 in hex.
    pub digest: String,
    /// The agent's own word for it.
    pub version: String,
    /// The signature that stood beside its file, if one did.
    pub signed: Option<String>,
    /// 1 for the one that serves.
    pub active: i64,
    /// When it last began to, in milliseconds since the epoch.
    pub at: i64,
}

const ACTIVE: &str = "select agent, digest, version, signed, active, at from edition where active = 1 order by agent";
const OF_AGENT: &str =
    "select agent, digest, version, signed, active, at from edition where agent = $1 order by active desc, at desc, digest";

/// The one that serves of each agent.
pub async fn active(db: &Db) -> Result<Vec<Edition>, StoreError> {
    Ok(on!(db, pool => sqlx::query_as(ACTIVE).fetch_all(pool).await)?)
}

/// The same, from beside the host.
pub async fn active_beside(tx: &mut Tx<'_>) -> Result<Vec<Edition>, StoreError> {
    Ok(within!(tx, connection => sqlx::query_as(ACTIVE).fetch_all(&mut **connection).await)?)
}

/// All of one agent: the one that serves, then the others, the latest first.
pub async fn of(db: &Db, agent: &str) -> Result<Vec<Edition>, StoreError> {
    Ok(on!(db, pool => sqlx::query_as(OF_AGENT).bind(agent).fetch_all(pool).await)?)
}

/// The same, from beside the host.
pub async fn of_beside(tx: &mut Tx<'_>, agent: &str) -> Result<Vec<Edition>, StoreError> {
    Ok(within!(tx, connection => sqlx::query_as(OF_AGENT).bind(agent).fetch_all(&mut **connection).await)?)
}

/// Keeps a component and lets it serve as that agent.
pub async fn activate(db: &Db, edition: &Edition, bytes: &[u8]) -> Result<(), StoreError> {
    let (edition, bytes) = (edition.clone(), bytes.to_vec());
    db.write(move |tx| {
        Box::pin(async move {
            super::components::keep_in(tx, &edition.digest, &bytes).await?;
            switch(tx, &edition).await
        })
    })
    .await
}

/// Lets that component serve, and no other of its agent.
pub async fn switch(tx: &mut Tx<'_>, to: &Edition) -> Result<(), StoreError> {
    const REST: &str = "update edition set active = 0 where agent = $1 and digest <> $2 and active = 1";
    const SERVE: &str = "insert into edition (agent, digest, version, signed, active, at) values ($1, $2, $3, $4, 1, $5) \
         on conflict (agent, digest) do update \
         set active = 1, at = excluded.at, version = excluded.version, signed = excluded.signed";

    within!(tx, connection => sqlx::query(REST).bind(&to.agent).bind(&to.digest).execute(&mut **connection).await.map(|_| ()))?;
    within!(tx, connection => sqlx::query(SERVE).bind(&to.agent).bind(&to.digest).bind(&to.version)
        .bind(&to.signed).bind(to.at)
        .execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}

/// Whether a component is kept: only to such a one an agent can go back.
pub async fn is_kept(tx: &mut Tx<'_>, digest: &str) -> Result<bool, StoreError> {
    const SQL: &str = "select count(*) from component where digest = $1";

    let count: i64 = within!(tx, connection => sqlx::query_scalar(SQL).bind(digest).fetch_one(&mut **connection).await)?;
    Ok(count > 0)
}
