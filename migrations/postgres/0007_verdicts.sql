-- A question that a person must answer before a task goes on. open -> decided | closed, when nobody needs an answer any more.
create table approval (
    id         text    not null primary key,        -- ULID: sorts by age
    task       text    not null references task (id),
    hop        bigint not null,
    run        bigint not null,
    seq        bigint not null,
    kind       text    not null,                    -- ambiguous: the call may or may not have happened
    status     text    not null,
    reaction   text,
    result     text,                                -- JSON: what the call is said to have answered
    actor      text,
    created_at bigint not null,
    decided_at bigint
);

create unique index approval_open on approval (task, hop, run, seq) where status = 'open';
create index approval_task on approval (task);

-- Leases in a row that ended with their host and without a new answer in the journal.
alter table task add column crashes bigint not null default 0;
-- When its operator took a failed task from the dead letters.
alter table task add column discarded_at bigint;
-- Where its chain of hops begins: an edited task starts anew behind what it did before.
alter table task add column first_hop bigint not null default 1;
create index task_dead on task (id) where status = 'failed' and discarded_at is null;

-- Components that must not run any more.
create table revoked (
    digest text    not null primary key,
    at     bigint not null,
    reason text    not null
);
