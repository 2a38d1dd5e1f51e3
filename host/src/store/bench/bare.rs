//! Bare statements: what a finished task left in the database, written once more by nothing but statements on one connection.
//! This is the floor of what a host could do on this machine and this database.
//!
//! Each statement copies a row of the finished task, so that contents and sizes are the real ones.

use sqlx::{Connection, FromRow};

use super::Line;
use crate::store::{StoreError, Tx, within};

const TASK: &str = "insert into task (id, client_task_id, token, status, content, source, origin, requester, role, user_name, intent, \
     priority, data_tier, label, tainted, conversation_id, trace_id, max_attempts, backoff_seconds, run_at, created_at) \
     select $1, client_task_id, token, 'pending', content, source, origin, requester, role, user_name, intent, \
     priority, data_tier, data_tier, 0, $1, trace_id, max_attempts, backoff_seconds, run_at, created_at from task where id = $2";
const LEASE: &str = "update task set status = 'running', lease = lease + 1, owner = $2, lease_until = run_at + 30000, \
     started_at = run_at where id = $1";
const ADVANCE: &str = "update task set label = (select past.label from task past where past.id = $2), attempts = 0 where id = $1";
const DONE: &str = "update task set status = 'done', output = (select past.output from task past where past.id = $2), \
     finished_at = started_at, owner = null, lease_until = null where id = $1";
const HOP: &str = "insert into hop (task, seq, agent, status, label, tainted) \
     select $1, seq, agent, 'pending', label, tainted from hop where task = $2 and seq = $3";
const START: &str = "update hop set status = 'running', run = run + 1, started_at = 1, \
     digest = (select past.digest from hop past where past.task = $2 and past.seq = $3) where task = $1 and seq = $3";
const END: &str = "update hop set status = 'done', finished_at = 2, \
     outcome = (select past.outcome from hop past where past.task = $2 and past.seq = $3) where task = $1 and seq = $3";
const ENTRY: &str = "insert into journal (task, hop, run, seq, lease, kind, fingerprint, state, request, answer, tries, destination, \
     tier, tainted, model, input_tokens, output_tokens, usd_micros, started_at, finished_at) \
     select $1, hop, run, seq, lease, kind, fingerprint, state, request, answer, tries, destination, \
     tier, tainted, model, input_tokens, output_tokens, usd_micros, started_at, finished_at \
     from journal where task = $2 and hop = $3 and run = $4 and seq = $5";
const INTENT: &str = "insert into journal (task, hop, run, seq, lease, kind, fingerprint, state, request, tries, tier, tainted, started_at) \
     select $1, hop, run, seq, lease, kind, fingerprint, 'started', request, '[]', tier, tainted, started_at \
     from journal where task = $2 and hop = $3 and run = $4 and seq = $5";
const CLOSE: &str = "update journal set state = 'done', answer = (select past.answer from journal past \
     where past.task = $2 and past.hop = $3 and past.run = $4 and past.seq = $5), finished_at = started_at \
     where task = $1 and hop = $3 and run = $4 and seq = $5";
const ARTEFACT: &str = "insert into artefact (task, path, sha256, hop, agent, digest, tier) \
     select $1, path, sha256, hop, agent, digest, tier from artefact where task = $2 and path = $3";
const WROTE: &str = "update artefact set written_at = (select max(past.written_at) from artefact past \
     where past.task = $2 and past.path = $3) where task = $1 and path = $3";

