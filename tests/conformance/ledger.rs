//! Money: no cap is passed, nothing is forgotten.

use host::store::journal::{self, Opening, Position, Write, Written};
use host::store::ledger::{self, Bill, Cap, Reservation, Scope};
use host::store::tasks::Leased;
use host::store::{Db, StoreError, leases};
use policy::call::Effect;
use policy::task::Timestamp;
use policy::tier::{Label, Tier};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::on_every_store;
use super::tasks::{enqueue, lease, start};

on_every_store![
    however_many_ask_at_once_no_cap_is_passed,
    a_reservation_keeps_every_cap_or_none,
    what_is_counted_is_what_is_paid_or_set_aside,
    an_old_lease_sets_nothing_aside_and_settles_nothing,
    what_a_lost_lease_had_set_aside_is_paid_in_full,
];

fn cap(scope: Scope, period: &str, most: u64) -> Cap {
    Cap { scope, period: period.into(), most }
}

fn at(task: &str, seq: u32) -> Position {
    Position { task: task.into(), hop: 1, run: 1, seq }
}

fn intent(leased: &Leased, seq: u32, usd_micros: u64, caps: Vec<Cap>) -> Write {
    let opening = Opening {
        at: at(&leased.task.id, seq),
        lease: leased.lease,
        kind: "model.complete",
        fingerprint: "f".into(),
        request: "{}".into(),
        label: Label::of(Tier::Internal),
        effect: Effect::None,
        started_at: Timestamp(3),
    };
    let reservation = Reservation { usd_micros, agent: "scout".into(), group: "cloud".into(), tier: Tier::Internal, caps };
    Write::Intent(opening, None, Some(reservation))
}

async fn reserve(db: &Db, leased: &Leased, seq: u32, usd_micros: u64, caps: Vec<Cap>) -> Result<Written, StoreError> {
    journal::write(db, "", leased.lease, vec![intent(leased, seq, usd_micros, caps)]).await
}

async fn settle(db: &Db, leased: &Leased, seq: u32, bill: Bill) -> Result<Written, StoreError> {
    journal::write(db, "", leased.lease, vec![Write::Bill(at(&leased.task.id, seq), bill, Timestamp(4))]).await
}

async fn started(db: &Db, id: &str) -> Result<Leased, StoreError> {
    enqueue(db, id, json!({}), 0).await?;
    let leased = lease(db, 1, 9).await?.unwrap();
    assert_eq!(start(db, &leased, 2).await?, Some(1));
    Ok(leased)
}

/// How much room a cap has, found out by asking.
async fn room(db: &Db, leased: &Leased, of: Cap) -> Result<u64, StoreError> {
    let ask = Cap { most: of.most, ..of };
    match reserve(db, leased, 999, u64::try_from(i64::MAX).unwrap(), vec![ask]).await? {
        Written::Over(over) => Ok(over.cap.most - over.used),
        Written::Yes | Written::Taken => panic!("nobody has so much"),
    }
}

async fn however_many_ask_at_once_no_cap_is_passed(db: Db) -> Result<(), StoreError> {
    let leased = started(&db, "A").await?;
    let asked = (1..=40).map(|seq| reserve(&db, &leased, seq, 10, vec![cap(Scope::Day, "today", 95)]));
    let answered = futures::future::try_join_all(asked).await?;
    assert_eq!(answered.iter().filter(|written| **written == Written::Yes).count(), 9);
    assert_eq!(room(&db, &leased, cap(Scope::Day, "today", 95)).await?, 5);
    Ok(())
}

async fn a_reservation_keeps_every_cap_or_none(db: Db) -> Result<(), StoreError> {
    let leased = started(&db, "A").await?;
    let caps = |day| vec![cap(Scope::Task, "A", 100), cap(Scope::Agent, "scout today", 100), cap(Scope::Day, "today", day)];
    let Written::Over(over) = reserve(&db, &leased, 1, 60, caps(50)).await? else { panic!("the day has no room") };
    assert_eq!((over.cap.scope, over.used), (Scope::Day, 0));
    assert_eq!(room(&db, &leased, cap(Scope::Task, "A", 100)).await?, 100, "what the others had is given back");
    assert_eq!(reserve(&db, &leased, 1, 60, caps(60)).await?, Written::Yes);
    let Written::Over(over) = reserve(&db, &leased, 2, 41, caps(1000)).await? else { panic!("the task has no room") };
    assert_eq!((over.cap.scope, over.used), (Scope::Task, 60));
    Ok(())
}

