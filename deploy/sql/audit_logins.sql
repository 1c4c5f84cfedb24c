-- The two logins of a gateway in the audit log's database. Run as a superuser there, once, after
-- `sharegate migrate --config FILE --dsn DSN`, which makes the roles they are granted:
--
--     psql sharegate -f audit_logins.sql
--     psql sharegate -c '\password sharegate_appender'
--     psql sharegate -c '\password sharegate_reader'

-- Calls the append function; reads and writes no table.
create role sharegate_appender
    login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    in role sharegate_append;
-- An entry is durable when its commit returns, whatever the server's own default is.
alter role sharegate_appender set synchronous_commit = on;
-- A gateway that was cut off must not hold the log's end against the others.
alter role sharegate_appender set idle_in_transaction_session_timeout = '5s';
alter role sharegate_appender set tcp_keepalives_idle = 5;
alter role sharegate_appender set tcp_keepalives_interval = 2;
alter role sharegate_appender set tcp_keepalives_count = 3;

-- Reads; writes nothing.
create role sharegate_reader
    login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    in role sharegate_read;
alter role sharegate_reader set default_transaction_read_only = on;
alter role sharegate_reader set statement_timeout = '10s';

do $$
begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to sharegate_appender, sharegate_reader',
                   current_database());
end
$$;
