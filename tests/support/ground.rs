//! What a test stands on: one of both databases, and one of both protocols of model servers.

use super::fake::{Model, Protocol};
use super::{Setup, postgres};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Sqlite,
    Postgres,
}

#[derive(Clone, Copy, Debug)]
pub struct Ground {
    pub store: Store,
    pub protocol: Protocol,
}

impl Ground {
    /// A model server of this ground's protocol.
    pub async fn model(self) -> Model {
        Model::start(self.protocol).await
    }

    /// A host of this ground, with every group served by `model`.
    pub async fn setup(self, model: &Model) -> Setup {
        self.under(Setup::with(model)).await
    }

    /// A host of this ground without a model.
    pub async fn bare(self) -> Setup {
        self.under(Setup::bare()).await
    }

    async fn under(self, setup: Setup) -> Setup {
        let database = match self.store {
            Store::Sqlite => None,
            Store::Postgres => Some(postgres::database().await),
        };
        Setup { database, ..setup }
    }
}

/// Each test on both databases and with both protocols.
macro_rules! on_both_grounds {
    ($($test:ident),+ $(,)?) => {
        $crate::support::ground::on_ground!(sqlite_ollama, Sqlite, Ollama, $($test),+);
        $crate::support::ground::on_ground!(postgres_openai, Postgres, Openai, $($test),+);
    };
}
pub(crate) use on_both_grounds;

/// Each test with every pair of them.
macro_rules! on_every_ground {
    ($($test:ident),+ $(,)?) => {
        $crate::support::ground::on_both_grounds!($($test),+);
        $crate::support::ground::on_ground!(sqlite_openai, Sqlite, Openai, $($test),+);
        $crate::support::ground::on_ground!(postgres_ollama, Postgres, Ollama, $($test),+);
    };
}
pub(crate) use on_every_ground;

macro_rules! on_ground {
    ($name:ident, $store:ident, $protocol:ident, $($test:ident),+) => {
        mod $name {
            use $crate::support::fake::Protocol;
            use $crate::support::ground::{Ground, Store};

            $(#[tokio::test]
            async fn $test() {
                super::$test(Ground { store: Store::$store, protocol: Protocol::$protocol }).await;
            })+
        }
    };
}
pub(crate) use on_ground;
