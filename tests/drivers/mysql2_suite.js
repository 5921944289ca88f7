// Node's mysql2: query() in the text protocol and execute() in the binary one.
//
// Prints one line of JSON a step; see common.py for what may and may not be in it.

'use strict';

const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const mysql = require('mysql2/promise');

const BLOB_BYTES = 20 * 1024 * 1024;
const SHOWN_BYTES = 600;
const args = parseArguments(process.argv.slice(2));
const steps = [];
// What no equal output may excuse: a step that failed and must not, or the other way round, or a wrong value.
const faults = [];

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
  if (faults.length) process.exitCode = 1;
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

// Runs the step and gives its value; `refused` is the code of the error that it must end in.
async function run(name, action, refused) {
  let value;
  try {
    value = await action();
    if (refused) faults.push(`${name}: not refused with ${refused}`);
  } catch (error) {
    if (!error.code && !error.errno) throw error;
    value = describe(error);
    if (value.errno !== refused) faults.push(`${name}: ${JSON.stringify(value)}, expected ${refused || 'no error'}`);
  }
  steps.push([name, value]);
  return value;
}

// What the step gave has to be exactly this, on the server and through Weir.
function must(name, value, expected) {
  try {
    assert.deepStrictEqual(value, expected);
  } catch {
    const [got, wanted] = [value, expected].map((each) => String(JSON.stringify(each)).slice(0, 300));
    faults.push(`${name}: ${got} instead of ${wanted}`);
  }
}

// A step whose rows have to be these.
async function rows(name, action, expected) {
  must(name, (await run(name, action)).rows, canonical(expected));
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
    const sql = (each.sql || each).replaceAll('{database}', args.database);
    await run(sql, () => ask(connection, sql), each.refused);
  }
  await run('multi without asking for it', () => ask(connection, 'SELECT 1; SELECT 2'), 1064);
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
  const whole = async (name, action) => must(name, (await run(name, action)).rows.length, depth + 1);
  await whole('types text', () => ask(connection, select));
  await whole('types prepared', () => execute(connection, select));
  await whole('types text again', () => ask(connection, `${select} DESC`));
  const strings = await connect({ dateStrings: true, decimalNumbers: false, jsonStrings: true });
  // Another session: only a locking read is sure to see what this one wrote.
  const locking = `${select} FOR SHARE`;
  await whole('types as strings', () => ask(strings, locking));
  await whole('types prepared as strings', () => execute(strings, locking));
  await whole('types as arrays', async () => {
    const [got] = await strings.execute({ sql: locking, rowsAsArray: true });
    return { rows: canonical(got) };
  });
  await strings.end();
}

