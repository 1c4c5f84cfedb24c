// Checks a log's files with npm @transmute/rfc9162 for the tree and Node's own crypto for the
// checkpoint. Arguments: the directory, the log's verifier key.
import { createPublicKey, verify } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "index.js"));
const { RFC9162 } = require("@transmute/rfc9162");
const [place, vkey] = process.argv.slice(2);
const demand = (ok, why) => { if (!ok) { console.log("DISAGREE", why); process.exit(1); } };

const [name, id, ...rest] = vkey.split("+");
const material = Buffer.from(rest.join("+"), "base64");
const key = createPublicKey({
  key: { kty: "OKP", crv: "Ed25519", x: material.subarray(1).toString("base64url") }, format: "jwk",
});
const note = readFileSync(join(place, "checkpoint"), "utf8");
const cut = note.lastIndexOf("\n\n");
const text = note.slice(0, cut + 1);
demand(note.slice(cut + 2).split("\n").some((line) => {
  const [, signer, data] = line.split(" ");
  const bytes = Buffer.from(data ?? "", "base64");
  return signer === name && bytes.subarray(0, 4).toString("hex") === id &&
    verify(null, Buffer.from(text), key, bytes.subarray(4));
}), "the checkpoint is not signed by the log");
const [origin, digits, root] = text.split("\n");
demand(origin === name, "a checkpoint of another log");
const size = Number(digits), entries = [];
for (let n = 0; entries.length < size; n += 1) {
  const width = Math.min(256, size - n * 256);
  const file = join(place, "tile", "entries", String(n).padStart(3, "0")) + (width < 256 ? `.p/${width}` : "");
  demand(existsSync(file), `${file} is missing`);
  let data = readFileSync(file);
  while (data.length > 0) {
    const length = data.readUInt16BE(0);
    demand(data.length >= 2 + length, "a bundle is cut off");
    entries.push(new Uint8Array(data.subarray(2, 2 + length)));
    data = data.subarray(2 + length);
  }
}
demand(entries.length === size, "there are more entries than the checkpoint covers");
const head = await RFC9162.treeHead(entries);
demand(Buffer.from(head).equals(Buffer.from(root, "base64")), "the entries lead to another root");
for (const index of new Set([0, size >> 1, size - 1])) {
  const proof = await RFC9162.inclusionProof(entries[index], entries);
  const leaf = await RFC9162.leaf(entries[index]);
  demand(await RFC9162.verifyInclusionProof(head, leaf, proof), `entry ${index} is not in the tree`);
}
console.log("AGREE", size);
