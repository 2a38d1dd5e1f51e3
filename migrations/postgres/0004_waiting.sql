-- Since when a task waits, or waited before its present lease; since when the present outage keeps it; and when that was noticed.
alter table task add column waiting_since bigint not null default 0;
alter table task add column parked_at bigint;
alter table task add column noticed_at bigint;
update task set waiting_since = created_at;

-- The lease under which a run started: how a run that a crash swallowed is known.
alter table hop add column lease bigint not null default 0;