async function prepared(connection) {
  await run('prepared ddl', () => ask(connection,
    'CREATE TABLE prep (id INT PRIMARY KEY AUTO_INCREMENT, n BIGINT, s VARCHAR(100), b BLOB, dt DATETIME(3), j JSON, f DOUBLE)'));
  await run('prepared sql_mode', () => ask(connection, "SET SESSION sql_mode = 'STRICT_TRANS_TABLES'"));
  const insert = 'INSERT INTO prep (n, s, b, dt, j, f) VALUES (?, ?, ?, ?, ?, ?)';
  for (const row of [
    [1, 'one', Buffer.from([0, 255, 39]), new Date(Date.UTC(2024, 1, 29, 1, 2, 3, 456)), { a: [1, '中'] }, 0.1],
    ['-9223372036854775808', '😀', Buffer.alloc(0), '1000-01-01 00:00:00', '[]', -1e300],
    [null, null, null, null, null, null],
    [2 ** 53 - 1, 'x'.repeat(100), Buffer.alloc(5000, 7), '2020-01-01', 'null', 1],
  ]) {
    await run('prepared insert', () => execute(connection, insert, row));
  }
  await run('prepared insert refused', () => execute(connection, insert, [5, 'x'.repeat(101), null, null, null, null]), 1406);
  for (const [low, count] of [[0, 4], [2, 2], [99, 0], [0, 4]]) {
    const name = `prepared read ${low}`;
    const got = await run(name, () => execute(connection, 'SELECT * FROM prep WHERE id > ? ORDER BY id', [low]));
    must(name, got.rows.length, count);
  }
  const held = [];
  for (let number = 0; number < 5; number += 1) {
    held.push(await connection.prepare(`SELECT ${number} AS number, COUNT(*) AS c FROM prep WHERE n <> ?`));
  }
  for (let turn = 0; turn < 3; turn += 1) {
    for (const [number, statement] of held.entries()) {
      const got = await run(`prepared in turn ${turn}`, async () => canonical((await statement.execute([turn]))[0]));
      // One of the four has no n, and one has the n of turn 1.
      must(`prepared in turn ${turn}`, got, [{ number: String(number), c: turn === 1 ? '2' : '3' }]);
    }
    await run('write between', () => ask(connection, 'UPDATE prep SET f = f + 1 WHERE id = 1'));
  }
  for (const statement of held) await statement.close();
  await run('prepared wrong text', () => execute(connection, 'SELEC ?', [1]), 1064);
  await run('prepared no table', () => execute(connection, 'SELECT * FROM no_such_table'), 1146);
  const called = await run('prepared call', () => execute(connection, 'CALL two_results()'));
  must('prepared call', called.rows.slice(0, 2), [[{ first_one: '1' }], FIVE]);
  const inside = await run('prepared in transaction', async () => {
    await connection.beginTransaction();
    const got = [await execute(connection, 'UPDATE prep SET s = ? WHERE id = ?', ['in', 1]),
      await execute(connection, 'SELECT s FROM prep WHERE id = ?', [1])];
    await connection.rollback();
    got.push(await execute(connection, 'SELECT s FROM prep WHERE id = ?', [1]));
    return got;
  });
  must('prepared in transaction', inside.slice(1).map((each) => each.rows), [[{ s: 'in' }], [{ s: 'one' }]]);
  const changed = await run('prepared after schema change', async () => {
    const before = await execute(connection, 'SELECT * FROM prep WHERE id = ?', [1]);
    await ask(connection, 'ALTER TABLE prep ADD COLUMN added INT DEFAULT 3');
    return [before, await execute(connection, 'SELECT * FROM prep WHERE id = ?', [1])];
  });
  must('prepared after schema change', changed.map(({ rows: [row] }) => [row.id, row.added]),
    [['number:1', undefined], ['number:1', 'number:3']]);
  await run('prepared sql_mode back', () => ask(connection, "SET SESSION sql_mode = ''"));
}

// The people that the statements leave behind, by name.
const FIVE = ['Ada', 'Cleo', 'Dai', 'Fay', 'Ivy'].map((name) => ({ name }));

async function manyResults() {
  const connection = await connect({ multipleStatements: true });
  const seven = [...FIVE, { name: 'Kit' }, { name: 'Lou' }];
  // The rows of each result, or the code of the error; `OK` where there are none.
  for (const [sql, expected] of [
    ["INSERT INTO people (name) VALUES ('Kit'), ('Lou'); SELECT LAST_INSERT_ID(); SELECT COUNT(*) FROM people",
      ['OK', [{ 'LAST_INSERT_ID()': '13' }], [{ 'COUNT(*)': '7' }]]],
    ['CALL two_results()', [[{ first_one: '1' }], seven, 'OK']],
    ['CALL warn_and_fail()', 31001],
    ['CALL out_param(14, @out); SELECT @out', ['OK', [{ '@out': '42' }]]],
    ['SELECT 1; SELECT 2 AS two, 3; SELECT name FROM people ORDER BY 1', [[{ 1: '1' }], [{ two: '2', 3: '3' }], seven]],
    ['SELECT 1; SELECT * FROM no_such_table; SELECT 2', 1146],
    ['BEGIN; UPDATE people SET age = 1; ROLLBACK; SELECT MAX(age) FROM people', ['OK', 'OK', 'OK', [{ 'MAX(age)': 'number:99' }]]],
    ['SELECT 1;;', { 1: '1' }],
  ]) {
    const refused = typeof expected === 'number' ? expected : undefined;
    const got = await run(`multi ${sql}`, () => ask(connection, sql), refused);
    const all = (got.rows || []).map((each) => (each.fieldCount ? 'OK' : each));
    if (!refused) must(`multi ${sql}`, all, [].concat(expected));
  }
  await connection.end();
}

