-- The audit log. This file is the truth; the migrations lead to it and a test proves they meet.
--
-- What is hashed is what is stored, byte for byte: `entry.leaf` is the leaf of RFC 6962, and
-- nothing else in this schema is evidence. Everything but `entry` and `head` can be rebuilt.
--
-- Six roles, none of which can log in by itself; grant them to the logins that need them.
--   sharegate_append   may call append, forget_replays, usable and what a signer calls; may touch
--                      no table
--   sharegate_read     may read
--   sharegate_project  may read leaves and their tokens, and fill the projection
--   sharegate_audit    may read the log and the projection, and hold details
--   sharegate_erase    may read the log, erase details, and remove what stands in an archive
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
    standby        boolean not null default false,
    -- Entries before this one stand in archives alone; the tree and the chain there, to go on from.
    archived          bigint not null default 0 check (archived >= 0),
    archived_last     bytea  not null default decode(repeat('00', 32), 'hex')
        check (length(archived_last) = 32),
    archived_frontier bytea  not null default '',                 -- 32 bytes each
    archived_by       bigint                                       -- the entry that says so
);

create table sharegate.entry (
    seq         bigint primary key,
    exchange_id uuid   not null,
    leaf        bytea  not null check (octet_length(leaf) <= 65535),   -- tlog-tiles counts in 16 bits
    sealed      bytea  not null,   -- the detail, AES-256-GCM
    wrapped     bytea,             -- its key, wrapped; null once erased
    blind       bytea              -- tokens to find it by (see record/blind.py); erased with it
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
alter table sharegate.entry alter column blind set storage external;

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
    size   bigint primary key,
    note   bytea  not null,
    signer bytea            -- whose memory remembers it (see sharegate.signing)
);

-- Hashes of complete subtrees of 256^k leaves (levels 8, 16, 24 …), so that a receipt can be made
-- again without reading the log from its beginning.
create table sharegate.subtree (
    level smallint not null,
    n     bigint   not null,
    hash  bytea    not null,
    primary key (level, n)
);

-- Every function that runs with the owner's rights finds types and functions in pg_catalog first, and
-- last in pg_temp, which is otherwise searched before all else for types: whoever may make
-- temporary objects could have the owner run his.

-- Prevents accidents. A superuser walks past it; that is what signatures and witnesses are for.
-- What may change is two things: what opens and finds a detail goes, and nothing comes in its
-- place; and an entry goes that stands in an archive.
create function sharegate.append_only() returns trigger
language plpgsql as $$
begin
    if tg_op = 'UPDATE' then
        if new.wrapped is null and new.blind is null
           and (new.seq, new.exchange_id, new.leaf, new.sealed)
             = (old.seq, old.exchange_id, old.leaf, old.sealed) then
            return new;
        end if;
    elsif tg_op = 'DELETE' then
        if old.seq < (select h.archived from sharegate.head h) then
            return old;
        end if;
    end if;
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
    cores bytea[], seals bytea[], wraps bytea[], blinds bytea[], announce boolean,
    out fates text[], out seqs bigint[]
)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
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
        insert into sharegate.entry (seq, exchange_id, leaf, sealed, wrapped, blind)
        select b.seq, b.id, b.leaf, b.seal, b.wrap, b.blind
          from unnest(fates, seqs, exchange_ids, leaves, seals, wraps, blinds)
               as b (fate, seq, id, leaf, seal, wrap, blind)
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

-- Forget replay keys of requests signed longer ago than so many milliseconds, and refuse such
-- requests from then on. The moment never goes back, so a clock that does cannot bring a dead
-- request to life; for that a clock that is ahead would end the log for as long as it was, so two
-- have to agree: the database's and, in milliseconds of Unix time, the one who asks.
create function sharegate.forget_replays(milliseconds bigint, clock bigint default null)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update sharegate.head set remembers_from = greatest(
        remembers_from,
        least((extract(epoch from now()) * 1000)::bigint, clock) - greatest(milliseconds, 0));
    delete from sharegate.replay r using sharegate.head h where r.signed_at < h.remembers_from;
