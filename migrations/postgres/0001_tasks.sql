-- A task is one request. It moves pending -> running -> done | failed | cancelled | expired, and back to pending for a retry;
-- awaiting_backend and awaiting_approval wait outside any worker. Times are milliseconds since the epoch.
create table task (
    id              text    not null primary key,   -- ULID: sorts by age
    client_task_id  text    not null,
    token           text    not null,               -- name of the caller's token
    status          text    not null,
    content         text    not null,
    source          text    not null,
    origin          text,
    requester       text    not null,
    role            text    not null,               -- of the requester, at the door
    user_name       text    not null,
    zulip_user_id   bigint,
    intent          text,
    priority        bigint not null,               -- 0 low … 3 urgent
    destructive     bigint,
    data_tier       text    not null,               -- as sent
    label           text    not null,               -- highest tier read so far
    tainted         bigint not null,
    target_agent    text,
    conversation_id text    not null,
    trace_id        text    not null,
    traceparent     text,
    max_attempts    bigint not null,
    backoff_seconds bigint not null,
    attempts        bigint not null default 0,     -- failed runs of the current hop
    lease           bigint not null default 0,     -- grows with every lease; a write with an older one changes nothing
    owner           text,
    lease_until     bigint,
    run_at          bigint not null,
    expires_at      bigint,
    created_at      bigint not null,
    started_at      bigint,
    finished_at     bigint,
    output          text,
    error_code      text,
    error_message   text,
    waits_for       text                            -- why it is parked, for people
);

-- The claim: ten minutes of age weigh as much as one step of priority, so that low is not starved.
create index task_ready on task ((created_at - priority * 600000), id) where status in ('pending', 'awaiting_backend');
create index task_due on task (run_at) where status in ('pending', 'awaiting_backend');
create index task_leased on task (lease_until) where status = 'running';
create index task_lapses on task (expires_at) where status in ('pending', 'awaiting_backend', 'awaiting_approval');
create index task_conversation on task (conversation_id, id);

-- One run of one agent for a task, pinned to a digest once it has started. pending -> running -> done | failed.
create table hop (
    task        text    not null references task (id),
    seq         bigint not null,
    agent       text    not null,
    digest      text,
    status      text    not null,
    run         bigint not null default 0,         -- grows with every start; part of the journal's key
    outcome     text,                               -- JSON of the agent's outcome
    error       text,
    label       text    not null,
    tainted     bigint not null,
    started_at  bigint,
    finished_at bigint,
    primary key (task, seq)
);

-- A key is unique for ever: the row outlives its task.
create table idempotency (
    token      text    not null,
    key        text    not null,
    body       text    not null,                    -- SHA-256 of what was sent under it
    task       text    not null,
    created_at bigint not null,
    primary key (token, key)
);
