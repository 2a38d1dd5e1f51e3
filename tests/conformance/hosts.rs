//! Many hosts on one database: who is gone, who only sleeps, and who only looks.

use host::store::leases;
use host::store::tasks;
use host::store::{Db, StoreError};
use policy::task::Timestamp;
use serde_json::json;

use super::tasks::{enqueue, lease};
use crate::support::postgres;

const FAR: i64 = i64::MAX / 2;

#[tokio::test]
async fn a_host_that_is_gone_loses_its_leases_at_once_and_one_that_lives_keeps_them() -> Result<(), StoreError> {
    let url = postgres::database().await;
    let (gone, lives, other) = (Db::open(&url).await?, Db::open(&url).await?, Db::open(&url).await?);
    enqueue(&gone, "A", json!({}), 0).await?;
    enqueue(&gone, "B", json!({}), 1).await?;
    assert_eq!(lease(&gone, 2, FAR).await?.unwrap().task.id, "A");
    assert_eq!(lease(&lives, 2, FAR).await?.unwrap().task.id, "B");
    assert!(!leases::lost(&other, Timestamp(3)).await?, "both are there");
    assert_eq!(leases::rescue(&other, Timestamp(3)).await?, 0);

    drop(gone);
    // The server notices a closed connection when it gets round to it.
    let noticed = async {
        while !leases::lost(&other, Timestamp(3)).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, noticed).await.expect("the end of a host is noticed");
    assert_eq!(leases::rescue(&other, Timestamp(3)).await?, 1);
    assert_eq!(tasks::find(&other, "A").await?.unwrap().status.as_str(), "pending");
    assert_eq!(tasks::find(&other, "B").await?.unwrap().status.as_str(), "running");
    Ok(())
}

#[tokio::test]
async fn a_task_of_one_host_wakes_the_others() -> Result<(), StoreError> {
    let url = postgres::database().await;
    let (one, other) = (Db::open(&url).await?, Db::open(&url).await?);
    let due = other.bell().due();
    // What rings when the listener connects is not what is waited for.
    due.notified().await;
    let heard = due.notified();
    one.bell().ring();
    tokio::time::timeout(crate::support::PATIENCE, heard).await.expect("the other host is woken");
    Ok(())
}

/// Looks at a database on which a host works, and on which none does.
async fn a_reader_changes_nothing(url: &str) -> Result<(), StoreError> {
    let host = Db::open(url).await?;
    enqueue(&host, "A", json!({}), 0).await?;
    assert_eq!(lease(&host, 1, FAR).await?.unwrap().task.id, "A");
    let reader = Db::reading(url).await?;
    assert_eq!(tasks::find(&reader, "A").await?.unwrap().status.as_str(), "running", "no lease was voided");
    assert!(matches!(enqueue(&reader, "B", json!({}), 2).await, Err(StoreError::ReadOnly)));
    assert!(matches!(reader.ping().await, Err(StoreError::ReadOnly)));
    assert!(tasks::find(&host, "B").await?.is_none());
    enqueue(&host, "C", json!({}), 3).await?;
    assert!(tasks::find(&reader, "C").await?.is_some(), "it sees what the host writes meanwhile");
    drop(host);
    let alone = Db::reading(url).await?;
    assert_eq!(tasks::find(&alone, "A").await?.unwrap().status.as_str(), "running");
    Ok(())
}

#[tokio::test]
async fn a_reader_of_a_file_changes_nothing() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("host.db").display());
    assert!(matches!(Db::reading(&url).await, Err(StoreError::Open { .. })), "there is none yet");
    assert!(crate::support::names(folder.path()).is_empty(), "and none is made");
    a_reader_changes_nothing(&url).await
}

#[tokio::test]
async fn a_reader_of_a_shared_database_changes_nothing() -> Result<(), StoreError> {
    let url = postgres::database().await;
    assert!(matches!(Db::reading(&url).await, Err(StoreError::Open { .. })), "it has no tables yet");
    a_reader_changes_nothing(&url).await
}