$$;

-- Whether an entry could be appended now: 'usable', or the reason why not.
create function sharegate.usable() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case
        when pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' then 'read-only'
        when not exists (select from sharegate.head) then 'no-log'
        when not sharegate.durable((select standby from sharegate.head)) then 'not-durable'
        when exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n
                         on n.oid = c.relnamespace
                      where n.nspname = 'sharegate' and c.relkind = 'r' and c.relpersistence <> 'p')
            then 'not-durable'   -- someone made a table unlogged
        when (select remembers_from from sharegate.head) > extract(epoch from now()) * 1000
            then 'set-back'   -- whatever is signed now would be refused as forgotten
        else 'usable'
    end
$$;

revoke all on all functions in schema sharegate from public;
grant usage on schema sharegate to sharegate_append, sharegate_read;
grant execute on function sharegate.append, sharegate.forget_replays, sharegate.usable
    to sharegate_append;
grant select on all tables in schema sharegate to sharegate_read;

-- What the rules left to an officer of the provider: an index of refusal entries, by registered
-- names alone. The facts are in the entry's sealed detail.
create table sharegate.referral (
    exchange_id uuid   primary key,
    seq         bigint not null,
    at          bigint not null,
    provider    text   not null,
    consumer    text   not null,
    resource    text   not null,
    purpose     text   not null,
    question    text   not null
);
create index referral_provider on sharegate.referral (provider, at);

-- What officers ruled: one ruling for each referral. `sealed` is the signed statement, under a key
-- that only gateways have, since whoever holds a signature can try guesses of what it is over.
create table sharegate.ruling (
    id       uuid    primary key,
    referral uuid        not null unique,
    proposed timestamptz not null default now(),
    expires  bigint  not null,
    sealed   bytea   not null,
    recorded boolean not null default false,   -- has its entry; before that it is of no use
    used_by  uuid                              -- the exchange it let through
);
create index ruling_used_by on sharegate.ruling (used_by) where used_by is not null;

-- Openings past the rules, signed by two officers; sealed like a ruling.
create table sharegate.break_glass (
    id         uuid    primary key,
    expires    bigint  not null,
    review_due bigint  not null,   -- milliseconds of Unix time, like every moment here
    sealed     bytea   not null,
    recorded   boolean not null default false,
    reviewed   boolean not null default false
);

-- List a referral whose entry is written; the entry is the referral, this only finds it.
create function sharegate.note_referral(
    exchange uuid, at bigint, provider text, consumer text, resource text, purpose text,
    question text
) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into sharegate.referral (exchange_id, seq, at, provider, consumer, resource, purpose,
                                    question)
    select exchange, min(e.seq), at, provider, consumer, resource, purpose, question
      from sharegate.entry e where e.exchange_id = exchange having min(e.seq) is not null
        on conflict do nothing;
$$;

create function sharegate.referrals(of_provider text, since bigint, most int)
returns table (
    exchange_id uuid, seq bigint, at bigint, consumer text, resource text, purpose text,
    question text, leaf bytea, sealed bytea, wrapped bytea, ruling uuid, used boolean
)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select r.exchange_id, r.seq, r.at, r.consumer, r.resource, r.purpose, r.question,
           e.leaf, e.sealed, e.wrapped, u.id, u.used_by is not null
      from sharegate.referral r
      join sharegate.entry e on e.seq = r.seq
      left join sharegate.ruling u on u.referral = r.exchange_id and u.recorded
     where r.provider = of_provider and r.at >= since
     order by r.at desc, r.exchange_id limit most;
$$;

