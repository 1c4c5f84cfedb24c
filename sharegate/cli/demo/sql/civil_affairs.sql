-- The civil affairs bureau's database. It knows nothing of a gateway but one role.
-- The parts run in this order: tables, the rows are copied in, indexes, role.

-- part: tables

CREATE SCHEMA registry;
COMMENT ON SCHEMA registry IS '民政登记 (invented persons only)';

CREATE TABLE registry.person (
    id_number    text NOT NULL,  -- GB 11643: 18 characters, the last may be X
    name         text NOT NULL,
    sex          text NOT NULL CHECK (sex IN ('男', '女')),
    born         date NOT NULL,
    ethnicity    text NOT NULL,
    phone        text,           -- small children have none
    address      text NOT NULL,
    district     text NOT NULL,
    household_no text NOT NULL
);

CREATE TABLE registry.household (
    household_no   text    NOT NULL,
    head_id_number text    NOT NULL,
    address        text    NOT NULL,
    district       text    NOT NULL,
    members        integer NOT NULL CHECK (members > 0)
);

CREATE TABLE registry.marriage (
    certificate_no    text NOT NULL,
    husband_id_number text NOT NULL,
    wife_id_number    text NOT NULL,
    registered_on     date NOT NULL,
    office            text NOT NULL,
    status            text NOT NULL CHECK (status IN ('married', 'divorced')),
    ended_on          date CHECK (ended_on > registered_on),
    CHECK ((status = 'divorced') = (ended_on IS NOT NULL))
);

-- One row per spouse, so that "is this person married, and to whom?" is one question with one
-- key. UNION ALL, not OR: the key then reaches an index on either side.
CREATE VIEW registry.marriage_of AS
SELECT m.husband_id_number AS id_number,
       m.wife_id_number    AS spouse_id_number,
       wife.name           AS spouse_name,
       m.status,
       m.registered_on,
       m.office
  FROM registry.marriage m
  JOIN registry.person wife ON wife.id_number = m.wife_id_number
UNION ALL
SELECT m.wife_id_number,
       m.husband_id_number,
       husband.name,
       m.status,
       m.registered_on,
       m.office
  FROM registry.marriage m
  JOIN registry.person husband ON husband.id_number = m.husband_id_number;

-- part: indexes

ALTER TABLE registry.person    ADD PRIMARY KEY (id_number);
ALTER TABLE registry.household ADD PRIMARY KEY (household_no);
ALTER TABLE registry.marriage  ADD PRIMARY KEY (certificate_no);

CREATE INDEX person_household  ON registry.person (household_no);
CREATE INDEX household_head    ON registry.household (head_id_number);
CREATE INDEX marriage_husband  ON registry.marriage (husband_id_number);
CREATE INDEX marriage_wife     ON registry.marriage (wife_id_number);

ALTER TABLE registry.person
    ADD FOREIGN KEY (household_no) REFERENCES registry.household;
ALTER TABLE registry.household
    ADD FOREIGN KEY (head_id_number) REFERENCES registry.person;
ALTER TABLE registry.marriage
    ADD FOREIGN KEY (husband_id_number) REFERENCES registry.person,
    ADD FOREIGN KEY (wife_id_number)    REFERENCES registry.person;

-- part: role

-- Roles belong to the server, not to the database: this one may be left from an earlier build.
DO $$
BEGIN
    CREATE ROLE civil_affairs_gateway;
EXCEPTION WHEN duplicate_object THEN
    NULL;
END
$$;

-- A session may change its own settings; what it can never do is in the grants below.
ALTER ROLE civil_affairs_gateway
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS;
ALTER ROLE civil_affairs_gateway SET default_transaction_read_only = on;
ALTER ROLE civil_affairs_gateway SET statement_timeout = '3s';
ALTER ROLE civil_affairs_gateway SET idle_in_transaction_session_timeout = '5s';
ALTER ROLE civil_affairs_gateway SET search_path = '';

GRANT USAGE ON SCHEMA registry TO civil_affairs_gateway;
GRANT SELECT ON registry.person, registry.household, registry.marriage, registry.marriage_of
    TO civil_affairs_gateway;
