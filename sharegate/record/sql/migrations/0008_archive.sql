-- Old entries may stand in archives alone; schema.sql says what everything is for.

alter table sharegate.head add column archived bigint not null default 0 check (archived >= 0);
alter table sharegate.head add column archived_last bytea not null
    default decode(repeat('00', 32), 'hex') check (length(archived_last) = 32);
alter table sharegate.head add column archived_frontier bytea not null default '';

create or replace function sharegate.append_only() returns trigger
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

create function sharegate.retained(core jsonb) returns boolean
language sql stable as $$
    select to_timestamp((core ->> 'time')::bigint / 1000.0)
           + case core -> 'detail' ->> 'retention' when 'ordinary-184d' then interval '184 days'
                                                   else interval '3 years' end > now()
$$;

create or replace function sharegate.erasable(target bigint) returns text
language sql stable security definer set search_path = '' as $$
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

create or replace function sharegate.erase(target bigint, told bigint) returns text
language plpgsql security definer set search_path = '' as $$
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

create function sharegate.archivable(target bigint) returns text
language sql stable security definer set search_path = '' as $$
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

create function sharegate.archive(
    target bigint, told bigint, last bytea, frontier bytea, erased bigint
) returns text
language plpgsql security definer set search_path = '' as $$
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
           set archived = target, archived_last = archive.last, archived_frontier = archive.frontier;
    end if;
    return state;
end
$$;

create function sharegate.detach(most int) returns int
language plpgsql security definer set search_path = '' as $$
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

revoke all on function sharegate.retained, sharegate.archivable, sharegate.archive, sharegate.detach
    from public;
grant execute on function sharegate.archivable, sharegate.archive, sharegate.detach to sharegate_erase;
grant select (archived, archived_last, archived_frontier) on sharegate.head to sharegate_project;
