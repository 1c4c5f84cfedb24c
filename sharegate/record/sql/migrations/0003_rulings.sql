-- Referrals, rulings and break-glass; schema.sql says what everything is for.

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

create table sharegate.ruling (
    id       uuid    primary key,
    referral uuid        not null unique,
    proposed timestamptz not null default now(),
    expires  bigint  not null,
    sealed   bytea   not null,
    recorded boolean not null default false,
    used_by  uuid
);
create index ruling_used_by on sharegate.ruling (used_by) where used_by is not null;

create table sharegate.break_glass (
    id         uuid    primary key,
    expires    bigint  not null,
    review_due bigint  not null,
    sealed     bytea   not null,
    recorded   boolean not null default false,
    reviewed   boolean not null default false
);

create function sharegate.note_referral(
    exchange uuid, at bigint, provider text, consumer text, resource text, purpose text,
    question text
) returns void
language sql security definer set search_path = '' as $$
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
language sql stable security definer set search_path = '' as $$
    select r.exchange_id, r.seq, r.at, r.consumer, r.resource, r.purpose, r.question,
           e.leaf, e.sealed, e.wrapped, u.id, u.used_by is not null
      from sharegate.referral r
      join sharegate.entry e on e.seq = r.seq
      left join sharegate.ruling u on u.referral = r.exchange_id and u.recorded
     where r.provider = of_provider and r.at >= since
     order by r.at desc, r.exchange_id limit most;
$$;

create function sharegate.propose_ruling(
    this uuid, of_referral uuid, provider text, consumer text, resource text, purpose text,
    question text, until bigint, content bytea, out fate text, out kept bytea
)
language plpgsql security definer set search_path = '' as $$
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
language sql security definer set search_path = '' as $$
    with mine as (update sharegate.ruling set recorded = true where id = this returning 1)
    select exists (select from mine);
$$;

create function sharegate.cited(name uuid)
returns table (kind text, id uuid, sealed bytea, used boolean)
language sql stable security definer set search_path = '' as $$
    select 'ruling', u.id, u.sealed, u.used_by is not null from sharegate.ruling u
     where (u.id = name or u.referral = name) and u.recorded
    union all
    select 'break-glass', b.id, b.sealed, false from sharegate.break_glass b
     where b.id = name and b.recorded;
$$;

create function sharegate.use_ruling(this uuid, exchange uuid) returns boolean
language sql security definer set search_path = '' as $$
    with mine as (
        update sharegate.ruling set used_by = exchange
         where id = this and recorded and used_by is null returning 1
    )
    select exists (select from mine);
$$;

create function sharegate.return_ruling(exchange uuid) returns void
language sql security definer set search_path = '' as $$
    update sharegate.ruling set used_by = null where used_by = exchange;
$$;

create function sharegate.propose_opening(
    opening uuid, until bigint, due bigint, content bytea, out fate text, out kept bytea
)
language sql security definer set search_path = '' as $$
    insert into sharegate.break_glass (id, expires, review_due, sealed)
    values (opening, until, due, content) on conflict do nothing;
    select case when b.recorded then 'recorded' else 'proposed' end, b.sealed
      from sharegate.break_glass b where b.id = opening;
$$;

create function sharegate.enact_opening(opening uuid) returns void
language sql security definer set search_path = '' as $$
    update sharegate.break_glass set recorded = true where id = opening;
$$;

create function sharegate.openings()
returns table (id uuid, expires bigint, review_due bigint, reviewed boolean, sealed bytea)
language sql stable security definer set search_path = '' as $$
    select b.id, b.expires, b.review_due, b.reviewed, b.sealed
      from sharegate.break_glass b where b.recorded order by b.expires desc limit 1000;
$$;

create function sharegate.review_opening(opening uuid) returns boolean
language sql security definer set search_path = '' as $$
    with mine as (
        update sharegate.break_glass set reviewed = true
         where id = opening and recorded returning 1
    )
    select exists (select from mine);
$$;

create function sharegate.overdue_reviews(now_ms bigint) returns bigint
language sql stable security definer set search_path = '' as $$
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