-- Take the one place there is for a ruling on a referral: 'proposed', or 'recorded' where this one
-- has it and its entry, or 'ruled' where another one has it, or 'unknown' where no such thing was
-- referred. It may be used once it is enacted, which follows its entry; what was
-- not, a minute later, gives way to another.
create function sharegate.propose_ruling(
    this uuid, of_referral uuid, provider text, consumer text, resource text, purpose text,
    question text, until bigint, content bytea, out fate text, out kept bytea
)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from sharegate.referral r
      where (r.exchange_id, r.provider, r.consumer, r.resource, r.purpose, r.question)
          = (of_referral, propose_ruling.provider, propose_ruling.consumer,
             propose_ruling.resource, propose_ruling.purpose, propose_ruling.question);
    if not found then
        fate := 'unknown';
        return;
    end if;
    delete from sharegate.ruling u where u.referral = of_referral and not u.recorded
        and u.proposed < now() - interval '1 minute';
    insert into sharegate.ruling (id, referral, expires, sealed)
    values (this, of_referral, until, content) on conflict do nothing;
    select case when u.recorded then 'recorded' else 'proposed' end, u.sealed into fate, kept
      from sharegate.ruling u where u.referral = of_referral and u.id = this;
    fate := coalesce(fate, 'ruled');
end
$$;

create function sharegate.enact_ruling(this uuid) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with mine as (update sharegate.ruling set recorded = true where id = this returning 1)
    select exists (select from mine);
$$;

