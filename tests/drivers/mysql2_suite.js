// Node's mysql2: query() in the text protocol and execute() in the binary one.
//
// Prints one line of JSON a step; see common.py for what may and may not be in it.

'use strict';

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const mysql = require('mysql2/promise');

const BLOB_BYTES = 20 * 1024 * 1024;
const SHOWN_BYTES = 600;
const args = parseArguments(process.argv.slice(2));
const steps = [];

async function main() {
  const connection = await connect();
  await texts(connection);
  await everyType(connection);
  await prepared(connection);
  await manyResults();
  await blobs(connection);
  await loadLocal(connection);
  await transactions(connection);
  await charsets();
  await flags();
  await sessions(connection);
  await pool();
  await refused();
  await connection.end();
  for (const step of steps) console.log(JSON.stringify(step));
}

function parseArguments(words) {
  const found = { tls: false };
  for (let at = 0; at < words.length; at += 1) {
    const name = words[at].slice(2);
    if (name === 'tls') found.tls = true;
    else found[name] = words[(at += 1)];
  }
  return found;
}

function connect(options = {}) {
  return mysql.createConnection({
    host: args.host,
    port: Number(args.port),
    user: args.user,
    password: process.env.WEIR_TEST_PASSWORD,
    database: args.database,
    ssl: args.tls ? { rejectUnauthorized: false } : undefined,
    supportBigNumbers: true,
    bigNumberStrings: true,
    charset: 'utf8mb4',
    timezone: 'Z',
    ...options,
  });
}

