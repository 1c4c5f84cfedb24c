-- The tax bureau's database. It knows nothing of a gateway but one role.
-- The parts run in this order: tables, the rows are copied in, indexes, role.

-- part: tables

CREATE SCHEMA levy;
COMMENT ON SCHEMA levy IS '税务征管 (invented persons only)';

-- One row per person and calendar year with a wage; no row means no wage was declared.
CREATE TABLE levy.income (
    id_number text    NOT NULL,
    year      integer NOT NULL,
    employer  text    NOT NULL,                                        -- the last of the year
    gross     numeric(14, 2) NOT NULL CHECK (gross >= 0),              -- yuan
    tax_paid  numeric(14, 2) NOT NULL CHECK (tax_paid BETWEEN 0 AND gross)
);

CREATE TABLE levy.company (
    credit_code              text NOT NULL,  -- GB 32100: 18 characters
    name                     text NOT NULL,
    representative_id_number text NOT NULL,
    representative_name      text NOT NULL,
    status                   text NOT NULL CHECK (status IN ('存续', '注销', '吊销')),
    registered_on            date NOT NULL,
    capital                  numeric(16, 2) NOT NULL CHECK (capital > 0)  -- yuan
);

-- part: indexes

ALTER TABLE levy.income  ADD PRIMARY KEY (id_number, year);
ALTER TABLE levy.company ADD PRIMARY KEY (credit_code);

CREATE UNIQUE INDEX company_name       ON levy.company (name);
CREATE INDEX company_representative    ON levy.company (representative_id_number);

-- part: role

-- Roles belong to the server, not to the database: this one may be left from an earlier build.
DO $$
BEGIN
    CREATE ROLE tax_gateway;
EXCEPTION WHEN duplicate_object THEN
    NULL;
END
$$;

-- A session may change its own settings; what it can never do is in the grants below.
ALTER ROLE tax_gateway
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS;
ALTER ROLE tax_gateway SET default_transaction_read_only = on;
ALTER ROLE tax_gateway SET statement_timeout = '3s';
ALTER ROLE tax_gateway SET idle_in_transaction_session_timeout = '5s';
ALTER ROLE tax_gateway SET search_path = '';

GRANT USAGE ON SCHEMA levy TO tax_gateway;
GRANT SELECT ON levy.income, levy.company TO tax_gateway;
