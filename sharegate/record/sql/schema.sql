-- The audit log. This file is the truth; the migrations lead to it and a test proves they meet.
--
-- What is hashed is what is stored, byte for byte: `entry.leaf` is the leaf of RFC 6962, and
-- nothing else in this schema is evidence. Everything but `entry` and `head` can be rebuilt.
--
-- Three roles, none of which can log in by itself; grant them to the logins that need them.
--   sharegate_append   may call append, keep_checkpoint, forget_replays and usable; may touch no
--                      table
--   sharegate_read     may read
--   sharegate_migrate  owns the schema and all in it, so the functions run with its rights and
--                      not a superuser's; used by `sharegate migrate` and by nothing that serves

create schema sharegate authorization sharegate_migrate;
set local role sharegate_migrate;

-- Which migrations have been applied.
create table sharegate.migration (
    name       text primary key,
    applied_at timestamptz not null default now()
);

-- One row: where the log ends. Its lock is what puts appends in order.
create table sharegate.head (
    one            boolean primary key default true check (one),
    origin         text    not null,
    size           bigint  not null check (size >= 0),
    last           bytea   not null check (length(last) = 32),    -- leaf hash of the last entry
    -- A request signed before this moment is refused: whether it is a replay is forgotten.
    remembers_from bigint  not null default 0,                    -- milliseconds of Unix time
    -- Where a standby must have every entry too: refuse to append while none is demanded.
    standby        boolean not null default false
);

create table sharegate.entry (
    seq         bigint primary key,
    exchange_id uuid   not null,
    leaf        bytea  not null check (octet_length(leaf) <= 65535),   -- tlog-tiles counts in 16 bits
    sealed      bytea  not null,   -- the detail, AES-256-GCM
    wrapped     bytea              -- its key, wrapped; null once erased
) with (toast_tuple_target = 8160);
-- UUIDv7 ids rise with time, so a block range finds an exchange without a second B-tree.
create index entry_exchange_id on sharegate.entry using brin (exchange_id)
    with (pages_per_range = 8, autosummarize = on);
-- A leaf must be found on the page it was written to: no compression, which would store other
-- bytes than were hashed, and (by toast_tuple_target) nothing moved out of line while it fits a
-- page, which would cost a second table and index for each entry.
alter table sharegate.entry alter column leaf set storage external;
alter table sharegate.entry alter column sealed set storage external;
alter table sharegate.entry alter column wrapped set storage external;

-- Requests seen lately. A key is 32 bytes that no other signed request has.
create table sharegate.replay (
    key         bytea  primary key,
    seq         bigint not null,
    signed_at   bigint not null
);
create index replay_signed_at on sharegate.replay using brin (signed_at)
    with (pages_per_range = 8, autosummarize = on);

-- Signed checkpoints, for whoever asks for one by name; the signer's own memory is a file.
create table sharegate.checkpoint (
    size bigint primary key,
    note bytea  not null
);

-- Hashes of complete subtrees of 256^k leaves (levels 8, 16, 24 …), so that a receipt can be made
-- again without reading the log from its beginning.
create table sharegate.subtree (
    level smallint not null,
    n     bigint   not null,
    hash  bytea    not null,
    primary key (level, n)
);

-- Prevents accidents. A superuser walks past it; that is what signatures and witnesses are for.
create function sharegate.append_only() returns trigger
language plpgsql as $$
begin
    raise exception 'the audit log only grows' using errcode = 'SG009';
end
$$;
create trigger append_only before update or delete on sharegate.entry
    for each row execute function sharegate.append_only();
create trigger append_only_whole before truncate on sharegate.entry
    for each statement execute function sharegate.append_only();

-- Whether a commit made now would survive a power cut, in the caller's own session.
create function sharegate.durable(standby boolean) returns boolean
language sql stable as $$
    select current_setting('fsync') = 'on'
       and current_setting('full_page_writes') = 'on'
       and current_setting('synchronous_commit') in ('on', 'remote_apply')
       and (not standby or current_setting('synchronous_standby_names') <> '')
$$;

-- Append a batch, in order, in one transaction: the statement's own.
--
-- Each item ends in one of three ways, given in `fates`:
--   a  appended, at seqs[i]
--   r  replayed: its key was seen before, by the entry at seqs[i]; nothing appended
--   s  stale: signed before what is remembered; nothing appended, seqs[i] is -1
-- A signed_at of 0 means now. No two items of one batch share a replay key (the caller sees to it; the primary key insists).
--
-- Raises SG001 where the commit would not be durable, SG002 where there is no log yet.
create function sharegate.append(
    exchange_ids uuid[], replay_keys bytea[], signed_ats bigint[],
    cores bytea[], seals bytea[], wraps bytea[], announce boolean,
    out fates text[], out seqs bigint[]
)
language plpgsql security definer set search_path = '' set plan_cache_mode = force_generic_plan as $$
declare
    end_seq    bigint;
    first_seq  bigint;
    link       bytea;
    oldest     bigint;
    standby    boolean;
    known_keys bytea[];
    known_seqs bigint[];
    place      int;
    leaf       bytea;
    leaves     bytea[] := '{}';
