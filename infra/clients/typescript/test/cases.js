// Table of good and bad signals, shared with the daemon's own test: the same verdicts.
import { readFileSync } from "node:fs";
import { parse } from "lossless-json";
import { signalOn } from "../dist/index.js";

/** Converts integers beyond 2^53 to bigint, as an application would hold them exactly. */
const exact = (text) => {
  const number = Number(text);
  return /^-?\d+$/.test(text) && !Number.isSafeInteger(number) ? BigInt(text) : number;
};

const wrong = [];
const lines = readFileSync(process.argv[2], "utf8").trimEnd().split("\n");
for (const line of lines) {
  const { about, subject, signal, verdict } = parse(line, null, exact);
  const { success, error } = signalOn(subject).safeParse(signal);
  if (success !== (verdict === "good")) {
    wrong.push(`${about}: ${verdict} for the daemon, ${success ? "good" : error} for Zod`);
  }
}
console.log(`${lines.length} signals, ${wrong.length} with another verdict\n${wrong.join("\n")}`);
process.exitCode = wrong.length > 0 || lines.length < 100 ? 1 : 0;