-- What a request may mean by the name it cites: a ruling by its own id or its referral's, or an
-- opening.
create function sharegate.cited(name uuid)
returns table (kind text, id uuid, sealed bytea, used boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select 'ruling', u.id, u.sealed, u.used_by is not null from sharegate.ruling u
     where (u.id = name or u.referral = name) and u.recorded
    union all
    select 'break-glass', b.id, b.sealed, false from sharegate.break_glass b
     where b.id = name and b.recorded;
$$;

-- Use a ruling for one exchange; whoever comes second is told no, in whichever process.
create function sharegate.use_ruling(this uuid, exchange uuid) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with mine as (
        update sharegate.ruling set used_by = exchange
         where id = this and recorded and used_by is null returning 1
    )
    select exists (select from mine);
$$;

-- Give a ruling back that an exchange took, of which an entry says that it was not answered.
create function sharegate.return_ruling(exchange uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update sharegate.ruling set used_by = null where used_by = exchange;
$$;

create function sharegate.propose_opening(
    opening uuid, until bigint, due bigint, content bytea, out fate text, out kept bytea
)
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into sharegate.break_glass (id, expires, review_due, sealed)
    values (opening, until, due, content) on conflict do nothing;
    select case when b.recorded then 'recorded' else 'proposed' end, b.sealed
      from sharegate.break_glass b where b.id = opening;
$$;

create function sharegate.enact_opening(opening uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update sharegate.break_glass set recorded = true where id = opening;
$$;

create function sharegate.openings()
returns table (id uuid, expires bigint, review_due bigint, reviewed boolean, sealed bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select b.id, b.expires, b.review_due, b.reviewed, b.sealed
      from sharegate.break_glass b where b.recorded order by b.expires desc limit 1000;
$$;

create function sharegate.review_opening(opening uuid) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with mine as (
        update sharegate.break_glass set reviewed = true
         where id = opening and recorded returning 1
    )
    select exists (select from mine);
$$;

create function sharegate.overdue_reviews(now_ms bigint) returns bigint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select count(*) from sharegate.break_glass b
     where b.recorded and not b.reviewed and b.review_due <= now_ms;
$$;

revoke all on function sharegate.note_referral, sharegate.referrals, sharegate.propose_ruling,
    sharegate.enact_ruling, sharegate.cited, sharegate.use_ruling, sharegate.return_ruling,
    sharegate.propose_opening, sharegate.enact_opening, sharegate.openings,
    sharegate.review_opening, sharegate.overdue_reviews from public;
grant execute on function sharegate.note_referral, sharegate.referrals, sharegate.propose_ruling,
    sharegate.enact_ruling, sharegate.cited, sharegate.use_ruling, sharegate.return_ruling,
    sharegate.propose_opening, sharegate.enact_opening, sharegate.openings,
    sharegate.review_opening, sharegate.overdue_reviews to sharegate_append;

-- How many answers there were, by what a count is about: 32 bytes, a keyed hash of grant, officer or
-- department, and period. Whoever holds the table alone cannot say whom a row is about.
create table sharegate.quota_count (
    key   bytea  primary key check (length(key) = 32),
    used  bigint not null check (used >= 0),
    until bigint not null   -- milliseconds of Unix time at which its period is over
) with (fillfactor = 50);   -- one row is counted up all day: room for it on its own page
create index quota_count_until on sharegate.quota_count (until);

-- Answers counted whose exchange has not said yet what came of it.
create table sharegate.quota_hold (
    exchange_id uuid    primary key,
    signed_at   bigint  not null,
    keys        bytea[] not null
);

-- Count one more answer under every key, or under none: 0, or the place (from 1) of the first term
-- that has no room. The rows are locked in the order of their keys, so that nobody waits for
-- somebody who waits for him.
create function sharegate.reserve_quota(
    exchange uuid, signed bigint, counted bytea[], mosts bigint[], untils bigint[]
) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    full_at int;
begin
    insert into sharegate.quota_count (key, used, until)
    select t.key, 0, t.until from unnest(counted, untils) as t (key, until) order by t.key
        on conflict do nothing;
    perform from sharegate.quota_count c where c.key = any (counted) order by c.key for update;
    select t.place into full_at
      from unnest(counted, mosts) with ordinality as t (key, most, place)
      left join sharegate.quota_count c on c.key = t.key
     where c.used is null or c.used >= t.most
     order by t.place limit 1;
    if full_at is not null then
        return full_at;
    end if;
    update sharegate.quota_count c set used = c.used + 1 where c.key = any (counted);
    insert into sharegate.quota_hold (exchange_id, signed_at, keys)
    values (exchange, signed, counted);
    return 0;
end
$$;

-- What came of exchanges: those answered stay counted, those returned do not. Each exchange is
-- settled once, by whoever comes first.
create function sharegate.settle_quota(answered uuid[], returned uuid[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    back bytea[];
begin
    delete from sharegate.quota_hold h where h.exchange_id = any (answered);
    with gone as (
        delete from sharegate.quota_hold h where h.exchange_id = any (returned) returning h.keys
    )
    select array_agg(k.key) into back from gone, unnest(gone.keys) as k (key);
    perform from sharegate.quota_count c where c.key = any (back) order by c.key for update;
    update sharegate.quota_count c set used = c.used - b.times
      from (select k.key, count(*) as times from unnest(back) as k (key) group by k.key) as b
     where c.key = b.key;
end
$$;

-- Settle what nobody will settle any more, because its process died: exchanges so old that the
-- append function refuses them. So whatever entry there is of them is there now, and it says what
-- came of them. Forget counts, a day after their period.
create function sharegate.sweep_quota() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    oldest   bigint;
    answered uuid[];
    returned uuid[];
begin
    select h.remembers_from into oldest from sharegate.head h;
    select array_agg(f.exchange_id) filter (where f.answered),
           array_agg(f.exchange_id) filter (where not f.answered)
      into answered, returned
      from (select h.exchange_id, exists (
                select from sharegate.entry e
                 where e.exchange_id = h.exchange_id
                   and position('"kind":"refusal"'::bytea in e.leaf) = 0
                   and position('"kind":"failure"'::bytea in e.leaf) = 0) as answered
              from sharegate.quota_hold h
             where h.signed_at < oldest
             order by h.exchange_id limit 1000 for update of h skip locked) as f;
    perform sharegate.settle_quota(coalesce(answered, '{}'), coalesce(returned, '{}'));
    delete from sharegate.quota_count c where c.until < oldest - 86400000;
end
$$;

revoke all on function sharegate.reserve_quota, sharegate.settle_quota, sharegate.sweep_quota
    from public;
grant execute on function sharegate.reserve_quota, sharegate.settle_quota, sharegate.sweep_quota
    to sharegate_append;

-- The projection: what an auditor searches by. Filled from the log by a follower, in batches that
-- end at a signed checkpoint; no evidence, and rebuilt at will. The names are those of the cores.
create table sharegate.search_entry (
    seq      bigint primary key,
    time     bigint not null,   -- milliseconds of Unix time, by the gateway's clock
    kind     text   not null,
    by       text,              -- who did it, where it is no exchange
    consumer text,
    officer  bytea,             -- tokens of 16 bytes (see record/blind.py)
    matter   bytea,
    provider text,
    resource text,
    mode     text,
    purpose  text,
    effect   text,
    reason   text,
    rule     text
);
-- Each ends in (time, seq), the order of every answer: a search reads no more than it shows.
create index search_entry_time on sharegate.search_entry (time, seq);
create index search_entry_officer on sharegate.search_entry (officer, time, seq)
    where officer is not null;
create index search_entry_matter on sharegate.search_entry (matter, time, seq)
    where matter is not null;
create index search_entry_resource on sharegate.search_entry (provider, resource, time, seq);
create index search_entry_consumer on sharegate.search_entry (consumer, effect, time, seq);

-- Whom an entry is about: as many as there are.
create table sharegate.search_person (
    token bytea  not null,
    time  bigint not null,
    seq   bigint not null,
    primary key (token, time, seq)
);

-- One row: how far the projection reaches. It moves in the transaction that fills the tables.
create table sharegate.search_place (
    one      boolean primary key default true check (one),
    size     bigint not null check (size >= 0),
    last     bytea  not null check (length(last) = 32),   -- leaf hash of the last entry
    frontier bytea  not null,   -- the tree's growing edge, 32 bytes each
    note     bytea              -- the checkpoint that signed it; null at size 0
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

-- Details that may not be erased, because an auditor says so; `told` is the entry that says it.
create table sharegate.legal_hold (
    seq  bigint primary key,
    told bigint not null
);

-- Details that were erased, and the entry that said so first.
create table sharegate.erasure (
    seq  bigint primary key,
    told bigint not null
);

-- Whether the entry at `told` is an act of this kind about the entry at `target`. The core follows
-- 44 bytes of the leaf.
create function sharegate.says(told bigint, kind text, target bigint) returns boolean
language sql stable as $$
    select coalesce(bool_or(convert_from(substring(e.leaf from 45), 'UTF8')::jsonb
                            @> jsonb_build_object('kind', kind, 'facts', jsonb_build_object('entry', target))),
                    false)
      from sharegate.entry e where e.seq = told
$$;

-- Whether an entry must be kept where it is, by what its core says: for 184 days where that is what
-- it says, else for 3 years.
create function sharegate.retained(core jsonb) returns boolean
language sql stable as $$
    select to_timestamp((core ->> 'time')::bigint / 1000.0)
           + case core -> 'detail' ->> 'retention' when 'ordinary-184d' then interval '184 days'
                                                   else interval '3 years' end > now()
$$;

-- Whether a detail may be erased: 'erasable', or 'unknown', 'erased', 'held' or 'retained'.
create function sharegate.erasable(target bigint) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(min(case
        when e.wrapped is null then 'erased'
        when exists (select from sharegate.legal_hold h where h.seq = target) then 'held'
        when sharegate.retained(e.core) then 'retained'
        else 'erasable'
    end), 'unknown')
      from (select seq, wrapped, convert_from(substring(leaf from 45), 'UTF8')::jsonb as core
              from sharegate.entry
             where seq = target and seq >= (select archived from sharegate.head)) as e
$$;

-- Erase a detail: what opens it and what finds it. The leaf, and so every proof, stays; so does the
-- ciphertext, which nobody can read any more. An entry must have said so before.
create function sharegate.erase(target bigint, told bigint) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    state text;
begin
    perform pg_advisory_xact_lock_shared(7316552906);
    perform from sharegate.entry e where e.seq = target for update;
    state := sharegate.erasable(target);
    if state = 'erasable' and not sharegate.says(told, 'erase', target) then
        state := 'untold';
    end if;
    if state = 'erasable' then
        update sharegate.entry set wrapped = null, blind = null where seq = target;
        insert into sharegate.erasure (seq, told) values (target, erase.told);
        update sharegate.search_entry set officer = null, matter = null where seq = target;
        delete from sharegate.search_person p where p.seq = target;
    end if;
    return state;
end
$$;

-- Hold a detail, or let it go; an entry must have said so before.
create function sharegate.hold(target bigint, told bigint, held boolean) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from sharegate.entry e where e.seq = target for update;
    if not found then
        return 'unknown';
    elsif not sharegate.says(told, 'hold', target) then
        return 'untold';
    elsif not held then
        delete from sharegate.legal_hold h where h.seq = target;
        return 'free';
    end if;
    insert into sharegate.legal_hold (seq, told) values (target, hold.told) on conflict do nothing;
    return 'held';
end
$$;

-- Details that are gone although no entry says that they would be: whoever took them away went past
-- the functions here.
create function sharegate.vanished(first bigint, after bigint) returns setof bigint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select e.seq from sharegate.entry e
     where e.seq >= first and e.seq < after and e.wrapped is null
       and not exists (select from sharegate.erasure g
                        where g.seq = e.seq and sharegate.says(g.told, 'erase', e.seq))
     order by e.seq
$$;

-- Whether everything before an entry may leave for an archive: 'archivable', or 'unknown', 'archived',
-- 'held', 'retained', or 'unproven' where a later proof would need what is to go.
create function sharegate.archivable(target bigint) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case
        when target % 256 <> 0 or target > h.size
             or not exists (select from sharegate.checkpoint c where c.size >= target) then 'unknown'
        when target <= h.archived then 'archived'
        when exists (select from sharegate.legal_hold l where l.seq < target) then 'held'
        when exists (select from sharegate.entry e where e.seq < target
                        and sharegate.retained(convert_from(substring(e.leaf from 45), 'UTF8')::jsonb))
            then 'retained'
        when (select count(*) from sharegate.subtree s where s.level = 8 and s.n < target / 256)
             < target / 256 then 'unproven'
        else 'archivable'
    end
      from sharegate.head h
$$;

-- Say that everything before an entry stands in an archive, as the entry at `told` said first. So
-- many of the details there are erased: 'changed' where another one was meanwhile, which the archive
-- would still open. Whoever erases waits for this to end, and this for him (7316552906).
create function sharegate.archive(
    target bigint, told bigint, last bytea, frontier bytea, erased bigint
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    state text;
begin
    perform pg_advisory_xact_lock(7316552906);
    state := sharegate.archivable(target);
    if state = 'archivable' and erased <> (
        select count(*) from sharegate.entry e where e.seq < target and e.wrapped is null
    ) then
        state := 'changed';
    end if;
    if state = 'archivable' and not exists (
        select from sharegate.entry e where e.seq = archive.told
           and convert_from(substring(e.leaf from 45), 'UTF8')::jsonb
               @> jsonb_build_object('kind', 'archive', 'facts', jsonb_build_object('to', target))
    ) then
        state := 'untold';
    end if;
    if state = 'archivable' then
        update sharegate.head
           set archived = target, archived_last = archive.last, archived_frontier = archive.frontier,
               archived_by = archive.told;
    end if;
    return state;
end
$$;

-- Remove so many of the entries that stand in an archive, and what finds them; 0 once all are gone.
create function sharegate.detach(most int) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    seqs bigint[];
begin
    select array_agg(e.seq) into seqs from (
        select seq from sharegate.entry
         where seq < (select archived from sharegate.head) order by seq limit most
    ) e;
    if seqs is null then  -- people last, and at once: they are not in the order of the log
        delete from sharegate.search_person p where p.seq < (select archived from sharegate.head);
        return 0;
    end if;
    delete from sharegate.search_entry s where s.seq = any (seqs);
    delete from sharegate.erasure g where g.seq = any (seqs);
    delete from sharegate.entry e where e.seq = any (seqs);
    return cardinality(seqs);
end
$$;

revoke all on function sharegate.says, sharegate.erasable, sharegate.erase, sharegate.hold,
    sharegate.vanished from public;
grant usage on schema sharegate to sharegate_erase;
revoke all on function sharegate.retained, sharegate.archivable, sharegate.archive, sharegate.detach
    from public;
grant execute on function sharegate.erasable, sharegate.erase to sharegate_erase;
grant execute on function sharegate.archivable, sharegate.archive, sharegate.detach to sharegate_erase;
grant select (archived, archived_last, archived_frontier) on sharegate.head to sharegate_project;
grant execute on function sharegate.erasable, sharegate.hold to sharegate_audit;
grant execute on function sharegate.vanished to sharegate_read;
grant select on sharegate.head, sharegate.entry, sharegate.checkpoint, sharegate.subtree,
    sharegate.erasure to sharegate_erase;
grant select on sharegate.legal_hold, sharegate.erasure to sharegate_audit;

-- One row: whose signer may sign the log, until when unless it says so again, and the how-manieth
-- it is. `holder` is a random number in that signer's memory; the number only rises.
create table sharegate.signing (
    one    boolean primary key default true check (one),
    holder bytea check (length(holder) = 16),
    fence  bigint      not null,
    until  timestamptz not null
);
insert into sharegate.signing (fence, until) values (0, '-infinity');

-- One row: the newest checkpoint that a quorum of witnesses has cosigned, for the other hosts.
create table sharegate.cosigned (
    one  boolean primary key default true check (one),
    note bytea not null
);

-- Take the right to sign for so many milliseconds, unless another has it: its new number, or null.
-- `before` is who had it, `lent` until when.
create function sharegate.take_signing(
    candidate bytea, milliseconds int, out fence bigint, out before bytea, out lent timestamptz
)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    select s.holder, s.until into before, lent from sharegate.signing s for update;
    if lent <= clock_timestamp() or before = candidate then
        update sharegate.signing s
           set holder = candidate, fence = s.fence + 1,
               until = clock_timestamp() + milliseconds * interval '1 millisecond'
        returning s.fence into fence;
    end if;
end
$$;

-- Have it for so many milliseconds from now; nobody else took it if this says true. With 0 it is
-- given back.
create function sharegate.renew_signing(mine bigint, milliseconds int) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update sharegate.signing s
       set until = clock_timestamp() + milliseconds * interval '1 millisecond'
     where s.fence = mine
    returning true
$$;

-- Raises SG003 where the right to sign is not the one of this number any more; until the caller's
-- transaction ends nobody takes it.
create function sharegate.require_signing(mine bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform from sharegate.signing s where s.fence = mine for share;
    if not found then
        raise exception 'another process signs this log now' using errcode = 'SG003';
    end if;
end
$$;

-- Keep a signed checkpoint, and the subtrees completed since the one before it.
create function sharegate.keep_checkpoint(
    mine bigint, at_size bigint, signed_note bytea, levels smallint[], ns bigint[],
    hashes bytea[], announce boolean
) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select sharegate.require_signing(mine);
    insert into sharegate.subtree (level, n, hash)
    select * from unnest(levels, ns, hashes) on conflict do nothing;
    insert into sharegate.checkpoint (size, note, signer)
    select at_size, signed_note, s.holder from sharegate.signing s
    on conflict (size) do update set note = excluded.note, signer = excluded.signer;
    select pg_notify('sharegate_checkpoint', '') where announce;
$$;

-- Keep a checkpoint that a quorum of witnesses has cosigned.
create function sharegate.keep_cosigned(mine bigint, cosigned_note bytea) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select sharegate.require_signing(mine);
    insert into sharegate.cosigned (note) values (cosigned_note)
    on conflict (one) do update set note = excluded.note;
$$;

revoke all on function sharegate.take_signing, sharegate.renew_signing, sharegate.require_signing,
    sharegate.keep_checkpoint, sharegate.keep_cosigned from public;
grant execute on function sharegate.take_signing, sharegate.renew_signing,
    sharegate.keep_checkpoint, sharegate.keep_cosigned to sharegate_append;
grant select on sharegate.signing, sharegate.cosigned to sharegate_read;