/// One statement, and the row of the finished task that it copies.
enum Step {
    Task(&'static str),
    Hop(&'static str, i64),
    Entry(&'static str, Entry),
    File(&'static str, String),
}

#[derive(Clone, FromRow)]
struct Entry {
    hop: i64,
    run: i64,
    seq: i64,
    kind: String,
}

/// A finished task, to be written once more.
pub struct Past {
    id: String,
    steps: Vec<Step>,
    /// Commits without which something would be promised or sent before it is on disk.
    necessary: usize,
}

impl Past {
    /// Statements that write it.
    #[must_use]
    pub fn statements(&self) -> usize {
        self.steps.len()
    }

    /// The fewest commits: taken in, leased, an intent before each effect, each hop settled.
    #[must_use]
    pub fn necessary(&self) -> usize {
        self.necessary
    }
}

/// One connection that writes tasks with nothing around it.
pub struct Bare {
    line: Line,
}

impl Bare {
    /// Opens a database whose tables exist.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Ok(Self { line: Line::open(url).await? })
    }

    /// The newest finished task there.
    ///
    /// # Errors
    /// If there is none.
    pub async fn past(&mut self) -> Result<Past, StoreError> {
        const NEWEST: &str = "select id from task where status = 'done' order by id desc limit 1";
        const HOPS: &str = "select seq from hop where task = $1 order by seq";
        const ENTRIES: &str = "select hop, run, seq, kind from journal where task = $1 order by hop, run, seq";
        const FILES: &str = "select hop, path from artefact where task = $1 order by hop, path";

        let mut tx = self.tx();
        let id: String = within!(&mut tx, connection => sqlx::query_scalar(NEWEST).fetch_one(&mut **connection).await)?;
        let hops: Vec<i64> = within!(&mut tx, connection => sqlx::query_scalar(HOPS).bind(&id).fetch_all(&mut **connection).await)?;
        let entries: Vec<Entry> =
            within!(&mut tx, connection => sqlx::query_as(ENTRIES).bind(&id).fetch_all(&mut **connection).await)?;
        let files: Vec<(i64, String)> =
            within!(&mut tx, connection => sqlx::query_as(FILES).bind(&id).fetch_all(&mut **connection).await)?;
        let necessary = 2 + hops.len() + files.len();
        Ok(Past { id, steps: steps(&hops, &entries, &files), necessary })
    }

    /// Writes a task once more, in so many commits.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn task(&mut self, past: &Past, id: &str, commits: usize) -> Result<(), StoreError> {
        let (steps, commits) = (past.steps.len(), commits.clamp(1, past.steps.len()));
        for group in 0..commits {
            let (from, to) = (group * steps / commits, (group + 1) * steps / commits);
            let group: Vec<(&Step, &str)> = past.steps.iter().take(to).skip(from).map(|step| (step, id)).collect();
            self.commit(&past.id, &group).await?;
        }
        Ok(())
    }

    /// Takes tasks in, all in one commit.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn enqueue(&mut self, past: &Past, ids: &[String]) -> Result<(), StoreError> {
        let group: Vec<(&Step, &str)> =
            ids.iter().flat_map(|id| past.steps.iter().take(2).map(|step| (step, id.as_str()))).collect();
        self.commit(&past.id, &group).await
    }

    async fn commit(&mut self, past: &str, group: &[(&Step, &str)]) -> Result<(), StoreError> {
        match &mut self.line {
            Line::Sqlite(connection) => {
                let mut transaction = connection.begin_with("begin immediate").await?;
                for (step, id) in group {
                    execute(&mut Tx::Sqlite(&mut transaction), step, id, past).await?;
                }
                transaction.commit().await?;
            }
            Line::Postgres(connection) => {
                let mut transaction = connection.begin().await?;
                for (step, id) in group {
                    execute(&mut Tx::Postgres(&mut transaction), step, id, past).await?;
                }
                transaction.commit().await?;
            }
        }
        Ok(())
    }

    fn tx(&mut self) -> Tx<'_> {
        match &mut self.line {
            Line::Sqlite(connection) => Tx::Sqlite(connection),
            Line::Postgres(connection) => Tx::Postgres(connection),
        }
    }
}

/// The statements of a task in the order in which a host needs them.
fn steps(hops: &[i64], entries: &[Entry], files: &[(i64, String)]) -> Vec<Step> {
    let mut steps = vec![Step::Task(TASK), Step::Hop(HOP, 1), Step::Task(LEASE)];
    for hop in hops {
        if *hop > 1 {
            steps.extend([Step::Task(ADVANCE), Step::Hop(HOP, *hop)]);
        }
        steps.push(Step::Hop(START, *hop));
        let mut written = files.iter().filter(|(by, _)| by == hop).map(|(_, path)| path);
        for entry in entries.iter().filter(|entry| entry.hop == *hop) {
            let writes = matches!(entry.kind.as_str(), "vault.write" | "vault.append");
            let Some(path) = (if writes { written.next() } else { None }) else {
                steps.push(Step::Entry(ENTRY, entry.clone()));
                continue;
            };
            steps.extend([
                Step::Entry(INTENT, entry.clone()),
                Step::File(ARTEFACT, path.clone()),
                Step::File(WROTE, path.clone()),
                Step::Entry(CLOSE, entry.clone()),
            ]);
        }
        steps.push(Step::Hop(END, *hop));
    }
    steps.push(Step::Task(DONE));
    steps
}

async fn execute(tx: &mut Tx<'_>, step: &Step, id: &str, past: &str) -> Result<(), StoreError> {
    match step {
        Step::Task(sql) => {
            within!(tx, connection => sqlx::query(*sql).bind(id).bind(past).execute(&mut **connection).await.map(|_| ()))?;
        }
        Step::Hop(sql, hop) => {
            within!(tx, connection => sqlx::query(*sql).bind(id).bind(past).bind(*hop)
                .execute(&mut **connection).await.map(|_| ()))?;
        }
        Step::Entry(sql, entry) => {
            within!(tx, connection => sqlx::query(*sql).bind(id).bind(past).bind(entry.hop).bind(entry.run).bind(entry.seq)
                .execute(&mut **connection).await.map(|_| ()))?;
        }
        Step::File(sql, path) => {
            within!(tx, connection => sqlx::query(*sql).bind(id).bind(past).bind(path)
                .execute(&mut **connection).await.map(|_| ()))?;
        }
    }
    Ok(())
}
