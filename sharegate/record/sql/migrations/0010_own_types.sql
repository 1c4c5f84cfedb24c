-- What runs with the owner's rights uses nobody's types but PostgreSQL's own; a clock that is ahead
-- ends no log; schema.sql says more.

do $$
declare
    each regprocedure;
begin
    for each in
        select p.oid::regprocedure from pg_catalog.pg_proc p
         where p.pronamespace = 'sharegate'::regnamespace and p.proconfig is not null
    loop
        execute format('alter function %s set search_path = pg_catalog, pg_temp', each);
    end loop;
end
$$;

drop function sharegate.forget_replays(bigint);
create function sharegate.forget_replays(milliseconds bigint, clock bigint default null)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update sharegate.head set remembers_from = greatest(
        remembers_from,
        least((extract(epoch from now()) * 1000)::bigint, clock) - greatest(milliseconds, 0));
    delete from sharegate.replay r using sharegate.head h where r.signed_at < h.remembers_from;
$$;
revoke all on function sharegate.forget_replays from public;
grant execute on function sharegate.forget_replays to sharegate_append;

create or replace function sharegate.usable() returns text
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
