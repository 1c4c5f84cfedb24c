-- Counts of answers, for quotas; schema.sql says what everything is for.

create table sharegate.quota_count (
    key   bytea  primary key check (length(key) = 32),
    used  bigint not null check (used >= 0),
    until bigint not null
) with (fillfactor = 50);
create index quota_count_until on sharegate.quota_count (until);

create table sharegate.quota_hold (
    exchange_id uuid    primary key,
    signed_at   bigint  not null,
    keys        bytea[] not null
);

create function sharegate.reserve_quota(
    exchange uuid, signed bigint, counted bytea[], mosts bigint[], untils bigint[]
) returns int
language plpgsql security definer set search_path = '' as $$
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

create function sharegate.settle_quota(answered uuid[], returned uuid[]) returns void
language plpgsql security definer set search_path = '' as $$
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

create function sharegate.sweep_quota() returns void
language plpgsql security definer set search_path = '' as $$
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
