//! Bare statements: what a finished task left in the database, written once more by nothing but statements on one connection.
//! This is the floor of what a host could do on this machine and this database.
//!
//! Each statement copies a row of the finished task, so that contents and sizes are the real ones.

use std::ops::Range;

use sqlx::{Connection, FromRow};

use super::Line;
use crate::store::{StoreError, Tx, within};

const TASK: &str = "insert into task (id, client_task_id, token, status, content, source, origin, requester, role, user_name, intent, \
     priority, data_tier, label, tainted, conversation_id, trace_id, traceparent, max_attempts, backoff_seconds, run_at, created_at, \
     waiting_since) select $1, client_task_id, token, 'pending', content, source, origin, requester, role, user_name, intent, \
     priority, data_tier, data_tier, 0, $1, trace_id, traceparent, max_attempts, backoff_seconds, run_at, created_at, created_at \
     from task where id = $2";
const LEASE: &str = "update task set status = 'running', lease = lease + 1, owner = $2, lease_until = run_at + 30000, \
     started_at = run_at where id = $1";
const ADVANCE: &str = "update task set label = (select past.label from task past where past.id = $2), attempts = 0 where id = $1";
const DONE: &str = "update task set status = 'done', output = (select past.output from task past where past.id = $2), \
     finished_at = started_at, owner = null, lease_until = null where id = $1";
const HOP: &str = "insert into hop (task, seq, agent, status, label, tainted) \
     select $1, seq, agent, 'pending', label, tainted from hop where task = $2 and seq = $3";
const START: &str = "update hop set status = 'running', run = run + 1, lease = 1, started_at = 1, \
     digest = (select past.digest from hop past where past.task = $2 and past.seq = $3) where task = $1 and seq = $3";
const END: &str = "update hop set status = 'done', finished_at = 2, \
     outcome = (select past.outcome from hop past where past.task = $2 and past.seq = $3) where task = $1 and seq = $3";
const ENTRY: &str = "insert into journal (task, hop, run, seq, lease, kind, fingerprint, state, request, answer, tries, destination, \
     tier, tainted, model, input_tokens, output_tokens, usd_micros, started_at, finished_at, effect) \
     select $1, hop, run, seq, lease, kind, fingerprint, state, request, answer, tries, destination, \
     tier, tainted, model, input_tokens, output_tokens, usd_micros, started_at, finished_at, effect \
     from journal where task = $2 and hop = $3 and run = $4 and seq = $5";
const INTENT: &str = "insert into journal (task, hop, run, seq, lease, kind, fingerprint, state, request, tries, tier, tainted, started_at, effect) \
     select $1, hop, run, seq, lease, kind, fingerprint, 'started', request, '[]', tier, tainted, started_at, effect \
     from journal where task = $2 and hop = $3 and run = $4 and seq = $5";
const CLOSE: &str = "update journal set state = 'done', answer = (select past.answer from journal past \
     where past.task = $2 and past.hop = $3 and past.run = $4 and past.seq = $5), finished_at = started_at \
     where task = $1 and hop = $3 and run = $4 and seq = $5";
const USAGE: &str = "insert into ledger (task, hop, run, seq, lease, entry, assumed, agent, grp, model, tier, input_tokens, output_tokens, \
     usd_micros, at) select $1, hop, run, seq, lease, entry, assumed, agent, grp, model, tier, input_tokens, output_tokens, usd_micros, at \
     from ledger where task = $2 and hop = $3 and run = $4 and seq = $5";
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
    /// Whether its intent had to be on disk before it was made.
    effect: String,
    /// Rows of the ledger about it.
    billed: i64,
}

/// A finished task, to be written once more.
pub struct Past {
    id: String,
    /// The fewest commits without which something would be promised or sent before it is on disk: taken in, leased, an intent before
    /// each effect, each hop settled.
    commits: Vec<Vec<Step>>,
}

impl Past {
    /// Statements that write it.
    #[must_use]
    pub fn statements(&self) -> usize {
        self.commits.iter().map(Vec::len).sum()
    }

