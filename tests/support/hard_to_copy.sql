-- What is hard to copy. A statement ends with a semicolon at the end of a line.
SET NAMES utf8mb4;
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
SET foreign_key_checks = OFF;
CREATE TABLE app_data.flow (v INT UNSIGNED PRIMARY KEY);
CREATE TABLE app_data.big (v INT PRIMARY KEY, text LONGBLOB);
INSERT INTO app_data.big WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 600)
  SELECT v, REPEAT(UNHEX(SHA2(v, 512)), 200) FROM n;
CREATE TABLE app_data.kinds (id INT AUTO_INCREMENT PRIMARY KEY, f FLOAT, d DOUBLE, n DECIMAL(30,10),
  b BLOB, bits BIT(9), j JSON, e ENUM('a','b','ü'), s SET('x','y','z'), t VARCHAR(50) CHARSET utf8mb4,
  l VARCHAR(20) CHARSET latin1, u VARCHAR(20) CHARSET utf16, c CHAR(5) CHARSET gb18030, bin BINARY(4),
  ts TIMESTAMP(6) NULL, dt DATETIME(3), y YEAR, tm TIME(2), g GEOMETRY, p POINT SRID 4326,
  big BIGINT UNSIGNED, z INT(5) ZEROFILL, computed INT AS (y * 2) STORED, `hidden ``one` INT INVISIBLE DEFAULT 7,
  KEY ((y + 1)));
INSERT INTO app_data.kinds (id) VALUES (0);
INSERT INTO app_data.kinds (f, d, n, b, bits, j, e, s, t, l, u, c, bin, ts, dt, y, tm, g, p, big, z) VALUES
  (1/3, 1/3, -12345678901234567890.0123456789, X'00275C220D0A1AFF', b'101010101',
   '{"k": [1, 2.5, null, "\\"quoted\\" ''x'' ü😀"]}', 'ü', 'x,z', 'a''b\\c😀', 'Größe', '水', '水', X'0102',
   '2020-02-29 12:00:00.123456', '0000-00-00', 1999, '-838:59:59', ST_GeomFromText('LINESTRING(0 0, 1.5 2)'),
   ST_GeomFromText('POINT(50 8)', 4326), 18446744073709551615, 42),
  (-0.0, 1.7976931348623157e308, 0, '', b'0', '""', 'a', '', '', '', '', '', '', NULL, NULL, 0, NULL, NULL, NULL,
   0, 0);
CREATE DATABASE `grün` CHARACTER SET latin1;
CREATE TABLE `grün`.`wärme` (`größe` INT, text VARCHAR(9)) PARTITION BY HASH (`größe`) PARTITIONS 3;
INSERT INTO `grün`.`wärme` VALUES (1, 'ä'), (1, 'ä'), (NULL, NULL);
CREATE TABLE app_data.a_child (v INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES app_data.z_parent (v));
CREATE TABLE app_data.z_parent (v INT PRIMARY KEY);
INSERT INTO app_data.z_parent VALUES (1);
INSERT INTO app_data.a_child VALUES (1, 1);
CREATE TABLE app_data.audit (text VARCHAR(100));
CREATE VIEW app_data.z_view AS SELECT v FROM app_data.z_parent;
CREATE VIEW app_data.a_view AS SELECT v, 'ü' AS w FROM app_data.z_view WHERE v > 0;
USE app_data;
CREATE TRIGGER second AFTER INSERT ON a_child FOR EACH ROW INSERT INTO audit VALUES ('second');
CREATE TRIGGER first AFTER INSERT ON a_child FOR EACH ROW PRECEDES second INSERT INTO audit VALUES (CONCAT('fürst ', NEW.v));
SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT';
CREATE PROCEDURE "say so" (IN x INT) INSERT INTO audit VALUES ('it is ' || x);
SET sql_mode = DEFAULT;
CREATE FUNCTION twice (x INT) RETURNS INT DETERMINISTIC RETURN x * 2;
SET GLOBAL log_bin_trust_function_creators = ON;
CREATE FUNCTION dice () RETURNS INT RETURN 1 + RAND() * 6;
SET GLOBAL log_bin_trust_function_creators = OFF;
SET time_zone = '+02:00';
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 03:00:00' DO INSERT INTO audit VALUES ('night');
CREATE USER 'reporter'@'%' IDENTIFIED BY 'Rep0rt''s' REQUIRE NONE PASSWORD HISTORY 5;
CREATE ROLE 'reading';
GRANT SELECT (v) ON app_data.flow TO 'reading';
GRANT EXECUTE ON FUNCTION app_data.twice TO 'reporter'@'%';
GRANT 'reading' TO 'reporter'@'%';
SET DEFAULT ROLE 'reading' TO 'reporter'@'%';
GRANT SHOW_ROUTINE ON *.* TO 'reporter'@'%';
