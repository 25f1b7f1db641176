// The client "memcached" (3rd-Eden) over all nodes of a cluster: node memcached.js <host:port> ...
"use strict";

const assert = require("assert");
const { promisify } = require("util");
const Memcached = require("memcached");

const LIMIT = 1 << 20;
const servers = process.argv.slice(2);
const options = { timeout: 30000, retries: 1, maxValue: 2 * LIMIT, poolSize: 4 };
const client = new Memcached(servers, options);
const asking = (one) => (command, ...words) => promisify(one[command].bind(one))(...words);
const ask = asking(client);

async function refused(promise, pattern) {
  await assert.rejects(promise, (error) => pattern.test(String(error && error.message || error)));
}

async function everything() {
  assert.strictEqual(await ask("get", "k"), undefined);
  assert.strictEqual(await ask("set", "k", "schön", 100), true);
  assert.strictEqual(await ask("get", "k"), "schön");
  await refused(ask("add", "k", "x", 100), /not stored/i);
  assert.strictEqual(await ask("add", "new", { a: [1, null] }, 100), true);
  assert.deepStrictEqual(await ask("get", "new"), { a: [1, null] });
  assert.strictEqual(await ask("replace", "k", "one", 100), true);
  await refused(ask("replace", "absent", "x", 100), /not stored/i);
  assert.strictEqual(await ask("append", "k", "-after"), true);
  assert.strictEqual(await ask("prepend", "k", "before-"), true);
  const found = await ask("gets", "k");
  assert.strictEqual(found.k, "before-one-after");
  assert.strictEqual(await ask("cas", "k", "two", found.cas, 100), true);
  assert.strictEqual(await ask("cas", "k", "three", found.cas, 100), false);
  assert.strictEqual(await ask("set", "n", 10, 100), true);
  assert.strictEqual(await ask("incr", "n", 5), 15);
  assert.strictEqual(await ask("decr", "n", 20), 0);
  assert.strictEqual(await ask("incr", "absent", 1), false);
  assert.strictEqual(await ask("touch", "n", 100), true);
  assert.strictEqual(await ask("del", "n"), true);
  assert.strictEqual(await ask("del", "n"), false);

  const keys = Array.from({ length: 300 }, (_, number) => `key-${number}`);
  await Promise.all(keys.map((key) => ask("set", key, key.toUpperCase(), 100)));
  const many = await ask("getMulti", [...keys, "absent"]);
  assert.strictEqual(Object.keys(many).length, keys.length);
  for (const key of keys) assert.strictEqual(many[key], key.toUpperCase());

  const bytes = Buffer.from(Array.from({ length: 1024 }, (_, number) => number % 256));
  assert.strictEqual(await ask("set", "bytes", bytes, 100), true);
  assert.ok(bytes.equals(await ask("get", "bytes")));
  const largest = "x".repeat(LIMIT - 1024);
  assert.strictEqual(await ask("set", "large", largest, 100), true);
  assert.strictEqual(await ask("get", "large"), largest);
  // It tells of a SERVER_ERROR by a false, and asks that node nothing more for a while.
  const other = new Memcached(servers, options);
  assert.strictEqual(await asking(other)("set", "large", "x".repeat(LIMIT + 1024), 100), false);
  other.end();
  assert.strictEqual(await ask("get", "large"), undefined);

  assert.strictEqual(await ask("set", "count", 0, 100), true);
  await Promise.all(Array.from({ length: 100 }, () => ask("incr", "count", 1)));
  assert.strictEqual(await ask("get", "count"), 100);
  await refused(ask("incr", "k", 1), /non-numeric/);

  assert.strictEqual((await ask("version")).length, servers.length);
  const stats = await ask("stats");
  assert.strictEqual(stats.length, servers.length);
  for (const one of stats) assert.ok(one.pid > 0 && one.curr_connections > 0);
  assert.strictEqual((await ask("settings")).length, servers.length);
  await ask("flush");
  assert.strictEqual(await ask("get", "k"), undefined);
}

everything().then(
  () => { client.end(); console.log("passed"); process.exit(0); },
  (error) => { console.error(error); process.exit(1); },
);