    /// The fewest commits.
    #[must_use]
    pub fn commits(&self) -> usize {
        self.commits.len()
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
        const ENTRIES: &str = "select hop, run, seq, effect, (select count(*) from ledger where ledger.task = journal.task \
             and ledger.hop = journal.hop and ledger.run = journal.run and ledger.seq = journal.seq) as billed \
             from journal where task = $1 order by hop, run, seq";
        const FILES: &str = "select hop, path from artefact where task = $1 order by hop, path";

        let mut tx = self.tx();
        let id: String = within!(&mut tx, connection => sqlx::query_scalar(NEWEST).fetch_one(&mut **connection).await)?;
        let hops: Vec<i64> = within!(&mut tx, connection => sqlx::query_scalar(HOPS).bind(&id).fetch_all(&mut **connection).await)?;
        let entries: Vec<Entry> =
            within!(&mut tx, connection => sqlx::query_as(ENTRIES).bind(&id).fetch_all(&mut **connection).await)?;
        let files: Vec<(i64, String)> =
            within!(&mut tx, connection => sqlx::query_as(FILES).bind(&id).fetch_all(&mut **connection).await)?;
        Ok(Past { id, commits: commits(&hops, &entries, &files) })
    }

    /// Writes tasks once more, side by side: each of their commits is one for all of them.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn tasks(&mut self, past: &Past, ids: &[String]) -> Result<(), StoreError> {
        self.side_by_side(past, ids, past.commits()).await
    }

    async fn side_by_side(&mut self, past: &Past, ids: &[String], commits: usize) -> Result<(), StoreError> {
        for steps in past.commits.iter().take(commits) {
            let group: Vec<(&Step, &str)> = ids.iter().flat_map(|id| steps.iter().map(|step| (step, id.as_str()))).collect();
            self.commit(&past.id, &group).await?;
        }
        Ok(())
    }

    /// Takes tasks in, all in one commit.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn enqueue(&mut self, past: &Past, ids: &[String]) -> Result<(), StoreError> {
        self.side_by_side(past, ids, 1).await
    }

    /// Takes a task in and leases it; the number of the lease.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn lease(&mut self, past: &Past, id: &str) -> Result<i64, StoreError> {
        self.side_by_side(past, &[id.to_owned()], 2).await?;
        Ok(1)
    }

    /// Looks at what each call of a task's first run was told; how many there are.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn answers(&mut self, task: &str) -> Result<usize, StoreError> {
        const SQL: &str = "select fingerprint, answer from journal where task = $1 and hop = 1 and run = 1 order by seq";

        let mut tx = self.tx();
        let rows: Vec<(String, Option<String>)> =
            within!(&mut tx, connection => sqlx::query_as(SQL).bind(task).fetch_all(&mut **connection).await)?;
        Ok(rows.len())
    }

    /// Copies entries `seqs` of the first run of task `from` to task `to`, in one commit.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn entries(&mut self, (from, to): (&str, &str), seqs: Range<u32>) -> Result<(), StoreError> {
        let step = |seq: u32| Step::Entry(ENTRY, Entry { hop: 1, run: 1, seq: i64::from(seq), effect: String::new(), billed: 0 });
        let steps: Vec<Step> = seqs.map(step).collect();
        let group: Vec<(&Step, &str)> = steps.iter().map(|step| (step, to)).collect();
        self.commit(from, &group).await
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

/// The statements of a task in the order in which a host needs them, by commit.
fn commits(hops: &[i64], entries: &[Entry], files: &[(i64, String)]) -> Vec<Vec<Step>> {
    let mut commits = vec![vec![Step::Task(TASK), Step::Hop(HOP, 1)], vec![Step::Task(LEASE)]];
    for hop in hops {
        let mut steps = vec![Step::Hop(START, *hop)];
        let mut written = files.iter().filter(|(by, _)| by == hop).map(|(_, path)| path);
        for entry in entries.iter().filter(|entry| entry.hop == *hop) {
            if entry.effect == "none" {
                steps.push(Step::Entry(ENTRY, entry.clone()));
            } else {
                let path = written.next();
                steps.push(Step::Entry(INTENT, entry.clone()));
                steps.extend(path.map(|path| Step::File(ARTEFACT, path.clone())));
                commits.push(std::mem::take(&mut steps));
                steps.push(Step::Entry(CLOSE, entry.clone()));
                steps.extend(path.map(|path| Step::File(WROTE, path.clone())));
            }
            steps.extend((entry.billed > 0).then(|| Step::Entry(USAGE, entry.clone())));
        }
        match hops.iter().find(|next| *next > hop) {
            None => steps.push(Step::Task(DONE)),
            Some(next) => steps.extend([Step::Task(ADVANCE), Step::Hop(HOP, *next)]),
        }
        steps.push(Step::Hop(END, *hop));
        commits.push(steps);
    }
    commits
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
