-- Erasing details, and holding them; schema.sql says what everything is for.

create or replace function sharegate.append_only() returns trigger
language plpgsql as $$
begin
    if tg_op = 'UPDATE' then
        if new.wrapped is null and new.blind is null
           and (new.seq, new.exchange_id, new.leaf, new.sealed)
             = (old.seq, old.exchange_id, old.leaf, old.sealed) then
            return new;
        end if;
    end if;
    raise exception 'the audit log only grows' using errcode = 'SG009';
end
$$;

create table sharegate.legal_hold (
    seq  bigint primary key,
    told bigint not null
);

create table sharegate.erasure (
    seq  bigint primary key,
    told bigint not null
);

create function sharegate.says(told bigint, kind text, target bigint) returns boolean
language sql stable as $$
    select coalesce(bool_or(convert_from(substring(e.leaf from 45), 'UTF8')::jsonb
                            @> jsonb_build_object('kind', kind, 'facts', jsonb_build_object('entry', target))),
                    false)
      from sharegate.entry e where e.seq = told
$$;

create function sharegate.erasable(target bigint) returns text
language sql stable security definer set search_path = '' as $$
    select coalesce(min(case
        when e.wrapped is null then 'erased'
        when exists (select from sharegate.legal_hold h where h.seq = target) then 'held'
        when to_timestamp((e.core ->> 'time')::bigint / 1000.0)
             + case e.core -> 'detail' ->> 'retention' when 'ordinary-184d' then interval '184 days'
                                                       else interval '3 years' end > now()
            then 'retained'
        else 'erasable'
    end), 'unknown')
      from (select seq, wrapped, convert_from(substring(leaf from 45), 'UTF8')::jsonb as core
              from sharegate.entry where seq = target) as e
$$;

create function sharegate.erase(target bigint, told bigint) returns text
language plpgsql security definer set search_path = '' as $$
declare
    state text;
begin
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

create function sharegate.hold(target bigint, told bigint, held boolean) returns text
language plpgsql security definer set search_path = '' as $$
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

create function sharegate.vanished(first bigint, after bigint) returns setof bigint
language sql stable security definer set search_path = '' as $$
    select e.seq from sharegate.entry e
     where e.seq >= first and e.seq < after and e.wrapped is null
       and not exists (select from sharegate.erasure g
                        where g.seq = e.seq and sharegate.says(g.told, 'erase', e.seq))
     order by e.seq
$$;

revoke all on function sharegate.says, sharegate.erasable, sharegate.erase, sharegate.hold,
    sharegate.vanished from public;
grant usage on schema sharegate to sharegate_erase;
grant execute on function sharegate.erasable, sharegate.erase to sharegate_erase;
grant execute on function sharegate.erasable, sharegate.hold to sharegate_audit;
grant execute on function sharegate.vanished to sharegate_read;
grant select on sharegate.head, sharegate.entry, sharegate.checkpoint, sharegate.subtree,
    sharegate.erasure to sharegate_erase;
grant select on sharegate.legal_hold, sharegate.erasure to sharegate_audit;