// A value as JSON that shows its type and every bit of it.
function canonical(value) {
  if (value === null || typeof value === 'boolean') return value;
  if (value === undefined) return 'undefined';
  if (Buffer.isBuffer(value)) return `bytes:${shown(value)}`;
  if (value instanceof Float32Array || ArrayBuffer.isView(value)) {
    return `${value.constructor.name}:${Array.from(value).map(String).join(',')}`;
  }
  if (typeof value === 'number') return `number:${Object.is(value, -0) ? '-0' : String(value)}`;
  if (typeof value === 'bigint') return `bigint:${value}`;
  if (typeof value === 'string') {
    return value.length <= SHOWN_BYTES ? value : `string:${shown(Buffer.from(value))}`;
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Date:invalid' : `Date:${value.toISOString()}`;
  if (Array.isArray(value)) return value.map(canonical);
  if (saysNoChange(value.stateChanges)) {
    const { stateChanges, ...rest } = value;
    return canonical({ ...rest, serverStatus: value.serverStatus & ~SESSION_STATE_CHANGED });
  }
  return Object.fromEntries(Object.keys(value).map((key) => [key, canonical(value[key])]));
}

// A server that tracks less than Weir asks of it flags some statements as changes of the session and
// names none. Weir passes on what was named.
const SESSION_STATE_CHANGED = 1 << 14;

function saysNoChange(changes) {
  return changes && Object.keys(changes.systemVariables).length === 0 && changes.schema === null
    && changes.gtids.length === 0 && changes.trackStateChange === null;
}

function shown(data) {
  if (data.length <= SHOWN_BYTES) return data.toString('hex');
  return `${data.length} bytes, sha256 ${crypto.createHash('sha256').update(data).digest('hex')}`;
}

function describe(error) {
  return {
    error: error.code,
    errno: error.errno,
    sqlstate: error.sqlState,
    message: String(error.message).replace(/'@'[^']*'/g, "'@'HOST'"),
  };
}

function columns(fields) {
  if (!fields) return null;
  if (fields.some((field) => Array.isArray(field))) return fields.map(columns);
  return fields.map((field) => field && [
    field.name, field.orgName, field.table, field.orgTable, field.schema || field.db, field.columnType,
    field.characterSet, field.columnLength, field.flags, field.decimals,
  ]);
}

async function run(name, action) {
  try {
    steps.push([name, await action()]);
  } catch (error) {
    if (!error.code && !error.errno) throw error;
    steps.push([name, describe(error)]);
  }
}

async function ask(connection, sql, values) {
  const [rows, fields] = await connection.query(sql, values);
  return { rows: canonical(rows), fields: columns(fields) };
}

async function execute(connection, sql, values) {
  const [rows, fields] = await connection.execute(sql, values);
  return { rows: canonical(rows), fields: columns(fields) };
}

function load(name) {
  return JSON.parse(fs.readFileSync(path.join(__dirname, name), 'utf8'));
}

async function texts(connection) {
  for (const each of load('statements.json').statements) {
    const sql = each.replaceAll('{database}', args.database);
    await run(sql, () => ask(connection, sql));
  }
}

async function everyType(connection) {
  const types = load('types.json');
  const ddl = types.columns.map(([name, kind]) => `${name} ${kind}`).join(', ');
  await run('types sql_mode', () => ask(connection, `SET SESSION sql_mode = '${types.sql_mode}'`));
  await run('types ddl', () => ask(connection, `CREATE TABLE all_types (id INT PRIMARY KEY, ${ddl})`));
  const depth = Math.max(...types.columns.map((column) => column[2].length));
  for (let row = 0; row <= depth; row += 1) {
    const values = types.columns.map((column) => (row < column[2].length ? column[2][row] : 'NULL'));
    await run(`types insert ${row}`, () => ask(
      connection, `INSERT INTO all_types VALUES (${row}, ${values.join(', ')})`));
  }
  const select = 'SELECT * FROM all_types ORDER BY id';
  await run('types text', () => ask(connection, select));
  await run('types prepared', () => execute(connection, select));
  await run('types text again', () => ask(connection, `${select} DESC`));
  const strings = await connect({ dateStrings: true, decimalNumbers: false, jsonStrings: true });
  // Another session: only a locking read is sure to see what this one wrote.
  const locking = `${select} FOR SHARE`;
  await run('types as strings', () => ask(strings, locking));
  await run('types prepared as strings', () => execute(strings, locking));
  await run('types as arrays', async () => {
    const [rows] = await strings.execute({ sql: locking, rowsAsArray: true });
    return canonical(rows);
  });
  await strings.end();
}

async function prepared(connection) {
  await run('prepared ddl', () => ask(connection,
    'CREATE TABLE prep (id INT PRIMARY KEY AUTO_INCREMENT, n BIGINT, s VARCHAR(100), b BLOB, dt DATETIME(3), j JSON, f DOUBLE)'));
  const insert = 'INSERT INTO prep (n, s, b, dt, j, f) VALUES (?, ?, ?, ?, ?, ?)';
  for (const row of [
    [1, 'one', Buffer.from([0, 255, 39]), new Date(Date.UTC(2024, 1, 29, 1, 2, 3, 456)), { a: [1, '中'] }, 0.1],
    ['-9223372036854775808', '😀', Buffer.alloc(0), '1000-01-01 00:00:00', '[]', -1e300],
    [null, null, null, null, null, null],
    [2 ** 53 - 1, 'x'.repeat(100), Buffer.alloc(5000, 7), '2020-01-01', 'null', 1],
    [5, 'x'.repeat(101), null, null, null, null],
  ]) {
    await run('prepared insert', () => execute(connection, insert, row));
  }
  for (const low of [0, 2, 99, 0]) {
    await run(`prepared read ${low}`, () => execute(connection, 'SELECT * FROM prep WHERE id > ? ORDER BY id', [low]));
  }
  const held = [];
  for (let number = 0; number < 5; number += 1) {
    held.push(await connection.prepare(`SELECT ${number} AS number, COUNT(*) AS c FROM prep WHERE n <> ?`));
  }
  for (let turn = 0; turn < 3; turn += 1) {
    for (const statement of held) {
      await run(`prepared in turn ${turn}`, async () => canonical((await statement.execute([turn]))[0]));
    }
    await run('write between', () => ask(connection, 'UPDATE prep SET f = f + 1 WHERE id = 1'));
  }
  for (const statement of held) await statement.close();
  await run('prepared wrong text', () => execute(connection, 'SELEC ?', [1]));
  await run('prepared no table', () => execute(connection, 'SELECT * FROM no_such_table'));
  await run('prepared call', () => execute(connection, 'CALL two_results()'));
  await run('prepared in transaction', async () => {
    await connection.beginTransaction();
    const got = [await execute(connection, 'UPDATE prep SET s = ? WHERE id = ?', ['in', 1]),
      await execute(connection, 'SELECT s FROM prep WHERE id = ?', [1])];
    await connection.rollback();
    got.push(await execute(connection, 'SELECT s FROM prep WHERE id = ?', [1]));
    return got;
  });
  await run('prepared after schema change', async () => {
    const before = await execute(connection, 'SELECT * FROM prep WHERE id = ?', [1]);
    await ask(connection, 'ALTER TABLE prep ADD COLUMN added INT DEFAULT 3');
    return [before, await execute(connection, 'SELECT * FROM prep WHERE id = ?', [1])];
  });
}

async function manyResults() {
  const connection = await connect({ multipleStatements: true });
  for (const sql of [
    "INSERT INTO people (name) VALUES ('Kit'), ('Lou'); SELECT LAST_INSERT_ID(); SELECT COUNT(*) FROM people",
    'CALL two_results()',
    'CALL warn_and_fail()',
    'CALL out_param(14, @out); SELECT @out',
    'SELECT 1; SELECT 2 AS two, 3; SELECT name FROM people ORDER BY 1',
    'SELECT 1; SELECT * FROM no_such_table; SELECT 2',
    'BEGIN; UPDATE people SET age = 1; ROLLBACK; SELECT MAX(age) FROM people',
    'SELECT 1;;',
  ]) {
    await run(`multi ${sql}`, () => ask(connection, sql));
  }
  await connection.end();
}

async function blobs(connection) {
  const unit = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, n) => n)), Buffer.from('weir')]);
  const data = Buffer.alloc(BLOB_BYTES, unit);
  await run('blob ddl', () => ask(connection, 'CREATE TABLE blobs (id INT PRIMARY KEY, v LONGBLOB)'));
  await run('blob in text', () => ask(connection, 'INSERT INTO blobs VALUES (?, ?)', [1, data]));
  let id = 2;
  for (const size of [0, 250, 251, 65536, 2 ** 24 - 1, 2 ** 24, BLOB_BYTES]) {
    const key = id;
    await run(`blob in ${size}`, () => execute(
      connection, 'INSERT INTO blobs VALUES (?, ?)', [key, data.subarray(0, size)]));
    id += 1;
  }
  await run('blobs out', () => ask(connection, 'SELECT * FROM blobs ORDER BY id'));
  await run('blobs out prepared', () => execute(connection, 'SELECT * FROM blobs ORDER BY id'));
}