begin
    select h.size, h.last, h.remembers_from, h.standby
      into end_seq, link, oldest, standby
      from sharegate.head h for update;
    if not found then
        raise exception 'there is no audit log here' using errcode = 'SG002';
    end if;
    if not sharegate.durable(standby) then
        raise exception 'a commit would not be durable' using errcode = 'SG001';
    end if;

    select array_agg(r.key), array_agg(r.seq) into known_keys, known_seqs
      from sharegate.replay r where r.key = any (replay_keys);

    first_seq := end_seq;
    for i in 1 .. cardinality(exchange_ids) loop
        if signed_ats[i] = 0 then
            signed_ats[i] := (extract(epoch from now()) * 1000)::bigint;
        end if;
        place := array_position(known_keys, replay_keys[i]);
        if place is not null then
            fates[i] := 'r';
            leaves[i] := null;
            seqs[i] := known_seqs[place];
        elsif signed_ats[i] < oldest then
            fates[i] := 's';
            leaves[i] := null;
            seqs[i] := -1;
        else
            leaf := '\x53474c31'::bytea || int8send(end_seq) || link || cores[i];   -- "SGL1"
            link := sha256('\x00'::bytea || leaf);
            leaves[i] := leaf;
            fates[i] := 'a';
            seqs[i] := end_seq;
            end_seq := end_seq + 1;
        end if;
    end loop;

    if end_seq > first_seq then
        insert into sharegate.entry (seq, exchange_id, leaf, sealed, wrapped)
        select b.seq, b.id, b.leaf, b.seal, b.wrap
          from unnest(fates, seqs, exchange_ids, leaves, seals, wraps)
               as b (fate, seq, id, leaf, seal, wrap)
         where b.fate = 'a';
        insert into sharegate.replay (key, seq, signed_at)
        select b.key, b.seq, b.signed_at
          from unnest(fates, replay_keys, seqs, signed_ats) as b (fate, key, seq, signed_at)
         where b.fate = 'a';
        update sharegate.head set size = end_seq, last = link;
    end if;
    if announce then
        perform pg_notify('sharegate_entries', '');
    end if;
end
$$;

-- Keep a signed checkpoint, and the subtrees completed since the one before it.
create function sharegate.keep_checkpoint(
    at_size bigint, signed_note bytea, levels smallint[], ns bigint[], hashes bytea[], announce boolean
) returns void
language sql security definer set search_path = '' as $$
    insert into sharegate.subtree (level, n, hash)
    select * from unnest(levels, ns, hashes) on conflict do nothing;
    insert into sharegate.checkpoint (size, note) values (at_size, signed_note)
    on conflict (size) do update set note = excluded.note;
    select pg_notify('sharegate_checkpoint', '') where announce;
$$;

-- Forget replay keys of requests signed longer ago than so many milliseconds by the database's
-- clock, and refuse such requests from then on. The moment never goes back, so a clock that does
-- cannot bring a dead request to life.
create function sharegate.forget_replays(milliseconds bigint) returns void
language sql security definer set search_path = '' as $$
    update sharegate.head set remembers_from = greatest(
        remembers_from, (extract(epoch from now()) * 1000)::bigint - milliseconds);
    delete from sharegate.replay r using sharegate.head h where r.signed_at < h.remembers_from;
$$;

-- Whether an entry could be appended now: 'usable', or the reason why not.
create function sharegate.usable() returns text
language sql stable security definer set search_path = '' as $$
    select case
        when pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' then 'read-only'
        when not exists (select from sharegate.head) then 'no-log'
        when not sharegate.durable((select standby from sharegate.head)) then 'not-durable'
        when exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n
                         on n.oid = c.relnamespace
                      where n.nspname = 'sharegate' and c.relkind = 'r' and c.relpersistence <> 'p')
            then 'not-durable'   -- someone made a table unlogged
        else 'usable'
    end
$$;

revoke all on all functions in schema sharegate from public;
grant usage on schema sharegate to sharegate_append, sharegate_read;
grant execute on function sharegate.append, sharegate.keep_checkpoint, sharegate.forget_replays,
    sharegate.usable to sharegate_append;
grant select on all tables in schema sharegate to sharegate_read;
