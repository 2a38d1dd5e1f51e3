-- A question before a call (kind `call`) or a plan (kind `proposal`): what is asked, and to what exactly the consent is bound.
alter table approval add column class text;             -- C | D
alter table approval add column because text;           -- why it has that class
alter table approval add column why text;               -- why its agent makes it, in the agent's words
alter table approval add column undo text;
alter table approval add column undo_by text;           -- rule | agent
alter table approval add column usd_micros integer;     -- what it costs beside models, if its rule says so
alter table approval add column fingerprint text;
alter table approval add column digest text;
alter table approval add column tier text;              -- the run's label when it asked
alter table approval add column tainted integer;
alter table approval add column expires_at integer;     -- null: until somebody answers
alter table approval add column silent_until integer;   -- put off: no reminder before that
alter table approval add column reminders integer not null default 0;
alter table approval add column remind_at integer;      -- the next one
alter table approval add column spent_at integer;       -- a call was sent under it

create index approval_waits on approval (id) where status = 'open';
create index approval_lapses on approval (expires_at) where status = 'open';
create index approval_reminds on approval (remind_at) where status = 'open';

-- Who said yes, and through which channel: the second yes of class D comes through another.
create table consent (
    approval text    not null references approval (id),
    channel  text    not null,
    actor    text    not null,
    at       integer not null,
    primary key (approval, channel)
) strict;

-- Links by which a person may answer, by the hash of their token; each works once.
create table link (
    sha256     text    not null primary key,
    subject    text    not null,                    -- the approval, or the dead letter's task
    spent_at   integer
) strict;

create index link_subject on link (subject);

-- What this database's hosts share and nobody else knows.
create table secret (
    name  text not null primary key,
    value text not null
) strict;

-- What is to be told to people, at least once: written with what it tells of. It holds no content: what is said is read when it is sent.
-- pending -> sent | dropped | dead.
create table delivery (
    id         text    not null primary key,            -- ULID: sorts by age; the key that a receiver may know it by
    sink       text    not null,
    kind       text    not null,
    task       text    not null,                        -- empty: of no task
    about      text    not null,                        -- the approval, or a notice in the host's own words
    status     text    not null,
    attempts   integer not null default 0,
    run_at     integer not null,
    error      text,
    created_at integer not null,
    ended_at   integer
) strict;

create index delivery_due on delivery (sink, run_at) where status = 'pending';
create index delivery_task on delivery (task);