async function loadLocal(connection) {
  const { Readable } = require('stream');
  await run('load ddl', () => ask(connection, 'CREATE TABLE loaded (a INT, b VARCHAR(40))'));
  const text = Array.from({ length: 20000 }, (_, n) => `${n},row ${n}\n`).join('');
  for (const [sql, body] of [
    ["LOAD DATA LOCAL INFILE 'stream' INTO TABLE loaded FIELDS TERMINATED BY ','", text],
    ["LOAD DATA LOCAL INFILE 'stream' INTO TABLE loaded FIELDS TERMINATED BY ','", 'bad,1\n5\n'],
    ["LOAD DATA LOCAL INFILE 'stream' INTO TABLE loaded FIELDS TERMINATED BY ','", ''],
    ["LOAD DATA LOCAL INFILE 'stream' INTO TABLE no_such_table", text],
  ]) {
    await run(`load ${body.length}`, () => ask(connection, {
      sql, infileStreamFactory: () => Readable.from(body.length ? [Buffer.from(body)] : []),
    }));
    await run('load warnings', () => ask(connection, 'SHOW WARNINGS'));
  }
  await run('loaded', () => ask(connection, 'SELECT COUNT(*) AS c, SUM(a) AS s FROM loaded'));
}

async function transactions(connection) {
  const other = await connect();
  await run('trx ddl', () => ask(connection, 'CREATE TABLE trx (id INT PRIMARY KEY)'));
  await connection.beginTransaction();
  await run('trx insert', () => ask(connection, 'INSERT INTO trx VALUES (1)'));
  await run('trx own', () => execute(connection, 'SELECT * FROM trx'));
  await run('trx other', () => ask(other, 'SELECT COUNT(*) AS c FROM trx FOR SHARE SKIP LOCKED'));
  await connection.rollback();
  await run('trx rolled back', () => execute(connection, 'SELECT * FROM trx'));
  await connection.beginTransaction();
  await run('trx insert 2', () => execute(connection, 'INSERT INTO trx VALUES (?)', [2]));
  await connection.commit();
  await run('trx committed', () => execute(connection, 'SELECT * FROM trx'));
  await other.end();
}

