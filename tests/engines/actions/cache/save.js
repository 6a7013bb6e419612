const { cpSync, existsSync, mkdirSync, renameSync } = require("node:fs");
const { join, resolve } = require("node:path");

const input = (name) => (process.env[`INPUT_${name.toUpperCase()}`] ?? "").trim();
const target = join(process.env.STAND_IN_CACHE, encodeURIComponent(input("key")));
if (existsSync(target)) {
  console.log(`Cache hit occurred on the primary key ${input("key")}, not saving cache.`);
} else {
  const part = `${target}.${process.pid}`;
  mkdirSync(part);
  const paths = input("path").split("\n").map((line) => line.trim()).filter(Boolean);
  paths.forEach((path, index) => {
    if (existsSync(resolve(path))) cpSync(resolve(path), join(part, String(index)), { recursive: true });
  });
  renameSync(part, target);
  console.log(`Cache saved with key: ${input("key")}`);
}
