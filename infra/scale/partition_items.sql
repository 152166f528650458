-- Hash partitions of table items by session, for the day one instance is no longer enough (docs/scale.md says when, what
-- it costs, and how to do it). Not part of any migration; tests/integration/test_partitioning.py runs it on the newest
-- schema, and a session on top of it. Run it with nothing else connected: it copies every item, all or nothing.

BEGIN;
SET LOCAL statement_timeout = 0;
LOCK TABLE items IN ACCESS EXCLUSIVE MODE;

-- What hangs on the table, as it is now: views and foreign keys are made again as they were.
CREATE TEMP TABLE hanging ON COMMIT DROP AS
SELECT format('CREATE VIEW %s AS %s', oid::regclass, pg_get_viewdef(oid)) AS make, format('DROP VIEW %s', oid::regclass) AS take,
       oid::bigint AS made
  FROM pg_class
 WHERE oid IN (SELECT r.ev_class FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = 'items'::regclass AND r.ev_class <> 'items'::regclass)
UNION ALL
SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)),
       format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname), oid::bigint
  FROM pg_constraint WHERE contype = 'f' AND confrelid = 'items'::regclass AND conparentid = 0;

-- Who may do what with the table and those views.
CREATE TEMP TABLE grants ON COMMIT DROP AS
SELECT format('GRANT %s ON %I TO %s', granted.privilege_type, relname,
              CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END) AS make
  FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) granted
 WHERE granted.grantee <> relowner AND (pg_class.oid = 'items'::regclass OR pg_class.oid IN (SELECT hanging.made FROM hanging));

-- Its indexes, constraints and triggers, with the names they keep.
CREATE TEMP TABLE parts ON COMMIT DROP AS
SELECT 1 AS rank, pg_get_indexdef(indexrelid) AS make FROM pg_index WHERE indrelid = 'items'::regclass AND NOT indisprimary
UNION ALL
SELECT 0, format('ALTER TABLE items ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
  FROM pg_constraint WHERE conrelid = 'items'::regclass AND contype IN ('p', 'c')
UNION ALL
SELECT 2, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'items'::regclass AND NOT tgisinternal;

DO $$
DECLARE
    partitions CONSTANT integer := 16;
    kept CONSTANT text := (SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = 'items'::regclass);
    made record;
BEGIN
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = 'items'::regclass) THEN
        RAISE 'items is partitioned already';
    END IF;
    FOR made IN SELECT take FROM hanging ORDER BY hanging.made DESC LOOP EXECUTE made.take; END LOOP;
    ALTER TABLE items RENAME TO items_whole;
    EXECUTE 'CREATE TABLE items (LIKE items_whole INCLUDING DEFAULTS INCLUDING STORAGE) PARTITION BY HASH (session_id)';
    FOR i IN 0 .. partitions - 1 LOOP
        EXECUTE format('CREATE TABLE items_%s PARTITION OF items FOR VALUES WITH (MODULUS %s, REMAINDER %s) WITH (%s)',
                       lpad(i::text, 2, '0'), partitions, i, kept);
    END LOOP;
    INSERT INTO items SELECT * FROM items_whole;
    DROP TABLE items_whole;  -- its indexes free the names that the new ones take
    FOR made IN SELECT make FROM parts ORDER BY rank, make LOOP EXECUTE made.make; END LOOP;
    FOR made IN SELECT make FROM hanging ORDER BY hanging.made LOOP EXECUTE made.make; END LOOP;
    FOR made IN SELECT make FROM grants LOOP EXECUTE made.make; END LOOP;
END
$$;

ALTER TABLE items ALTER COLUMN session_id SET STATISTICS 0;  -- as on the whole table; goes down to the partitions
COMMIT;
