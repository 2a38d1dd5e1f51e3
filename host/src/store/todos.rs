//! What people want to remember: a list of its own, beside the tasks. No agent reads or writes it.

use policy::task::{Timestamp, TodoStatus};
use serde_json::{Map, Value};

use super::{Db, Pool, StoreError, on, within};

/// One entry of the list.
#[derive(Clone, Debug)]
pub struct Todo {
    /// Its id.
    pub id: String,
    /// What is to be done.
    pub body: String,
    /// Where it stands.
    pub status: TodoStatus,
    /// Who wrote it down.
    pub created_by: String,
    /// By which it is found.
    pub tags: Vec<String>,
    /// The caller's own.
    pub metadata: Map<String, Value>,
    /// When it was written down.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it left `open`.
    pub closed_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    body: String,
    status: String,
    created_by: String,
    tags: String,
    metadata: String,
    created_at: i64,
    updated_at: i64,
    closed_at: Option<i64>,
}

impl TryFrom<Row> for Todo {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let bad = || StoreError::Unreadable(format!("status `{}` of todo {}", row.status, row.id));
        Ok(Self {
            status: TodoStatus::named(&row.status).ok_or_else(bad)?,
            tags: serde_json::from_str(&row.tags)?,
            metadata: serde_json::from_str(&row.metadata)?,
            id: row.id,
            body: row.body,
            created_by: row.created_by,
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
            closed_at: row.closed_at.map(Timestamp),
        })
    }
}

/// Writes one down; open.
pub async fn insert(db: &Db, todo: Todo) -> Result<(), StoreError> {
    const SQL: &str = "insert into todo (id, body, status, created_by, tags, metadata, created_at, updated_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8)";

    let (tags, metadata) = (serde_json::to_string(&todo.tags)?, serde_json::to_string(&todo.metadata)?);
    db.write(move |tx| {
        Box::pin(async move {
            within!(tx, connection => sqlx::query(SQL)
                .bind(todo.id)
                .bind(todo.body)
                .bind(todo.status.as_str())
                .bind(todo.created_by)
                .bind(tags)
                .bind(metadata)
                .bind(todo.created_at.0)
                .bind(todo.updated_at.0)
                .execute(&mut **connection)
                .await
                .map(|_| ()))?;
            Ok(())
        })
    })
    .await
}

/// The todo of that id.
pub async fn find(db: &Db, id: &str) -> Result<Option<Todo>, StoreError> {
    const SQL: &str = "select * from todo where id = $1";

    let row: Option<Row> = on!(db, pool => sqlx::query_as(SQL).bind(id).fetch_optional(pool).await)?;
    row.map(Todo::try_from).transpose()
}

/// What a list of todos is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of that status.
    pub status: Option<TodoStatus>,
    /// Only with that tag.
    pub tag: Option<String>,
    /// At most so many.
    pub limit: i64,
}

/// Todos, newest first.
pub async fn list(db: &Db, filter: Filter) -> Result<Vec<Todo>, StoreError> {
    const SQLITE: &str = "select * from todo where ($1 is null or status = $1) \
         and ($2 is null or exists (select 1 from json_each(todo.tags) as tag where tag.value = $2)) order by id desc limit $3";
    const POSTGRES: &str = "select * from todo where ($1 is null or status = $1) \
         and ($2 is null or exists (select 1 from jsonb_array_elements_text(todo.tags::jsonb) as tag (value) \
         where tag.value = $2)) order by id desc limit $3";

    let status = filter.status.map(TodoStatus::as_str);
    let rows: Vec<Row> = match &db.pool {
        Pool::Sqlite(pool, _) => sqlx::query_as(SQLITE).bind(status).bind(filter.tag).bind(filter.limit).fetch_all(pool).await?,
        Pool::Postgres(pool) => sqlx::query_as(POSTGRES).bind(status).bind(filter.tag).bind(filter.limit).fetch_all(pool).await?,
    };
    rows.into_iter().map(Todo::try_from).collect()
}

/// What a todo should be from now on; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What is to be done.
    pub body: Option<String>,
    /// Where it stands.
    pub status: Option<TodoStatus>,
    /// By which it is found.
    pub tags: Option<Vec<String>>,
    /// The caller's own.
    pub metadata: Option<Map<String, Value>>,
}

/// Changes a todo and answers what it is then; `None` if there is none of that id. It is closed when it leaves `open`, and not
/// closed any more when it comes back.
pub async fn change(db: &Db, id: String, change: Change, now: Timestamp) -> Result<Option<Todo>, StoreError> {
    const SQL: &str = "update todo set body = coalesce($2, body), status = coalesce($3, status), tags = coalesce($4, tags), \
         metadata = coalesce($5, metadata), updated_at = $6, \
         closed_at = case coalesce($3, status) when 'open' then null else coalesce(closed_at, $6) end where id = $1 returning *";

    let tags = change.tags.map(|tags| serde_json::to_string(&tags)).transpose()?;
    let metadata = change.metadata.map(|metadata| serde_json::to_string(&metadata)).transpose()?;
    let row: Option<Row> = db
        .write(move |tx| {
            Box::pin(async move {
                Ok(within!(tx, connection => sqlx::query_as(SQL)
                    .bind(id)
                    .bind(change.body)
                    .bind(change.status.map(TodoStatus::as_str))
                    .bind(tags)
                    .bind(metadata)
                    .bind(now.0)
                    .fetch_optional(&mut **connection)
                    .await)?)
            })
        })
        .await?;
    row.map(Todo::try_from).transpose()
}
