-- A double-entry ledger inside PostgreSQL, in the style of pgledger: one function call makes a transfer, with
-- its two entries and both balances, under row locks taken in one order.

CREATE TABLE peer_accounts (
    id bigint PRIMARY KEY,
    balance bigint NOT NULL,
    version bigint NOT NULL,
    may_be_negative boolean NOT NULL
);

CREATE TABLE peer_transfers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_account bigint NOT NULL REFERENCES peer_accounts,
    to_account bigint NOT NULL REFERENCES peer_accounts,
    amount bigint NOT NULL CHECK (amount > 0),
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE peer_entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES peer_accounts,
    transfer_id bigint NOT NULL REFERENCES peer_transfers,
    amount bigint NOT NULL,
    previous_balance bigint NOT NULL,
    current_balance bigint NOT NULL,
    account_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX ON peer_entries (account_id);
CREATE INDEX ON peer_entries (transfer_id);

CREATE FUNCTION peer_transfer(payer bigint, receiver bigint, moved bigint, said jsonb)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
    paid peer_accounts;
    got peer_accounts;
BEGIN
    PERFORM 1 FROM peer_accounts WHERE id IN (payer, receiver) ORDER BY id FOR UPDATE;
    UPDATE peer_accounts SET balance = balance - moved, version = version + 1
        WHERE id = payer RETURNING * INTO paid;
    IF paid.balance < 0 AND NOT paid.may_be_negative THEN
        RAISE EXCEPTION 'insufficient balance of account %', payer;
    END IF;
    UPDATE peer_accounts SET balance = balance + moved, version = version + 1
        WHERE id = receiver RETURNING * INTO got;
    INSERT INTO peer_transfers (from_account, to_account, amount, metadata)
        VALUES (payer, receiver, moved, said) RETURNING id INTO made;
    INSERT INTO peer_entries
        (account_id, transfer_id, amount, previous_balance, current_balance, account_version)
        VALUES
        (payer, made, -moved, paid.balance + moved, paid.balance, paid.version),
        (receiver, made, moved, got.balance - moved, got.balance, got.version);
    RETURN made;
END;
$$;
