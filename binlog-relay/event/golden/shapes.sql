-- Tables and transactions of unusual shapes: hidden columns, keys, partial images, split events, compression, tags.
SET sql_mode = '', time_zone = '+00:00', SESSION binlog_row_image = 'FULL';
SET NAMES utf8mb4;

CREATE TABLE computed (
  id INT PRIMARY KEY, a INT, v INT GENERATED ALWAYS AS (a * 2) VIRTUAL, s VARCHAR(20) GENERATED ALWAYS AS (CONCAT('s', a)) STORED,
  hidden INT INVISIBLE DEFAULT 7, doc JSON, KEY functional ((a + 1)), KEY many ((CAST(doc->'$.tags' AS UNSIGNED ARRAY))),
  KEY words ((CAST(doc->'$.words' AS CHAR(10) ARRAY))));
INSERT INTO computed (id, a, doc) VALUES (1, 5, '{"tags": [1, 2, 3], "words": ["x", "y"]}'), (2, NULL, NULL), (3, -1, '{"tags": []}');
INSERT INTO computed (id, a, hidden, doc) VALUES (4, 1, NULL, '{"tags": [9], "words": "one"}');
UPDATE computed SET a = a + 1, doc = JSON_SET(doc, '$.tags', JSON_ARRAY(7)) WHERE id IN (1, 4);
DELETE FROM computed WHERE id = 3;

CREATE TABLE keyed (id INT, word VARCHAR(50) CHARACTER SET gbk, bin VARBINARY(20), n INT, PRIMARY KEY (word(10), id, bin(3)), UNIQUE (n)) CHARACTER SET latin1;
INSERT INTO keyed VALUES (1, '你好', 'abcdef', 1), (2, '世界', 'x', 2);
UPDATE keyed SET word = '新' WHERE id = 2;

SET SESSION sql_generate_invisible_primary_key = ON;
CREATE TABLE keyless (id INT, t TEXT);
INSERT INTO keyless VALUES (1, 'one'), (2, 'two');
SET SESSION sql_generate_invisible_primary_key = OFF;

-- Wide enough for several bytes of bitmaps.
CREATE TABLE wide (id INT PRIMARY KEY, c1 INT, c2 INT, c3 INT, c4 INT, c5 INT, c6 INT, c7 INT, c8 INT DEFAULT 8, c9 VARCHAR(10), c10 TEXT, c11 INT, c12 INT,
  c13 INT, c14 INT, c15 INT, c16 INT, c17 BLOB, c18 INT NOT NULL);
INSERT INTO wide (id, c1, c9, c17, c18) VALUES (1, 1, 'nine', 'blob', 18), (2, NULL, NULL, NULL, 0);
SET SESSION binlog_row_image = 'MINIMAL';
INSERT INTO wide (id, c18) VALUES (3, 3);
UPDATE wide SET c9 = 'min', c16 = 16 WHERE id IN (1, 2);
DELETE FROM wide WHERE id = 2;
SET SESSION binlog_row_image = 'NOBLOB';
INSERT INTO wide (id, c17, c18) VALUES (4, 'with', 4);
UPDATE wide SET c1 = 100, c10 = 'text' WHERE id IN (1, 4);
UPDATE wide SET c17 = NULL WHERE id = 4;
SET SESSION binlog_row_image = 'FULL';

CREATE TABLE long_rows (id INT PRIMARY KEY, t VARCHAR(1000) CHARACTER SET ascii);
INSERT INTO long_rows WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 30) SELECT n, REPEAT(CHAR(65 + n % 26), 300) FROM n;
UPDATE long_rows SET t = CONCAT(t, id) WHERE id <= 5;

SET SESSION binlog_transaction_compression = ON;
BEGIN;
INSERT INTO long_rows WITH RECURSIVE n (n) AS (SELECT 31 UNION ALL SELECT n + 1 FROM n WHERE n < 300) SELECT n, REPEAT(CHAR(65 + n % 26), 300) FROM n;
UPDATE wide SET c2 = 2 WHERE id = 1;
DELETE FROM long_rows WHERE id BETWEEN 100 AND 110;
COMMIT;
SET SESSION binlog_transaction_compression = OFF;

SET SESSION binlog_rows_query_log_events = ON;
INSERT INTO keyless VALUES (3, 'three');
SET SESSION binlog_rows_query_log_events = OFF;

/*!80300 SET gtid_next = 'AUTOMATIC:audit' */;
INSERT INTO keyless VALUES (4, 'tagged');
/*!80300 SET gtid_next = '3e11fa47-71ca-11e1-9e33-c80aa9429562:a_tag_of_thirty_two_characters__:9007199254740993' */;
INSERT INTO keyless VALUES (5, 'tagged');
SET gtid_next = '3e11fa47-71ca-11e1-9e33-c80aa9429562:77';
INSERT INTO keyless VALUES (6, 'plain');
SET gtid_next = 'AUTOMATIC';

CREATE TABLE other_engine (id INT PRIMARY KEY, t VARCHAR(10)) ENGINE = MyISAM;
INSERT INTO other_engine VALUES (1, 'commit');

CREATE TABLE copied AS SELECT id, t FROM keyless WHERE id < 3;
