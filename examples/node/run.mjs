// A client of unitsync in plain Node, without any package: what `unitsync run` does, written from
// docs/reference/wire-protocol.md.
//
//     node run.mjs UNIT PREREQUISITE[,PREREQUISITE...] COMMAND [ARGUMENT...]

import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const address = process.env.UNITSYNC_ENDPOINT || `ipc:///tmp/unitsync-${process.getuid()}/coordinator.sock`;
const path = address.replace("ipc://", "");
const newId = () => randomBytes(12).toString("hex");
const now = () => performance.now() / 1000;

// --- MessagePack: as much of it as the messages need ---------------------------------

function sized(kind, size, ...parts) {
  const head = Buffer.from([kind, 0, 0, 0, 0]);
  head.writeUInt32BE(size, 1);
  return Buffer.concat([head, ...parts]);
}

function pack(value) {
  if (typeof value === "string") return sized(0xdb, Buffer.byteLength(value), Buffer.from(value));
  if (typeof value === "boolean") return Buffer.from([value ? 0xc3 : 0xc2]);
  if (Array.isArray(value)) return sized(0xdd, value.length, ...value.map(pack));
  if (typeof value === "object") {
    const items = Object.entries(value);
    return sized(0xdf, items.length, ...items.flat().map(pack));
  }
  const number = Buffer.alloc(9, Number.isInteger(value) ? 0xd3 : 0xcb);
  if (Number.isInteger(value)) number.writeBigInt64BE(BigInt(value), 1);
  else number.writeDoubleBE(value, 1);
  return number;
}

function unpack(data) {
  let at = 0;
  const number = (width, signed) => {
    at += width;
    if (width === 8) return Number(signed ? data.readBigInt64BE(at - 8) : data.readBigUInt64BE(at - 8));
    return signed ? data.readIntBE(at - width, width) : data.readUIntBE(at - width, width);
  };
  const text = (size) => data.toString("utf8", at, (at += size));
  const list = (size) => Array.from({ length: size }, value);
  const map = (size) => Object.fromEntries(Array.from({ length: size }, () => [value(), value()]));
  function value() {
    const kind = data[at++];
    if (kind < 0x80) return kind;
    if (kind < 0x90) return map(kind & 15);
    if (kind < 0xa0) return list(kind & 15);
    if (kind < 0xc0) return text(kind & 31);
    if (kind >= 0xe0) return kind - 256;
    if (kind === 0xc0) return null;
    if (kind === 0xc2 || kind === 0xc3) return kind === 0xc3;
    if (kind === 0xcb) return data.readDoubleBE((at += 8) - 8);
    if (kind >= 0xcc && kind <= 0xd3) return number(1 << (kind & 3), kind >= 0xd0);
    if (kind >= 0xd9 && kind <= 0xdb) return text(number(1 << (kind - 0xd9)));
    if (kind === 0xdc || kind === 0xdd) return list(number(kind === 0xdc ? 2 : 4));
    if (kind === 0xde || kind === 0xdf) return map(number(kind === 0xde ? 2 : 4));
    throw new Error(`MessagePack type ${kind}`);
  }
  return value();
}

// --- ZMTP 3.0 over the unix socket, as a REQ ------------------------------------------

class Link {
  static async open() {
    const link = new Link();
    link.data = Buffer.alloc(0);
    link.socket = connect(path);
    link.socket.on("data", (more) => link.wake?.((link.data = Buffer.concat([link.data, more]))));
    link.socket.on("error", () => {});
    link.socket.on("close", () => link.wake?.((link.closed = true)));
    const greeting = Buffer.alloc(64);
    greeting.set([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0, ...Buffer.from("NULL")]);
    link.socket.write(greeting);
    link.socket.write(Buffer.from("\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ", "latin1"));
    const by = now() + 5;
    await link.take(64, by);
    await link.frame(by); // its READY
    return link;
  }

  async ask(request, withinSeconds) {
    const message = pack(request);
    const size = Buffer.alloc(9, 2);
    size.writeBigUInt64BE(BigInt(message.length), 1);
    this.socket.write(Buffer.concat([Buffer.from([1, 0]), size, message]));
    const by = now() + withinSeconds;
    for (;;) {
      const [flags, body] = await this.frame(by);
      if ((flags & 5) === 0) return unpack(body); // no command, and no frame that more follows
    }
  }

  async frame(by) {
    const flags = (await this.take(1, by))[0];
    const size = flags & 2 ? Number((await this.take(8, by)).readBigUInt64BE()) : (await this.take(1, by))[0];
    return [flags, await this.take(size, by)];
  }

  async take(count, by) {
    while (this.data.length < count) {
      if (this.closed || now() > by) throw new Error("the link is lost");
      await Promise.race([new Promise((wake) => (this.wake = wake)), sleep(500)]);
    }
    const taken = this.data.subarray(0, count);
    this.data = this.data.subarray(count);
    return taken;
  }
}

// --- a conversation: repeated, byte for byte, until there is a final answer -----------

const stat = readFileSync("/proc/self/stat", "latin1");
const owner = {
  pid: process.pid,
  start: Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]),
  ns: statSync("/proc/self/ns/pid").ino,
  command: process.argv.join(" "),
};

async function converse(request, limitSeconds) {
  const deadline = now() + limitSeconds;
  const waits = request.verb === "start";
  let link, patience = 0;
  for (;;) {
    const left = Math.max(0, deadline - now());
    if (waits) Object.assign(request, { last: left === 0, patience_s: Math.min(patience, left) });
    let reply;
    try {
      link ??= await Link.open();
      reply = await link.ask(request, Math.min(patience, left) + 5);
    } catch (lost) {
      link?.socket.destroy();
      link = undefined;
      if (left === 0) throw lost;
    }
    if (reply === undefined || reply.code === "stopped") {
      // Killed: bring it back. Stopped: somebody meant it, so wait for its return.
      const stopped = request.epoch && existsSync(`${dirname(path)}/stopped`);
      if (!stopped) spawnSync("unitsync", ["ping"], { stdio: "ignore" });
      patience = 0;
      await sleep(100);
    } else if (reply.result === "waiting" || reply.result === "ready") {
      request.epoch ??= reply.epoch;
      request.since_run ??= reply.run ?? 0;
      patience = reply.result === "waiting" ? 30 : 0; // a claim is answered at once
      const names = (reply.waiting_for ?? []).map((edge) => edge.name);
      if (names.length) console.error(`${request.unit} waits for ${names.join(", ")}`);
    } else {
      link.socket.destroy();
      return reply;
    }
  }
}

const [unit, after, command, ...words] = process.argv.slice(2);
const start = { verb: "start", id: newId(), unit, after: after.split(","), owner };
const takeBack = async () => {
  await converse({ verb: "withdraw", id: newId(), unit, start_id: start.id, reason: "interrupted", owner }, 1);
  process.exit(130);
};
process.once("SIGINT", takeBack);
const granted = await converse(start, 300);
process.off("SIGINT", takeBack);
if (granted.result !== "granted") {
  console.error(`error: ${granted.message}`);
  process.exit(granted.exit);
}
const child = spawn(command, words, { stdio: "inherit" });
const code = await new Promise((ended) => child.on("close", (status) => ended(status ?? 1)));
await converse({ verb: "complete", id: newId(), epoch: granted.epoch, unit, exit_code: code, owner }, 60);
process.exit(code);
