//! What must happen whether or not there is room for more work: lost leases, lapsed tasks, servers that may be back.
//!
//! Many hosts on one database do this at once: each statement is right whoever else has been there.

use policy::task::{Role, Status, Timestamp};

use super::{POLL, Worker};
use crate::id;
use crate::metrics::{self, name};
use crate::sink::Kind;
use crate::store::backends::Outage;
use crate::store::leases::Expired;
use crate::store::{StoreError, approvals, backends, deliveries, leases, revoked, verdicts};

impl Worker {
    /// Looks once a second, until it is dropped.
    pub(super) async fn sweep(self) {
        loop {
            if let Err(error) = self.swept().await {
                tracing::error!(event = "store_unavailable", %error, "the queue cannot be swept: {error}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn swept(&self) -> Result<(), StoreError> {
        let (db, now) = (&self.world.db, id::now());
        if leases::lost(db, now).await? && leases::rescue(db, now).await? > 0 {
            db.bell().ring();
        }
        self.fleet.learn(revoked::all(db).await?);
        self.fleet.follow().await?;
        let lapsed = verdicts::next_lapse(db).await?.is_some_and(|at| at <= now);
        if lapsed || leases::look(db, now).await?.lapsed {
            self.expire(now).await?;
        }
        let outbox = self.world.outbox.clone();
        if approvals::remind(db, move |id, task| outbox.tell(Kind::Reminder, task, id), now).await? > 0 {
            self.world.outbox.ring();
        }
        for url in backends::due(db, now).await? {
            self.trial(url, now).await?;
        }
        let since = move |outage: &Outage| now.since(Timestamp(outage.down_since)) / 60_000;
        let said = move |outage: &Outage| format!("{} has not served for {} minutes: tasks wait for it", outage.url, since(outage));
        let outbox = self.world.outbox.clone();
        for outage in backends::overdue(db, move |outage| outbox.tell(Kind::Notice, "", &said(outage)), now).await? {
            let (url, minutes) = (&outage.url, since(&outage));
            tracing::warn!(event = "backend_away", url, minutes, "{}", said(&outage));
            self.world.outbox.ring();
        }
        Ok(())
    }

    /// Ends what nobody may wait for any longer, and tells those whom it concerns: nothing is executed.
    async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        let (db, outbox) = (&self.world.db, self.world.outbox.clone());
        let ended = db.write(move |tx| {
            Box::pin(async move {
                let mut ended = verdicts::lapse(tx, now).await?;
                ended.extend(leases::expire(tx, now).await?);
                for Expired { id, role, .. } in &ended {
                    deliveries::put(tx, &outbox.tell(Kind::Expired, id, ""), now).await?;
                    if role == Role::Household.as_str() {
                        deliveries::put(tx, &outbox.tell_household(id, Status::Expired), now).await?;
                    }
                }
                Ok(ended)
            })
        });
        for Expired { id: task, trace_id, source, error_code: code, .. } in ended.await? {
            tracing::warn!(event = "task_failed", task_id = task, trace_id, code, "task {task} expired");
            metrics::count(name::TASKS, 1, &[("source", &source), ("status", "expired")]);
            db.bell().changed(&task);
        }
        self.world.outbox.ring();
        Ok(())
    }

    /// Lets one of those who wait for a server try it, if it answers at all: a run costs more than a question.
    async fn trial(&self, url: String, now: Timestamp) -> Result<(), StoreError> {
        let db = &self.world.db;
        if !backends::claim(db, url.clone(), now).await? || !self.world.answers(&url).await {
            return Ok(());
        }
        if backends::try_one(db, url.clone(), id::now()).await? {
            db.bell().ring();
        } else if !backends::waited_for(db, &url).await? {
            // Nobody wants it any more, and it answers.
            backends::recovered(db, url, id::now()).await?;
        }
        Ok(())
    }
}
