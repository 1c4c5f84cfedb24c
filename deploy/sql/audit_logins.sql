-- The logins of a gateway, a projection, auditors and owners in the audit log's database. Run as a superuser there, once, after
-- `sharegate migrate --config FILE --dsn DSN`, which makes the roles they are granted:
--
--     psql sharegate -f audit_logins.sql
--     psql sharegate -c '\password sharegate_appender'
--     psql sharegate -c '\password sharegate_reader'
--     psql sharegate -c '\password sharegate_projector'
--     psql sharegate -c '\password sharegate_auditor'
--     psql sharegate -c '\password sharegate_eraser'

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

-- Reads leaves and their tokens, never a sealed detail; writes what auditors search.
create role sharegate_projector
    login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    in role sharegate_project;
alter role sharegate_projector set idle_in_transaction_session_timeout = '60s';

-- Reads for auditors; writes nothing. Its password is theirs: the command that uses it writes an
-- entry first, psql does not.
create role sharegate_auditor
    login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    in role sharegate_audit;
alter role sharegate_auditor set default_transaction_read_only = on;
alter role sharegate_auditor set statement_timeout = '30s';

-- Erases details that need not be kept any more, where an entry says so; reads the log. Its password is
-- used by `sharegate audit erase --dsn` alone.
create role sharegate_eraser
    login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    in role sharegate_erase;

do $$
begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to sharegate_appender, sharegate_reader, '
                   'sharegate_projector, sharegate_auditor, sharegate_eraser', current_database());
end
$$;
