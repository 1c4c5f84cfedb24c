// Checks a log's files with npm @sigstore/verify: the checkpoint's signature, and the inclusion of
// every entry in its root. The paths are ours to make; what is checked is theirs to judge.
// Arguments: the directory, the log's verifier key.
import { createHash, createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "index.js"));
const theirs = join(process.cwd(), "node_modules", "@sigstore", "verify", "dist", "tlog");
const { verifyCheckpoint } = require(join(theirs, "checkpoint.js"));
const { verifyMerkleInclusion } = require(join(theirs, "merkle.js"));
const [place, vkey] = process.argv.slice(2);

const [name, id, ...rest] = vkey.split("+");
const material = Buffer.from(rest.join("+"), "base64");
const publicKey = createPublicKey({
  key: { kty: "OKP", crv: "Ed25519", x: material.subarray(1).toString("base64url") }, format: "jwk",
});
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();
const node = (left, right) => sha256(Buffer.of(1), left, right);
const split = (size) => 2 ** Math.floor(Math.log2(size - 1));

// Root and every leaf's path, by the recursion of RFC 6962 section 2.1.
function tree(hashes) {
  if (hashes.length === 1) return [hashes[0], [[]]];
  const k = split(hashes.length);
  const [left, lefts] = tree(hashes.slice(0, k));
  const [right, rights] = tree(hashes.slice(k));
  const paths = [...lefts.map((path) => [...path, right]), ...rights.map((path) => [...path, left])];
  return [node(left, right), paths];
}

function entries(size) {
  const found = [];
  for (let n = 0; found.length < size; n += 1) {
    const width = Math.min(256, size - n * 256);
    const part = width < 256 ? `.p/${width}` : "";
    let data = readFileSync(join(place, "tile", "entries", String(n).padStart(3, "0")) + part);
    while (data.length > 0) {
      const length = data.readUInt16BE(0);
      if (data.length < 2 + length) throw new Error("a bundle is cut off");
      found.push(data.subarray(2, 2 + length));
      data = data.subarray(2 + length);
    }
  }
  if (found.length !== size) throw new Error("there are more entries than the checkpoint covers");
  return found;
}

try {
  const envelope = readFileSync(join(place, "checkpoint"), "utf8");
  const log = { logID: Buffer.from(id, "hex"), baseURL: name, publicKey };
  const head = verifyCheckpoint({ inclusionProof: { checkpoint: { envelope } } }, [log]);
  if (head.origin !== name) throw new Error("a checkpoint of another log");
  const size = Number(head.logSize), all = entries(size);
  const [, paths] = tree(all.map((entry) => sha256(Buffer.of(0), entry)));
  all.forEach((canonicalizedBody, index) => {
    const inclusionProof = { logIndex: String(index), hashes: paths[index] };
    verifyMerkleInclusion({ canonicalizedBody, inclusionProof }, head);
  });
  console.log("AGREE", size);
} catch (error) {
  console.log("DISAGREE", error.message);
  process.exit(1);
}
