-- The blind index beside each entry; schema.sql says what it is for.

set local role sharegate_migrate;
alter table sharegate.entry add column blind bytea;
alter table sharegate.entry alter column blind set storage external;
drop function sharegate.append;
create function sharegate.append(
    exchange_ids uuid[], replay_keys bytea[], signed_ats bigint[],
    cores bytea[], seals bytea[], wraps bytea[], blinds bytea[], announce boolean,
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

revoke all on function sharegate.append from public;
grant execute on function sharegate.append to sharegate_append;
