-- What an auditor searches by, filled from the log; schema.sql says what everything is for.

create table sharegate.search_entry (
    seq      bigint primary key,
    time     bigint not null,
    kind     text   not null,
    by       text,
    consumer text,
    officer  bytea,
    matter   bytea,
    provider text,
    resource text,
    mode     text,
    purpose  text,
    effect   text,
    reason   text,
    rule     text
);
create index search_entry_time on sharegate.search_entry (time, seq);
create index search_entry_officer on sharegate.search_entry (officer, time, seq)
    where officer is not null;
create index search_entry_matter on sharegate.search_entry (matter, time, seq)
    where matter is not null;
create index search_entry_resource on sharegate.search_entry (provider, resource, time, seq);
create index search_entry_consumer on sharegate.search_entry (consumer, effect, time, seq);

create table sharegate.search_person (
    token bytea  not null,
    time  bigint not null,
    seq   bigint not null,
    primary key (token, time, seq)
);

create table sharegate.search_place (
    one      boolean primary key default true check (one),
    size     bigint not null check (size >= 0),
    last     bytea  not null check (length(last) = 32),
    frontier bytea  not null,
    note     bytea
);
insert into sharegate.search_place (size, last, frontier) values (0, decode(repeat('00', 32), 'hex'), '');

grant usage on schema sharegate to sharegate_project, sharegate_audit;
grant select (seq, leaf, blind) on sharegate.entry to sharegate_project;
grant select on sharegate.checkpoint to sharegate_project;
grant select, insert, truncate on sharegate.search_entry, sharegate.search_person
    to sharegate_project;
grant select, update on sharegate.search_place to sharegate_project;
grant select on sharegate.head, sharegate.entry, sharegate.checkpoint, sharegate.subtree,
    sharegate.search_entry, sharegate.search_person, sharegate.search_place to sharegate_audit;
