-- Which entry says that old ones stand in archives; schema.sql says what everything is for.

alter table sharegate.head add column archived_by bigint;

update sharegate.head h set archived_by = (
    select max(e.seq) from sharegate.entry e
     where convert_from(substring(e.leaf from 45), 'UTF8')::jsonb
           @> jsonb_build_object('kind', 'archive', 'facts', jsonb_build_object('to', h.archived))
) where h.archived > 0;

create or replace function sharegate.archive(
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
           set archived = target, archived_last = archive.last, archived_frontier = archive.frontier,
               archived_by = archive.told;
    end if;
    return state;
end
$$;
