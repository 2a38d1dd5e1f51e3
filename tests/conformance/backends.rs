//! Outages: one trial at a time, one notice, and everybody goes on.

use host::store::backends::{self, LONGEST, NOTICE, Outage, PAUSE};
use host::store::leases::{Settlement, Waits};
use host::store::{Db, StoreError, tasks};
use policy::task::Timestamp;
use serde_json::json;

use super::on_every_store;
use super::tasks::{SERVER, enqueue, lease, park, settle};

on_every_store![
    a_trial_is_one_tasks_and_comes_later_each_time,
    everybody_goes_on_when_a_server_is_back,
    a_long_outage_is_noticed_once,
    a_task_knows_since_when_and_how_often,
    a_call_that_failed_by_itself_rests_and_lets_others_try_first,
];

const FAR: i64 = 100 * NOTICE;

/// So many tasks, all parked at `SERVER` at that moment.
async fn parked(db: &Db, ids: &[&str], now: i64) -> Result<(), StoreError> {
    for id in ids {
        enqueue(db, id, json!({}), now).await?;
    }
    for _ in ids {
        let leased = lease(db, now, FAR).await?.unwrap();
        assert!(settle(db, &leased, park(FAR), now).await?);
    }
    Ok(())
}

async fn a_trial_is_one_tasks_and_comes_later_each_time(db: Db) -> Result<(), StoreError> {
    parked(&db, &["A", "B", "C"], 0).await?;
    let mut at = 0;
    for pause in [PAUSE, PAUSE, 2 * PAUSE, 4 * PAUSE, LONGEST, LONGEST] {
        assert_eq!(backends::due(&db, Timestamp(at + pause - 1)).await?, [""; 0], "not before {pause} ms");
        at += pause;
        assert_eq!(backends::due(&db, Timestamp(at)).await?, [SERVER]);
        assert!(backends::claim(&db, SERVER.into(), Timestamp(at)).await?);
        assert!(!backends::claim(&db, SERVER.into(), Timestamp(at)).await?, "one host is enough");
        assert!(backends::try_one(&db, SERVER.into(), Timestamp(at)).await?);
        let trying = lease(&db, at, FAR).await?.expect("one may try");
        assert!(lease(&db, at, FAR).await?.is_none(), "and no other");
        assert!(settle(&db, &trying, park(FAR + at), at).await?);
    }
    Ok(())
}

async fn everybody_goes_on_when_a_server_is_back(db: Db) -> Result<(), StoreError> {
    parked(&db, &["A", "B", "C"], 5).await?;
    assert_eq!(backends::recovered(&db, SERVER.into(), Timestamp(50)).await?, Some(5));
    assert_eq!(backends::recovered(&db, SERVER.into(), Timestamp(51)).await?, None, "no news");
    assert_eq!(backends::away(&db).await?, []);
    for _ in 0..3 {
        assert!(lease(&db, 50, FAR).await?.is_some());
    }
    Ok(())
}

async fn a_long_outage_is_noticed_once(db: Db) -> Result<(), StoreError> {
    parked(&db, &["A"], 0).await?;
    assert_eq!(backends::overdue(&db, |_| Vec::new(), Timestamp(NOTICE - 1)).await?, []);
    assert_eq!(backends::overdue(&db, |_| Vec::new(), Timestamp(NOTICE)).await?, [Outage { url: SERVER.into(), down_since: 0 }]);
    assert_eq!(backends::overdue(&db, |_| Vec::new(), Timestamp(2 * NOTICE)).await?, []);
    Ok(())
}

async fn a_task_knows_since_when_and_how_often(db: Db) -> Result<(), StoreError> {
    parked(&db, &["A"], 1).await?;
    for (at, how, parked_at, troubles) in [
        (FAR, Settlement::Release { at: Timestamp(FAR) }, Some(1), 1),
        (FAR + 1, park(FAR + 2), Some(1), 1),
        (FAR + 2, Settlement::Retry { at: Timestamp(FAR + 3) }, None, 0),
        (FAR + 3, park(FAR + 4), Some(FAR + 3), 1),
    ] {
        let leased = lease(&db, at, 2 * FAR).await?.unwrap();
        assert!(settle(&db, &leased, how, at).await?);
        let task = tasks::find(&db, "A").await?.unwrap();
        assert_eq!((task.parked_at, task.trouble.count), (parked_at.map(Timestamp), troubles));
        assert_eq!(task.waiting_since, Timestamp(at));
    }
    Ok(())
}

async fn a_call_that_failed_by_itself_rests_and_lets_others_try_first(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    enqueue(&db, "B", json!({}), 1).await?;
    let failed = |troubles, trouble_at: Option<i64>| Settlement::Park {
        at: Timestamp(FAR),
        said: "the model".into(),
        waits: Waits::Server { url: SERVER.into(), troubles, trouble_at: trouble_at.map(Timestamp) },
    };
    let (first, second) = (lease(&db, 2, FAR).await?.unwrap(), lease(&db, 2, FAR).await?.unwrap());
    assert!(settle(&db, &first, failed(1, Some(2)), 2).await?);
    assert!(settle(&db, &second, failed(0, None), 3).await?);
    assert!(backends::try_one(&db, SERVER.into(), Timestamp(4)).await?);
    assert_eq!(lease(&db, 4, FAR).await?.unwrap().task.id, "B", "it was only left alone");
    assert!(backends::waited_for(&db, SERVER).await?);
    backends::recovered(&db, SERVER.into(), Timestamp(5)).await?;
    assert!(lease(&db, 5, FAR).await?.is_none(), "others are served because it is not");
    assert_eq!(lease(&db, 2 + PAUSE, FAR).await?.unwrap().task.id, "A");
    Ok(())
}
