//! Links by which a person may answer a question or look after a dead letter: each works once. A token itself is never kept, only its
//! hash; and the key that signs them, which all hosts of one database share.

use policy::task::Timestamp;

use super::{Db, StoreError, Tx, on, within};

/// Knows links from now on; one that is known stays as it is.
pub async fn add(db: &Db, subject: String, hashes: Vec<String>) -> Result<(), StoreError> {
    const SQL: &str = "insert into link (sha256, subject) values ($1, $2) on conflict (sha256) do nothing";

    db.write(move |tx| {
        Box::pin(async move {
            for sha256 in &hashes {
                within!(tx, connection => sqlx::query(SQL).bind(sha256).bind(&subject)
                    .execute(&mut **connection).await.map(|_| ()))?;
            }
            Ok(())
        })
    })
    .await
}

/// Whether a link was used; `None` if it is none of ours.
pub async fn used(db: &Db, sha256: &str) -> Result<Option<bool>, StoreError> {
    const SQL: &str = "select spent_at from link where sha256 = $1";

    let found: Option<Option<i64>> = on!(db, pool => sqlx::query_scalar(SQL).bind(sha256).fetch_optional(pool).await)?;
    Ok(found.map(|spent| spent.is_some()))
}

/// Uses a link; `false` if it was used before, is not known, or is about something else.
pub(super) async fn spend(tx: &mut Tx<'_>, sha256: &str, subject: &str, now: Timestamp) -> Result<bool, StoreError> {
    const SQL: &str = "update link set spent_at = $3 where sha256 = $1 and subject = $2 and spent_at is null";

    Ok(within!(tx, connection => sqlx::query(SQL).bind(sha256).bind(subject).bind(now.0).execute(&mut **connection).await
        .map(|done| done.rows_affected() == 1))?)
}

/// Uses a link by itself.
pub async fn use_up(db: &Db, sha256: String, subject: String, now: Timestamp) -> Result<bool, StoreError> {
    db.write(move |tx| Box::pin(async move { spend(tx, &sha256, &subject, now).await })).await
}

/// The secret of that name: the one that is kept, or `fresh` from now on.
pub async fn secret(db: &Db, name: &'static str, fresh: String) -> Result<String, StoreError> {
    const ADD: &str = "insert into secret (name, value) values ($1, $2) on conflict (name) do nothing";
    const SQL: &str = "select value from secret where name = $1";

    db.write(move |tx| {
        Box::pin(async move {
            within!(tx, connection => sqlx::query(ADD).bind(name).bind(&fresh).execute(&mut **connection).await.map(|_| ()))?;
            Ok(within!(tx, connection => sqlx::query_scalar(SQL).bind(name).fetch_one(&mut **connection).await)?)
        })
    })
    .await
}
