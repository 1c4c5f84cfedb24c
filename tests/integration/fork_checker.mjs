// Checks a fork proof with nothing of ShareGate: Node's own crypto, C2SP and RFC 9162 as they are
// written. Arguments: the proof, the log's verifier key. Prints FORK and exits 0, or says why not.
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const fail = (why) => { console.log(`NO FORK: ${why}`); process.exit(1); };
const sha256 = (...parts) => parts.reduce((h, p) => h.update(p), createHash("sha256")).digest();
const node = (left, right) => sha256(Buffer.from([1]), left, right);

function openNote(note, vkey) {
  const [name, id, ...rest] = vkey.split("+");
  const material = Buffer.from(rest.join("+"), "base64");
  if (material[0] !== 1 || material.length !== 33) fail("not an Ed25519 key");
  const cut = note.lastIndexOf("\n\n");
  const text = note.slice(0, cut + 1);
  const key = createPublicKey({
    key: { kty: "OKP", crv: "Ed25519", x: material.subarray(1).toString("base64url") }, format: "jwk",
  });
  const signed = note.slice(cut + 2).split("\n").some((line) => {
    const [dash, signer, data] = line.split(" ");
    if (dash !== "\u2014" || signer !== name) return false;
    const bytes = Buffer.from(data, "base64");
    return bytes.subarray(0, 4).toString("hex") === id &&
      verify(null, Buffer.from(text), key, bytes.subarray(4));
  });
  if (!signed) fail("a checkpoint is not signed by the log");
  const [origin, size, root] = text.split("\n");
  if (origin !== name) fail("a checkpoint of another log");
  return { size: BigInt(size), root: Buffer.from(root, "base64") };
}

// RFC 9162 section 2.1.4.2.
function consistent(first, second, firstHash, secondHash, proof) {
  if (first === second) return proof.length === 0 && firstHash.equals(secondHash);
  const path = (first & (first - 1n)) === 0n ? [firstHash, ...proof] : [...proof];
  if (path.length === 0) return false;
  let fn = first - 1n, sn = second - 1n;
  while (fn & 1n) { fn >>= 1n; sn >>= 1n; }
  let fr = path[0], sr = path[0];
  for (const c of path.slice(1)) {
    if (sn === 0n) return false;
    if ((fn & 1n) || fn === sn) {
      fr = node(c, fr); sr = node(c, sr);
      if (!(fn & 1n)) while (!(fn & 1n) && fn !== 0n) { fn >>= 1n; sn >>= 1n; }
    } else sr = node(sr, c);
    fn >>= 1n; sn >>= 1n;
  }
  return fr.equals(firstHash) && sr.equals(secondHash) && sn === 0n;
}

const [file, vkey] = process.argv.slice(2);
const proof = JSON.parse(readFileSync(file, "utf8"));
if (proof.form !== "sharegate-fork/v1") fail("another form");
const first = openNote(proof.first, vkey), second = openNote(proof.second, vkey);
if (first.size === second.size) {
  if (first.root.equals(second.root)) fail("one tree");
} else {
  if (first.size > second.size || proof.root === null) fail("nothing is shown");
  const root = Buffer.from(proof.root, "base64");
  if (root.equals(first.root)) fail("one tree");
  const path = proof.path.map((each) => Buffer.from(each, "base64"));
  if (!consistent(first.size, second.size, root, second.root, path)) fail("the path leads elsewhere");
}
console.log(`FORK ${first.size} ${second.size}`);
