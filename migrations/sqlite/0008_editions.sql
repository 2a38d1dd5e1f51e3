-- Which component serves as an agent, for every host on this database; and which ones did before, to go back to.
create table edition (
    agent   text not null,
    digest  text not null,
    version text not null,                          -- the agent's own word for it
    signed  text,                                   -- the signature beside its file, if there was one
    active  integer not null,                       -- 1 for the one that serves
    at      integer not null,                       -- when it last began to
    primary key (agent, digest)
) strict;

create unique index edition_active on edition (agent) where active = 1;
create index edition_digest on edition (digest);
