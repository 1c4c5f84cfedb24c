-- One signer at a time, wherever its gateways run.

-- One row: whose signer may sign the log, until when unless it says so again, and the how-manieth
-- it is. `holder` is a random number in that signer's memory; the number only rises.
create table sharegate.signing (
    one    boolean primary key default true check (one),
    holder bytea check (length(holder) = 16),
    fence  bigint      not null,
    until  timestamptz not null
);
insert into sharegate.signing (fence, until) values (0, '-infinity');

-- Whose memory remembers a checkpoint; its owner's memory may not end before it.
alter table sharegate.checkpoint add column signer bytea;

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
language plpgsql security definer set search_path = '' as $$
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
language sql security definer set search_path = '' as $$
    update sharegate.signing s
       set until = clock_timestamp() + milliseconds * interval '1 millisecond'
     where s.fence = mine
    returning true
$$;

-- Raises SG003 where the right to sign is not the one of this number any more; until the caller's
-- transaction ends nobody takes it.
create function sharegate.require_signing(mine bigint) returns void
language plpgsql set search_path = '' as $$
begin
    perform from sharegate.signing s where s.fence = mine for share;
    if not found then
        raise exception 'another process signs this log now' using errcode = 'SG003';
    end if;
end
$$;

drop function sharegate.keep_checkpoint(bigint, bytea, smallint[], bigint[], bytea[], boolean);

-- Keep a signed checkpoint, and the subtrees completed since the one before it.
create function sharegate.keep_checkpoint(
    mine bigint, at_size bigint, signed_note bytea, levels smallint[], ns bigint[],
    hashes bytea[], announce boolean
) returns void
language sql security definer set search_path = '' as $$
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
language sql security definer set search_path = '' as $$
    select sharegate.require_signing(mine);
    insert into sharegate.cosigned (note) values (cosigned_note)
    on conflict (one) do update set note = excluded.note;
$$;

revoke all on function sharegate.take_signing, sharegate.renew_signing, sharegate.require_signing,
    sharegate.keep_checkpoint, sharegate.keep_cosigned from public;
grant execute on function sharegate.take_signing, sharegate.renew_signing,
    sharegate.keep_checkpoint, sharegate.keep_cosigned to sharegate_append;
grant select on sharegate.signing, sharegate.cosigned to sharegate_read;
