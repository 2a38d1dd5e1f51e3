//! Components by digest, kept for as long as a run may be resumed by them, or their agent may go back to them.

use super::{Db, StoreError, Tx, editions, on, within};

/// Keeps a component.
pub(super) async fn keep_in(tx: &mut Tx<'_>, digest: &str, bytes: &[u8]) -> Result<(), StoreError> {
    const SQL: &str = "insert into component (digest, bytes) values ($1, $2) on conflict (digest) \
         do update set digest = excluded.digest";

    within!(tx, connection => sqlx::query(SQL).bind(digest).bind(bytes).execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}

/// The digests that are kept.
pub async fn kept(db: &Db) -> Result<Vec<String>, StoreError> {
    const SQL: &str = "select digest from component";

    Ok(on!(db, pool => sqlx::query_scalar(SQL).fetch_all(pool).await)?)
}

/// The component of that digest, if it is kept.
pub async fn bytes(db: &Db, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
    const SQL: &str = "select bytes from component where digest = $1";

    Ok(on!(db, pool => sqlx::query_scalar(SQL).bind(digest).fetch_optional(pool).await)?)
}

/// Drops a component, unless a run may be resumed by it, or it is among the latest of its agent.
pub async fn drop_unneeded(db: &Db, digest: String) -> Result<(), StoreError> {
    const SQL: &str = "delete from component where digest = $1 \
         and not exists (select 1 from hop where hop.digest = $1 and hop.status in ('running', 'parked')) \
         and not exists (select 1 from edition where edition.digest = $1 and (edition.active = 1 or $2 > \
             (select count(*) from edition later where later.agent = edition.agent and later.active = 0 and later.at > edition.at)))";

    db.write(move |tx| {
        Box::pin(async move {
            within!(tx, connection => sqlx::query(SQL).bind(digest).bind(editions::FORMER)
                .execute(&mut **connection).await.map(|_| ()))?;
            Ok(())
        })
    })
    .await
}
