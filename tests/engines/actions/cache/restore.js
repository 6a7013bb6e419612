const { appendFileSync, cpSync, existsSync, readdirSync, statSync } = require("node:fs");
const { join, resolve } = require("node:path");

const store = process.env.STAND_IN_CACHE;
const input = (name) => (process.env[`INPUT_${name.toUpperCase()}`] ?? "").trim();
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
const folder = (key) => join(store, encodeURIComponent(key));

// The newest entry whose key begins with one of these, the first that has any.
function nearest(beginnings) {
  for (const beginning of beginnings) {
    const found = readdirSync(store).filter((name) => decodeURIComponent(name).startsWith(beginning));
    found.sort((a, b) => statSync(join(store, b)).mtimeMs - statSync(join(store, a)).mtimeMs);
    if (found.length) return decodeURIComponent(found[0]);
  }
  return "";
}

const key = input("key");
const matched = existsSync(folder(key)) ? key : nearest([key, ...lines(input("restore-keys"))]);
if (matched && input("lookup-only") !== "true") {
  lines(input("path")).forEach((path, index) => {
    const kept = join(folder(matched), String(index));
    if (existsSync(kept)) cpSync(kept, resolve(path), { recursive: true });
  });
}
appendFileSync(process.env.GITHUB_OUTPUT, `cache-hit=${matched === key}\ncache-primary-key=${key}\ncache-matched-key=${matched}\n`);
console.log(matched ? `Cache restored from key: ${matched}` : `Cache not found for input keys: ${key}`);
if (!matched && input("fail-on-cache-miss") === "true") process.exitCode = 1;
