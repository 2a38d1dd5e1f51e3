//! What a task wrote into the vault, by content: its own file is one whose content stands here.

use policy::task::Timestamp;
use policy::tier::Tier;

use super::{Db, StoreError, Tx, on, within};

/// One file that a task wrote or is about to write.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// The task.
    pub task: String,
    /// Relative to the vault's root.
    pub path: String,
    /// Of the whole file, in hex.
    pub sha256: String,
    /// The hop that wrote it.
    pub hop: u32,
    /// The agent that wrote it.
    pub agent: String,
    /// The component that wrote it.
    pub digest: String,
    /// The label that it carries.
    pub tier: Tier,
}

/// Notes the content before the file is written.
pub(super) async fn intend(tx: &mut Tx<'_>, artefact: Artefact) -> Result<(), StoreError> {
    const SQL: &str = "insert into artefact (task, path, sha256, hop, agent, digest, tier) values ($1, $2, $3, $4, $5, $6, $7) \
         on conflict (task, path, sha256) do nothing";

    within!(tx, connection => sqlx::query(SQL)
        .bind(&artefact.task)
        .bind(&artefact.path)
        .bind(&artefact.sha256)
        .bind(i64::from(artefact.hop))
        .bind(&artefact.agent)
        .bind(&artefact.digest)
        .bind(artefact.tier.as_str())
        .execute(&mut **connection)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// A file that was written, by its content.
#[derive(Clone, Debug)]
pub struct Wrote {
    /// Relative to the vault's root.
    pub path: String,
    /// Of the whole file, in hex.
    pub sha256: String,
}

/// Notes that the file is there.
pub(super) async fn wrote(tx: &mut Tx<'_>, task: &str, file: &Wrote, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "update artefact set written_at = $4 where task = $1 and path = $2 and sha256 = $3";

    within!(tx, connection => sqlx::query(SQL).bind(task).bind(&file.path).bind(&file.sha256).bind(now.0)
        .execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}

/// The contents that this task has given, or meant to give, that path.
pub async fn contents(db: &Db, task: &str, path: &str) -> Result<Vec<String>, StoreError> {
    const SQL: &str = "select sha256 from artefact where task = $1 and path = $2";

    Ok(on!(db, pool => sqlx::query_scalar(SQL).bind(task).bind(path).fetch_all(pool).await)?)
}

/// The files of a task with the tier of each, in the order of writing.
pub async fn of(db: &Db, task: &str) -> Result<Vec<(String, Tier)>, StoreError> {
    const SQL: &str = "select path, max(written_at), max(case tier when 'restricted' then 2 when 'internal' then 1 else 0 end) \
         from artefact where task = $1 and written_at is not null group by path order by 2";

    let rows: Vec<(String, i64, i64)> = match &db.pool {
        super::Pool::Sqlite(pool, _) => sqlx::query_as(SQL).bind(task).fetch_all(pool).await?,
        super::Pool::Postgres(pool) => {
            let rows: Vec<(String, i64, i32)> = sqlx::query_as(SQL).bind(task).fetch_all(pool).await?;
            rows.into_iter().map(|(path, at, tier)| (path, at, i64::from(tier))).collect()
        }
    };
    let tier = |rank| match rank {
        0 => Tier::Public,
        1 => Tier::Internal,
        _ => Tier::Restricted,
    };
    Ok(rows.into_iter().map(|(path, _, rank)| (path, tier(rank))).collect())
}
