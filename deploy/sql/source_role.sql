-- The role a gateway asks with, in a provider's own database. For the provider's administrator.
--
-- Replace `housing_gateway` by a name of your choice and `estate` and its tables by yours: exactly
-- the relations that resources.toml names, or views you made for the purpose. Run it in that
-- database, as its owner. Then give the role a password that is in no file and no history:
--
--     psql housing -f source_role.sql
--     psql housing -c '\password housing_gateway'
--
-- The gateway looks at this role at every connection and uses none that could write.

create role housing_gateway
    login nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls
    connection limit 16;  -- at least `connections` of every gateway that asks here

-- A habit, which a session could drop; what it can never do is in the grants below.
alter role housing_gateway set default_transaction_read_only = on;
-- No question runs longer, whatever becomes of whoever asked it. 1 to 60 seconds.
alter role housing_gateway set statement_timeout = '3s';
alter role housing_gateway set idle_in_transaction_session_timeout = '5s';
alter role housing_gateway set lock_timeout = '1s';
-- Names mean what resources.toml says, not what somebody put into a schema before it.
alter role housing_gateway set search_path = '';

-- What everybody may do, this role may do: it must not be much.
revoke create on schema public from public;
do $$
begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to housing_gateway', current_database());
end
$$;

-- Reading, of these relations and no others. To share only some columns, name them:
--     grant select (certificate_no, address) on estate.property to housing_gateway;
grant usage on schema estate to housing_gateway;
grant select on estate.property, estate.transfer to housing_gateway;

-- Not to be granted: membership in any other role, and execution of SECURITY DEFINER functions
-- that write; what those do cannot be seen from outside.
