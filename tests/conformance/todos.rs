//! The list of todos.

use host::store::todos::{self, Change, Filter, Todo};
use host::store::{Db, StoreError};
use policy::task::{Timestamp, TodoStatus};
use serde_json::{Value, json};

use super::on_every_store;

on_every_store![
    a_todo_is_found_as_it_was_written,
    todos_are_listed_newest_first_by_status_and_tag,
    a_todo_is_closed_when_it_leaves_open,
    a_change_leaves_what_it_does_not_name,
];

fn todo(id: &str, tags: &[&str]) -> Todo {
    let metadata = json!({ "from": { "phone": true }, "zero": "\u{0}" });
    Todo {
        id: id.into(),
        body: format!("buy {id}"),
        status: TodoStatus::Open,
        created_by: "rob".into(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        metadata: metadata.as_object().unwrap().clone(),
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
        closed_at: None,
    }
}

async fn a_todo_is_found_as_it_was_written(db: Db) -> Result<(), StoreError> {
    todos::insert(&db, todo("A", &["house", "it's \"quoted\""])).await?;
    let found = todos::find(&db, "A").await?.unwrap();
    assert_eq!((found.body.as_str(), found.status, found.created_by.as_str()), ("buy A", TodoStatus::Open, "rob"));
    assert_eq!(found.tags, ["house", "it's \"quoted\""]);
    assert_eq!(Value::Object(found.metadata), json!({ "from": { "phone": true }, "zero": "\u{0}" }));
    assert!(todos::find(&db, "B").await?.is_none());
    Ok(())
}

async fn todos_are_listed_newest_first_by_status_and_tag(db: Db) -> Result<(), StoreError> {
    for (id, tags) in [("A", &["house"][..]), ("B", &[]), ("C", &["car", "house"]), ("D", &["housework"])] {
        todos::insert(&db, todo(id, tags)).await?;
    }
    let done = Change { status: Some(TodoStatus::Done), ..Change::default() };
    todos::change(&db, "C".into(), done, Timestamp(2)).await?;
    for (status, tag, limit, expected) in [
        (None, None, 9, "DCBA"),
        (None, None, 2, "DC"),
        (Some(TodoStatus::Open), None, 9, "DBA"),
        (None, Some("house"), 9, "CA"),
        (Some(TodoStatus::Done), Some("house"), 9, "C"),
        (Some(TodoStatus::Dropped), None, 9, ""),
        (None, Some("nothing"), 9, ""),
    ] {
        let filter = Filter { status, tag: tag.map(str::to_owned), limit };
        let listed: String = todos::list(&db, filter.clone()).await?.into_iter().map(|todo| todo.id).collect();
        assert_eq!(listed, expected, "{filter:?}");
    }
    Ok(())
}

async fn a_todo_is_closed_when_it_leaves_open(db: Db) -> Result<(), StoreError> {
    todos::insert(&db, todo("A", &[])).await?;
    for (at, status, closed_at) in [
        (2, TodoStatus::Open, None),
        (3, TodoStatus::Done, Some(3)),
        (4, TodoStatus::Dropped, Some(3)),
        (5, TodoStatus::Open, None),
        (6, TodoStatus::Dropped, Some(6)),
    ] {
        let change = Change { status: Some(status), ..Change::default() };
        let todo = todos::change(&db, "A".into(), change, Timestamp(at)).await?.unwrap();
        assert_eq!((todo.status, todo.updated_at, todo.closed_at), (status, Timestamp(at), closed_at.map(Timestamp)));
    }
    Ok(())
}

async fn a_change_leaves_what_it_does_not_name(db: Db) -> Result<(), StoreError> {
    todos::insert(&db, todo("A", &["house"])).await?;
    let change = Change { body: Some("sell it".into()), tags: Some(vec![]), ..Change::default() };
    let todo = todos::change(&db, "A".into(), change, Timestamp(2)).await?.unwrap();
    assert_eq!((todo.body.as_str(), todo.tags.len(), todo.metadata.len()), ("sell it", 0, 2));
    assert_eq!((todo.status, todo.created_at, todo.closed_at), (TodoStatus::Open, Timestamp(1), None));
    assert!(todos::change(&db, "B".into(), Change::default(), Timestamp(3)).await?.is_none());
    Ok(())
}
