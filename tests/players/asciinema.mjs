// node asciinema.mjs PLAYER < CAST: plays an asciicast in asciinema's own player and prints what it showed as JSON.
//
// PLAYER is the unpacked npm package `asciinema-player`. The player's core has everything but the screen: it parses,
// keeps time and gives each output, resize and input to whatever draws. That stands below.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const dist = join(process.argv[2], "dist");
const file = readdirSync(dist).find((name) => /^core-.*\.js$/.test(name));
const { C: Core } = await import(pathToFileURL(join(dist, file)));

const problems = [];
const problem = (...words) => problems.push(words.map(String).join(" "));
const logger = { log() {}, debug() {}, info() {}, warn: problem, error: problem };
const cast = readFileSync(0, "utf8");
const core = new Core({ data: cast, parser: "asciicast" }, { logger, speed: 1e6, preload: true, markers: undefined });

const seen = { output: "", input: "", sizes: [], problems };
core.addEventListener("output", (text) => (seen.output += text));
core.addEventListener("input", ({ data }) => (seen.input += data));
core.addEventListener("resize", ({ cols, rows }) => seen.sizes.push([cols, rows]));
core.addEventListener("reset", ({ size }) => seen.sizes.push([size.cols, size.rows]));
core.addEventListener("metadata", ({ duration }) => (seen.duration = duration));
core.addEventListener("error", (error) => problem(error.message ?? error));
const over = new Promise((resolve) => {
  core.addEventListener("ended", resolve);
  core.addEventListener("error", resolve);
});
core.terminalReady();
await core.init().catch(problem);
if (problems.length === 0) {
  await core.play();
  await over;
}
console.log(JSON.stringify(seen));
process.exit(problems.length === 0 ? 0 : 1);