async function blobs(connection) {
  const unit = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, n) => n)), Buffer.from('weir')]);
  const data = Buffer.alloc(BLOB_BYTES, unit);
  await run('blob ddl', () => ask(connection, 'CREATE TABLE blobs (id INT PRIMARY KEY, v LONGBLOB)'));
  await run('blob in text', () => ask(connection, 'INSERT INTO blobs VALUES (?, ?)', [1, data]));
  let id = 2;
  const expected = [{ id: 1, v: data }];
  for (const size of [0, 250, 251, 65536, 2 ** 24 - 1, 2 ** 24, BLOB_BYTES]) {
    const key = id;
    await run(`blob in ${size}`, () => execute(
      connection, 'INSERT INTO blobs VALUES (?, ?)', [key, data.subarray(0, size)]));
    expected.push({ id, v: data.subarray(0, size) });
    id += 1;
  }
  await rows('blobs out', () => ask(connection, 'SELECT * FROM blobs ORDER BY id'), expected);
  await rows('blobs out prepared', () => execute(connection, 'SELECT * FROM blobs ORDER BY id'), expected);
}

async function loadLocal(connection) {
  const { Readable } = require('stream');
  await run('load ddl', () => ask(connection, 'CREATE TABLE loaded (a INT, b VARCHAR(40))'));
  const text = Array.from({ length: 20000 }, (_, n) => `${n},row ${n}\n`).join('');
  for (const [sql, body, count, refused] of [
    ["LOAD DATA LOCAL INFILE 'stream' INTO TABLE loaded FIELDS TERMINATED BY ','", text, 20000],
    ["LOAD DATA LOCAL INFILE 'stream' INTO TABLE loaded FIELDS TERMINATED BY ','", 'bad,1\n5\n', 2],
    ["LOAD DATA LOCAL INFILE 'stream' INTO TABLE loaded FIELDS TERMINATED BY ','", '', 0],
    ["LOAD DATA LOCAL INFILE 'stream' INTO TABLE no_such_table", text, undefined, 1146],
  ]) {
    const got = await run(`load ${body.length}`, () => ask(connection, {
      sql, infileStreamFactory: () => Readable.from(body.length ? [Buffer.from(body)] : []),
    }), refused);
    if (!refused) must(`load ${body.length}`, got.rows.affectedRows, `number:${count}`);
    await run('load warnings', () => ask(connection, 'SHOW WARNINGS'));
  }
  const sum = String((19999 * 20000) / 2 + 5);
  await rows('loaded', () => ask(connection, 'SELECT COUNT(*) AS c, SUM(a) AS s FROM loaded'), [{ c: '20002', s: sum }]);
}

async function transactions(connection) {
  const other = await connect();
  await run('trx ddl', () => ask(connection, 'CREATE TABLE trx (id INT PRIMARY KEY)'));
  await connection.beginTransaction();
  await run('trx insert', () => ask(connection, 'INSERT INTO trx VALUES (1)'));
  await rows('trx own', () => execute(connection, 'SELECT * FROM trx'), [{ id: 1 }]);
  await rows('trx other', () => ask(other, 'SELECT COUNT(*) AS c FROM trx FOR SHARE SKIP LOCKED'), [{ c: '0' }]);
  await connection.rollback();
  await rows('trx rolled back', () => execute(connection, 'SELECT * FROM trx'), []);
  await connection.beginTransaction();
  await run('trx insert 2', () => execute(connection, 'INSERT INTO trx VALUES (?)', [2]));
  await connection.commit();
  await rows('trx committed', () => execute(connection, 'SELECT * FROM trx'), [{ id: 2 }]);
  await other.end();
}

async function charsets() {
  for (const [charset, text, name, hex] of [['latin1', 'é', 'latin1', 'E9'],
    ['GBK_CHINESE_CI', '誉中', 'gbk', 'D3FED6D0'], ['SJIS_JAPANESE_CI', '表示', 'sjis', '955C8EA6']]) {
    const answers = await run(`charset ${charset}`, async () => {
      const connection = await connect({ charset });
      const got = [
        await ask(connection, 'SELECT @@character_set_client AS a, @@character_set_results AS b, @@collation_connection AS c'),
        await ask(connection, 'SELECT ? AS t, HEX(?) AS h', [text, text]),
        await execute(connection, 'SELECT ? AS t, HEX(?) AS h', [text, text]),
      ];
      await connection.end();
      return got;
    });
    must(`charset ${charset}`, answers.map((each) => [each.rows[0].a || each.rows[0].t, each.rows[0].b || each.rows[0].h]),
      [[name, name], [text, hex], [text, hex]]);
  }
}

