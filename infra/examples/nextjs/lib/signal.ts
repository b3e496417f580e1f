import { Signal } from "@risksignal/contracts";
import { parse, stringify } from "lossless-json";

export type Fault = { pointer: string; detail: string };
export type Read =
  | { signal: Signal; body: string; faults?: undefined }
  | { faults: Fault[] };

/** Converts an integer beyond 2^53 to the form that the contract checks. */
const exact = (text: string) => {
  const number = Number(text);
  return /^-?\d+$/.test(text) && !Number.isSafeInteger(number) ? BigInt(text) : number;
};

/**
 * Reads a signal, adds the fields that the server knows, and checks it by the daemon's contract.
 * The body keeps every number digit by digit, which JSON.parse would not.
 */
export function read(text: string): Read {
  const defaults = {
    event_time: new Date().toISOString(),
    source_id: "nextjs",
    trace_id: crypto.randomUUID(),
  };
  try {
    const body = stringify({ ...defaults, ...(parse(text) as object) })!;
    const { success, data, error } = Signal.safeParse(parse(body, null, exact));
    if (success) return { signal: data, body };
    const faults = error.issues.map(({ path, message }) => ({
      pointer: ["#", ...path].join("/"),
      detail: message,
    }));
    return { faults };
  } catch (error) {
    return { faults: [{ pointer: "#", detail: `is no JSON: ${(error as Error).message}` }] };
  }
}
