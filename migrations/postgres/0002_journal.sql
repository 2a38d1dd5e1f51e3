-- One host call of one run. Entry 0 is the run's whole input. started -> done | failed | denied; a row left at started is a
-- call whose truth is unknown.
create table journal (
    task          text    not null references task (id),
    hop           bigint not null,
    run           bigint not null,
    seq           bigint not null,
    lease         bigint not null,                 -- under which it was made
    kind          text    not null,                 -- interface.function
    fingerprint   text    not null,                 -- version byte and SHA-256 of kind and canonical request
    state         text    not null,
    request       text    not null,                 -- canonical JSON (RFC 8785)
    answer        text,                             -- JSON of the result or of the refusal
    tries         text    not null,                 -- JSON: every destination tried, with its reason
    destination   text,                             -- the one that answered
    tier          text    not null,                 -- the run's label after it
    tainted       bigint not null,
    model         text,
    input_tokens  bigint,
    output_tokens bigint,
    usd_micros    bigint,
    started_at    bigint not null,
    finished_at   bigint,
    primary key (task, hop, run, seq)
);

-- What a task wrote, or was about to: committed before the file, so that after a crash the task knows its own file again.
create table artefact (
    task       text    not null references task (id),
    path       text    not null,
    sha256     text    not null,                    -- of the whole file
    hop        bigint not null,
    agent      text    not null,
    digest     text    not null,
    tier       text    not null,
    written_at bigint,                             -- null until the file is there
    primary key (task, path, sha256)
);