// Capability bits that change what a count means, compression, and connection attributes.
async function flags() {
  for (const options of [{ flags: ['-FOUND_ROWS'] }, { flags: ['FOUND_ROWS'] }, { flags: ['IGNORE_SPACE'] },
    { compress: true }, { connectAttributes: { program_name: 'weir driver test', empty: '' } }, { flags: ['-SESSION_TRACK'] }]) {
    const got = await run(`options ${JSON.stringify(options)}`, async () => {
      const connection = await connect(options);
      const got = [await ask(connection, 'UPDATE people SET age = 9'), await ask(connection, 'UPDATE people SET age = 9'),
        await ask(connection, "SELECT REPEAT('z', 100000) AS z"), await execute(connection, 'SELECT COUNT(*) AS c FROM people')];
      await connection.end();
      return got;
    });
    // The second UPDATE finds seven rows and changes none.
    const found = JSON.stringify(options).includes('-FOUND_ROWS') ? 0 : 7;
    must(JSON.stringify(options), [got[1].rows.affectedRows, got[2].rows, got[3].rows],
      canonical([found, [{ z: 'z'.repeat(100000) }], [{ c: '7' }]]));
  }
}

async function sessions(connection) {
  await run('ping', () => connection.ping().then(canonical));
  await run('set', () => ask(connection, "SET time_zone = '+02:00', @kept = 'mine'"));
  await rows('get', () => ask(connection, 'SELECT @@time_zone AS z, @kept AS k'), [{ z: '+02:00', k: 'mine' }]);
  await run('change user', () => connection.changeUser({
    user: args.user, password: process.env.WEIR_TEST_PASSWORD, database: args.database,
  }).then(canonical));
  await rows('after change', () => ask(connection, 'SELECT @kept AS k, DATABASE() IS NOT NULL AS d, @@time_zone = @@global.time_zone AS z'), [{ k: null, d: '1', z: '1' }]);
  await rows('prepared after change', () => execute(connection, 'SELECT ? AS v', [7]), [{ v: 7 }]);
  await run('use', () => ask(connection, 'USE information_schema'));
  await rows('database', () => execute(connection, 'SELECT DATABASE() AS d'), [{ d: 'information_schema' }]);
  const { Writable } = require('stream');
  const streamed = await run('stream', () => new Promise((resolve, reject) => {
    let count = 0;
    const sink = new Writable({ objectMode: true, write(row, _, done) { count += 1; setImmediate(done); } });
    connection.connection.query(`SELECT * FROM \`${args.database}\`.loaded LIMIT 3000`).stream({ highWaterMark: 5 })
      .on('error', reject).pipe(sink).on('finish', () => resolve(count));
  }));
  must('stream', streamed, 3000);
}

async function pool() {
  const many = mysql.createPool({
    host: args.host, port: Number(args.port), user: args.user, password: process.env.WEIR_TEST_PASSWORD,
    database: args.database, ssl: args.tls ? { rejectUnauthorized: false } : undefined, connectionLimit: 8,
  });
  const got = await run('pool', async () => {
    const asked = Array.from({ length: 200 }, (_, n) => many.execute('SELECT ? AS n, SLEEP(0.001) AS s', [n]));
    return (await Promise.all(asked)).map(([[row]]) => canonical(row.n));
  });
  must('pool', got, canonical(Array.from({ length: 200 }, (_, n) => n)));
  await many.end();
}

async function refused() {
  for (const [name, options, code] of [['wrong password', { password: 'wrong' }, 1045],
    ['empty password', { password: '' }, 1045], ['no such user', { user: 'no_such_user_' }, 1045],
    ['no such database', { database: 'no_such_database' }, 1049]]) {
    await run(name, async () => (await connect(options)).end(), code);
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
}).finally(() => {
  if (faults.length) console.error(faults.join('\n'));
  // Sockets of a course that was brought to a halt would keep it alive.
  if (process.exitCode) process.exit();
});
