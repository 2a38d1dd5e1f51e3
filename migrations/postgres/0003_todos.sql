-- What a person wants to remember. open -> done | dropped, and back.
create table todo (
    id         text    not null primary key,        -- ULID: sorts by age
    body       text    not null,
    status     text    not null,
    created_by text    not null,                    -- the caller's requester
    tags       text    not null,                    -- JSON array of texts
    metadata   text    not null,                    -- JSON object, the caller's own
    created_at bigint  not null,
    updated_at bigint  not null,
    closed_at  bigint                               -- when it left open
);

create index todo_open on todo (id) where status = 'open';

-- When the task's content was replaced by digests of itself.
alter table task add column forgotten_at bigint;
