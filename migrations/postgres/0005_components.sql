-- Components by digest: a run that was interrupted is resumed by the one that started it, whatever file serves by then.
create table component (
    digest text not null primary key,
    bytes  bytea not null
);
