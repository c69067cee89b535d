-- Text in every character set: all characters of the single-byte ones, a sample of the others.
SET sql_mode = '', time_zone = '+00:00', SESSION binlog_row_image = 'MINIMAL', cte_max_recursion_depth = 100000, group_concat_max_len = 1000000;
SET NAMES utf8mb4;

SET @single = 'armscii8,ascii,cp1250,cp1251,cp1256,cp1257,cp850,cp852,cp866,dec8,geostd8,greek,hebrew,hp8,keybcs2,koi8r,koi8u,latin1,latin2,latin5,latin7,macce,macroman,tis620';
SET @multiple = 'big5,cp932,eucjpms,euckr,gb18030,gb2312,gbk,sjis,ujis';
CREATE TABLE charsets (id INT PRIMARY KEY);
INSERT INTO charsets VALUES (1);

DELIMITER //
CREATE PROCEDURE fill(charset_names TEXT, first INT, step INT)
BEGIN
  DECLARE name TEXT;
  WHILE charset_names <> '' DO
    SET name = SUBSTRING_INDEX(charset_names, ',', 1);
    SET charset_names = SUBSTRING(charset_names, LENGTH(name) + 2);
    SET @sql = CONCAT('ALTER TABLE charsets ADD `', name, '` TEXT CHARACTER SET ', name);
    PREPARE run FROM @sql; EXECUTE run;
    -- Characters that the server can turn into Unicode and back.
    SET @sql = CONCAT('UPDATE charsets SET `', name, '` = (WITH RECURSIVE n (n) AS (SELECT ', first, ' UNION ALL SELECT n + ', step,
      ' FROM n WHERE n < IF(', first, ' < 256, 255, 65300)) SELECT GROUP_CONCAT(c ORDER BY n SEPARATOR '''') FROM ',
      '(SELECT n, CONVERT(UNHEX(HEX(n)) USING ', name, ') c FROM n) t WHERE HEX(CONVERT(CONVERT(c USING utf8mb4) USING ', name,
      ')) = HEX(n) AND HEX(CONVERT(c USING utf8mb4)) <> ''EFBFBD'' AND (n = 63 OR HEX(CONVERT(c USING utf8mb4)) <> ''3F''))');
    PREPARE run FROM @sql; EXECUTE run;
  END WHILE;
END //
DELIMITER ;
CALL fill(@single, 32, 1);
CALL fill(@multiple, 0x8140, 151);
ALTER TABLE charsets ADD gb18030_long TEXT CHARACTER SET gb18030, ADD ujis_long TEXT CHARACTER SET ujis;
UPDATE charsets SET gb18030_long = 'é😀€', ujis_long = CONVERT(UNHEX('8FB0A18EB18FEDE3') USING ujis);
DROP PROCEDURE fill;
-- A byte that the server stores and shows as `?`.
ALTER TABLE charsets ADD no_text VARCHAR(10) CHARACTER SET cp1250;
UPDATE charsets SET no_text = _cp1250 x'6181';