/// Random calls that end in every way: what is left of a cap is always what a plain sum says.
async fn what_is_counted_is_what_is_paid_or_set_aside(db: Db) -> Result<(), StoreError> {
    const MOST: u64 = 2_000;
    let (mut chance, leased) = (StdRng::seed_from_u64(7), started(&db, "A").await?);
    let (mut open, mut paid): (Vec<(u32, u64)>, u64) = (Vec::new(), 0);
    for seq in 1..=120 {
        let bound = chance.random_range(1..200_u64);
        let aside: u64 = open.iter().map(|(_, bound)| bound).sum();
        let caps = vec![cap(Scope::Task, "A", MOST), cap(Scope::Week, "this", 2 * MOST)];
        let written = reserve(&db, &leased, seq, bound, caps).await?;
        assert_eq!(written == Written::Yes, paid + aside + bound <= MOST, "call {seq}: {paid} + {aside} + {bound}");
        if written == Written::Yes {
            open.push((seq, bound));
        }
        while open.len() > 3 {
            let (seq, bound) = open.swap_remove(chance.random_range(0..open.len()));
            let charged = chance.random_range(0..=bound / 8);
            let (bill, cost) = match chance.random_range(0..3) {
                0 => (Bill::Charged(charged), charged),
                1 => (Bill::Released, 0),
                _ if bound < 40 => (Bill::Assumed, bound),
                _ => (Bill::Charged(charged), charged),
            };
            assert_eq!(settle(&db, &leased, seq, bill).await?, Written::Yes);
            paid += cost;
        }
    }
    let aside: u64 = open.iter().map(|(_, bound)| bound).sum();
    assert!(paid > 0 && aside > 0);
    assert_eq!(ledger::cost(&db, "A").await?, paid);
    assert_eq!(room(&db, &leased, cap(Scope::Task, "A", MOST)).await?, MOST - paid - aside);
    assert_eq!(room(&db, &leased, cap(Scope::Week, "this", 2 * MOST)).await?, 2 * MOST - paid - aside);
    Ok(())
}

async fn an_old_lease_sets_nothing_aside_and_settles_nothing(db: Db) -> Result<(), StoreError> {
    let old = started(&db, "A").await?;
    let today = || cap(Scope::Day, "today", 100);
    assert_eq!(reserve(&db, &old, 1, 30, vec![today()]).await?, Written::Yes);
    assert_eq!(leases::rescue(&db, Timestamp(10)).await?, 1);
    let new = lease(&db, 11, 99).await?.unwrap();
    assert_eq!(reserve(&db, &old, 2, 30, vec![today()]).await?, Written::Taken);
    assert_eq!(settle(&db, &old, 1, Bill::Released).await?, Written::Taken);
    assert_eq!(room(&db, &new, today()).await?, 70);
    Ok(())
}

async fn what_a_lost_lease_had_set_aside_is_paid_in_full(db: Db) -> Result<(), StoreError> {
    let old = started(&db, "A").await?;
    assert_eq!(reserve(&db, &old, 1, 30, vec![cap(Scope::Day, "today", 100)]).await?, Written::Yes);
    assert_eq!(ledger::cost(&db, "A").await?, 0);
    assert_eq!(leases::rescue(&db, Timestamp(10)).await?, 1);
    assert_eq!(ledger::cost(&db, "A").await?, 30);
    // The same call again: its own reservation, its own bill.
    let new = lease(&db, 11, 99).await?.unwrap();
    assert_eq!(reserve(&db, &new, 1, 30, vec![cap(Scope::Day, "today", 100)]).await?, Written::Yes);
    assert_eq!(settle(&db, &new, 1, Bill::Charged(12)).await?, Written::Yes);
    assert_eq!(ledger::cost(&db, "A").await?, 42);
    assert_eq!(room(&db, &new, cap(Scope::Day, "today", 100)).await?, 58);
    Ok(())
}
