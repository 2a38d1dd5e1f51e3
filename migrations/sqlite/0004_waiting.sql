-- Since when a task waits, or waited before its present lease. In an outage: since when it is parked, for which server, and how
-- often its call failed there while other calls did not.
alter table task add column waiting_since integer not null default 0;
alter table task add column parked_at integer;
alter table task add column backend text;
alter table task add column troubles integer not null default 0;
alter table task add column trouble_at integer;
update task set waiting_since = created_at;
create index task_parked on task (backend, run_at) where status = 'awaiting_backend';

-- The lease under which a run started: how a run that a crash swallowed is known.
alter table hop add column lease integer not null default 0;

-- A server that does not serve. The row goes when it serves again.
create table backend (
    url           text    not null primary key,
    down_since    integer not null,
    next_trial_at integer not null,
    trials        integer not null default 0,
    noticed_at    integer                            -- when the operator was told that it is away for long
) strict;

-- One row, written to see whether the database can be written.
create table pulse (
    at integer not null
) strict;
insert into pulse (at) values (0);
