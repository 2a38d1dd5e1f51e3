-- What a person wants to remember. open -> done | dropped, and back.
create table todo (
    id         text    not null primary key,        -- ULID: sorts by age
    body       text    not null,
    status     text    not null,
    created_by text    not null,                    -- the caller's requester
    tags       text    not null,                    -- JSON array of texts
    metadata   text    not null,                    -- JSON object, the caller's own
    created_at integer not null,
    updated_at integer not null,
    closed_at  integer                              -- when it left open
) strict;

create index todo_open on todo (id) where status = 'open';

-- When the task's content was replaced by digests of itself.
alter table task add column forgotten_at integer;
