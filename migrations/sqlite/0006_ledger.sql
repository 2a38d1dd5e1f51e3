-- Whether a call that was sent and never answered may be sent again: none (it only looks) | repeatable | once.
alter table journal add column effect text not null default 'none';

-- Requests and answers over 64 KiB, compressed, by the hash of their text; the row in the journal then holds `@` and the hash.
create table payload (
    task   text not null references task (id),
    sha256 text not null,
    bytes  blob not null,                           -- deflate
    primary key (task, sha256)
) strict;

-- Money and use, append-only: reserve -> settle | release for a priced call, usage for a free one. Outlives its task.
create table ledger (
    id            integer not null primary key,
    task          text    not null,
    hop           integer not null,                 -- with run and seq: the journal's key
    run           integer not null,
    seq           integer not null,
    lease         integer not null,
    entry         text    not null,
    assumed       integer not null default 0,       -- settled in full, since nobody knows what was charged
    agent         text    not null,
    grp           text    not null,                 -- the model group
    model         text,
    tier          text    not null,                 -- the run's label
    input_tokens  integer,
    output_tokens integer,
    usd_micros    integer not null,                 -- settle: what was paid; reserve, release: what was set aside
    at            integer not null
) strict;

create index ledger_task on ledger (task);
create index ledger_at on ledger (at);

-- What is reserved now: a row lives as long as its call is under way.
create table reservation (
    task       text    not null,
    hop        integer not null,
    run        integer not null,
    seq        integer not null,
    lease      integer not null,
    agent      text    not null,
    grp        text    not null,
    tier       text    not null,
    usd_micros integer not null,
    counters   text    not null,                    -- JSON: scope and period of each counter that it is in
    primary key (task, hop, run, seq)
) strict;

-- What is paid or reserved within one period of one scope; a cap is checked here and nowhere else.
create table counter (
    scope      text    not null,                    -- task | agent | day | week
    period     text    not null,                    -- the task; agent and day; day; week
    usd_micros integer not null,
    primary key (scope, period)
) strict;
