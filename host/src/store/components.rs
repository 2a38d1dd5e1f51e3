//! Components by digest, kept for as long as a run may be resumed by them.

use super::{Db, StoreError, on, within};

/// Keeps a component.
pub async fn keep(db: &Db, digest: String, bytes: Vec<u8>) -> Result<(), StoreError> {
    const SQL: &str = "insert into component (digest, bytes) values ($1, $2) on conflict (digest) do nothing";

    db.write(move |tx| {
        Box::pin(async move {
            within!(tx, connection => sqlx::query(SQL).bind(digest).bind(bytes).execute(&mut **connection).await.map(|_| ()))?;
            Ok(())
        })
    })
    .await
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

/// Drops a component, unless a run may be resumed by it.
pub async fn drop_unneeded(db: &Db, digest: String) -> Result<(), StoreError> {
    const SQL: &str = "delete from component where digest = $1 \
         and not exists (select 1 from hop where hop.digest = $1 and hop.status in ('running', 'parked'))";

    db.write(move |tx| {
        Box::pin(async move {
            within!(tx, connection => sqlx::query(SQL).bind(digest).execute(&mut **connection).await.map(|_| ()))?;
            Ok(())
        })
    })
    .await
}
