//! What every store must do, as scenarios over a store.

mod backends;
mod consent;
mod hosts;
mod intervene;
mod journal;
mod ledger;
mod model;
mod schema;
mod tasks;
mod todos;
mod verdicts;

/// Each scenario gets a fresh database of each kind.
macro_rules! on_every_store {
    ($($scenario:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $scenario() {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}", folder.path().join("host.db").display());
                super::$scenario(host::store::Db::open(&url).await.unwrap()).await.unwrap();
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $scenario() {
                let url = $crate::support::postgres::database().await;
                super::$scenario(host::store::Db::open(&url).await.unwrap()).await.unwrap();
            })+
        }
    };
}
pub(crate) use on_every_store;
