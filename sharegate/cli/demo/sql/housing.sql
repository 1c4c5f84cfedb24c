-- The housing bureau's database. It knows nothing of a gateway but one role.
-- The parts run in this order: tables, the rows are copied in, indexes, role.

-- part: tables

CREATE SCHEMA estate;
COMMENT ON SCHEMA estate IS '不动产登记 (invented persons only)';

-- The present state of the register: a property has one owner here.
CREATE TABLE estate.property (
    certificate_no  text    NOT NULL,
    owner_id_number text    NOT NULL,
    owner_name      text    NOT NULL,  -- as it stood when registered; civil affairs may differ
    address         text    NOT NULL,
    district        text    NOT NULL,
    area_m2         numeric(10, 2) NOT NULL CHECK (area_m2 > 0),
    use             text    NOT NULL CHECK (use IN ('住宅', '车库', '商业', '办公')),
    registered_on   date    NOT NULL,
    mortgaged       boolean NOT NULL
);

-- How a property came to its owner: the newest sale of a certificate has the owner as buyer.
CREATE TABLE estate.transfer (
    transfer_no      text NOT NULL,
    certificate_no   text NOT NULL,
    seller_id_number text NOT NULL,
    buyer_id_number  text NOT NULL,
    price            numeric(14, 2) NOT NULL CHECK (price > 0),  -- yuan
    transferred_on   date NOT NULL,
    CHECK (seller_id_number <> buyer_id_number)
);

-- part: indexes

ALTER TABLE estate.property ADD PRIMARY KEY (certificate_no);
ALTER TABLE estate.transfer ADD PRIMARY KEY (transfer_no);

CREATE INDEX property_owner       ON estate.property (owner_id_number);
CREATE INDEX transfer_certificate ON estate.transfer (certificate_no);
CREATE INDEX transfer_seller      ON estate.transfer (seller_id_number);
CREATE INDEX transfer_buyer       ON estate.transfer (buyer_id_number);

ALTER TABLE estate.transfer
    ADD FOREIGN KEY (certificate_no) REFERENCES estate.property;

-- part: role

-- Roles belong to the server, not to the database: this one may be left from an earlier build.
DO $$
BEGIN
    CREATE ROLE housing_gateway;
EXCEPTION WHEN duplicate_object THEN
    NULL;
END
$$;

-- A session may change its own settings; what it can never do is in the grants below.
ALTER ROLE housing_gateway
    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS;
ALTER ROLE housing_gateway SET default_transaction_read_only = on;
ALTER ROLE housing_gateway SET statement_timeout = '3s';
ALTER ROLE housing_gateway SET idle_in_transaction_session_timeout = '5s';
ALTER ROLE housing_gateway SET search_path = '';

GRANT USAGE ON SCHEMA estate TO housing_gateway;
GRANT SELECT ON estate.property, estate.transfer TO housing_gateway;
