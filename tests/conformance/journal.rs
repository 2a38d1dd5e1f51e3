//! What a run said is read back as it was, however long.

use host::store::journal::{self, Closing, Opening, Position};
use host::store::{Db, StoreError, forget};
use policy::call::Effect;
use policy::task::Timestamp;
use policy::tier::{Clearance, Label, Tier};
use serde_json::{Value, json};

use super::on_every_store;
use super::tasks::{done, enqueue, intend, lease, record, settle, start};

on_every_store![a_long_text_is_kept_beside_its_row_and_forgotten_with_it];

async fn a_long_text_is_kept_beside_its_row_and_forgotten_with_it(db: Db) -> Result<(), StoreError> {
    let long = |words: &str| json!({ "text": words.repeat(20_000) });
    enqueue(&db, "A", json!({}), 0).await?;
    let leased = lease(&db, 1, 9).await?.unwrap();
    assert_eq!(start(&db, &leased, 2).await?, Some(1));
    let at = Position { task: "A".into(), hop: 1, run: 1, seq: 1 };
    let opening = Opening {
        at: at.clone(),
        lease: leased.lease,
        kind: "vault.write",
        fingerprint: "f".into(),
        request: long("lemon ").to_string(),
        label: Label::of(Tier::Internal),
        effect: Effect::Repeatable,
        started_at: Timestamp(3),
    };
    let closing = Closing {
        state: "done",
        answer: long("melon ").to_string(),
        tries: "[]".into(),
        destination: None,
        label: Label::of(Tier::Internal),
        usage: None,
        bill: None,
        wrote: None,
        finished_at: Timestamp(4),
    };
    assert!(intend(&db, opening.clone(), None).await?);
    assert!(record(&db, opening, closing).await?);
    let past = journal::behind(&db, &at).await?.unwrap().calls.remove(&1).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&past.answer.unwrap())?, long("melon "));
    let entry = journal::timeline(&db, "A").await?.remove(1);
    assert_eq!(entry.request.open(Clearance::OPERATOR).unwrap(), &long("lemon "));

    assert!(settle(&db, &leased, done(), 5).await?);
    assert!(forget::forget(&db, "A".into(), Timestamp(6)).await?);
    let entry = journal::timeline(&db, "A").await?.remove(1);
    let digest = format!("sha256:{}", host::id::digest(long("lemon ").to_string().as_bytes()));
    assert_eq!(entry.request.open(Clearance::OPERATOR).unwrap(), &json!(digest));
    Ok(())
}