async function charsets() {
  for (const [charset, text] of [['latin1', 'é'], ['GBK_CHINESE_CI', '誉中'], ['SJIS_JAPANESE_CI', '表示']]) {
    await run(`charset ${charset}`, async () => {
      const connection = await connect({ charset });
      const got = [
        await ask(connection, 'SELECT @@character_set_client AS a, @@character_set_results AS b, @@collation_connection AS c'),
        await ask(connection, 'SELECT ? AS t, HEX(?) AS h', [text, text]),
        await execute(connection, 'SELECT ? AS t, HEX(?) AS h', [text, text]),
      ];
      await connection.end();
      return got;
    });
  }
}

// Capability bits that change what a count means, compression, and connection attributes.
async function flags() {
  for (const options of [{ flags: ['-FOUND_ROWS'] }, { flags: ['FOUND_ROWS'] }, { flags: ['IGNORE_SPACE'] },
    { compress: true }, { connectAttributes: { program_name: 'weir driver test', empty: '' } }, { flags: ['-SESSION_TRACK'] }]) {
    await run(`options ${JSON.stringify(options)}`, async () => {
      const connection = await connect(options);
      const got = [await ask(connection, 'UPDATE people SET age = 9'), await ask(connection, 'UPDATE people SET age = 9'),
        await ask(connection, "SELECT REPEAT('z', 100000) AS z"), await execute(connection, 'SELECT COUNT(*) AS c FROM people')];
      await connection.end();
      return got;
    });
  }
}

async function sessions(connection) {
  await run('ping', () => connection.ping().then(canonical));
  await run('set', () => ask(connection, "SET time_zone = '+02:00', @kept = 'mine'"));
  await run('get', () => ask(connection, 'SELECT @@time_zone AS z, @kept AS k'));
  await run('change user', () => connection.changeUser({
    user: args.user, password: process.env.WEIR_TEST_PASSWORD, database: args.database,
  }).then(canonical));
  await run('after change', () => ask(connection, 'SELECT @kept AS k, DATABASE() IS NOT NULL AS d, @@time_zone = @@global.time_zone AS z'));
  await run('prepared after change', () => execute(connection, 'SELECT ? AS v', [7]));
  await run('use', () => ask(connection, 'USE information_schema'));
  await run('database', () => execute(connection, 'SELECT DATABASE() AS d'));
  const { Writable } = require('stream');
  await run('stream', () => new Promise((resolve, reject) => {
    let rows = 0;
    const sink = new Writable({ objectMode: true, write(row, _, done) { rows += 1; setImmediate(done); } });
    connection.connection.query(`SELECT * FROM \`${args.database}\`.loaded LIMIT 3000`).stream({ highWaterMark: 5 })
      .on('error', reject).pipe(sink).on('finish', () => resolve(rows));
  }));
}

async function pool() {
  const many = mysql.createPool({
    host: args.host, port: Number(args.port), user: args.user, password: process.env.WEIR_TEST_PASSWORD,
    database: args.database, ssl: args.tls ? { rejectUnauthorized: false } : undefined, connectionLimit: 8,
  });
  await run('pool', async () => {
    const asked = Array.from({ length: 200 }, (_, n) => many.execute('SELECT ? AS n, SLEEP(0.001) AS s', [n]));
    return (await Promise.all(asked)).map(([rows]) => canonical(rows[0].n));
  });
  await many.end();
}

async function refused() {
  for (const [name, options] of [['wrong password', { password: 'wrong' }], ['empty password', { password: '' }],
    ['no such user', { user: 'no_such_user_' }], ['no such database', { database: 'no_such_database' }]]) {
    await run(name, async () => (await connect(options)).end());
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
