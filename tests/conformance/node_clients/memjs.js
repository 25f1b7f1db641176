// "memjs", which speaks the binary protocol only: what it says of a node. node memjs.js <host:port>
"use strict";

const memjs = require("memjs");

const client = memjs.Client.create(process.argv[2], { retries: 0, timeout: 5 });
client.get("k").then(
  (found) => console.log("found", found),
  (error) => console.log("refused", String(error && error.message || error)),
).then(() => { client.close(); process.exit(0); });
